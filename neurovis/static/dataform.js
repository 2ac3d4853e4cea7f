// The import's options as a form, made from what the server says of each: its kind, its bounds, what it is for.

import { h, replace } from "./dom.js";

export function optionForm(changed) {
  const box = h("div", { class: "nv-optiongrid" });
  const node = h("details", { class: "nv-options", id: "nv-data-options" }, h("summary", {}, "Options"), box);
  const given = new Map(); // what was changed from its default, by option
  let fields = [];

  function open(known) {
    fields = known;
  }

  // Only what the layout knows; what was given for another layout is forgotten.
  function show(layout) {
    const fits = fields.filter((field) => !field.layouts || field.layouts.includes(layout));
    for (const key of given.keys()) if (!fits.some((field) => field.key === key)) given.delete(key);
    replace(box, fits.map(row));
  }

  function set(field, value) {
    if (value === "" || value === null || value === field.default) given.delete(field.key);
    else given.set(field.key, value);
    changed();
  }

  function row(field) {
    const id = `nv-data-${field.key}`;
    return h("div", { class: "nv-option", "data-kind": field.kind }, h("label", { for: id }, field.title), control(field, id), h("small", { id: `${id}-about` }, field.about));
  }

  function control(field, id) {
    const common = { id, "aria-describedby": `${id}-about` };
    const now = given.get(field.key) ?? field.default;
    if (field.kind === "choice") {
      return h("select", { ...common, onchange: (event) => set(field, event.target.value) }, field.choices.map((name) => h("option", { value: name, selected: name === now }, name)));
    }
    if (field.kind === "flag") return h("input", { ...common, type: "checkbox", checked: Boolean(now), onchange: (event) => set(field, event.target.checked) });
    if (field.kind === "number") {
      const value = (event) => (event.target.value === "" ? "" : Number(event.target.value));
      return h("input", { ...common, type: "number", min: field.low, max: field.high, step: field.whole ? 1 : "any", value: now, oninput: (event) => set(field, value(event)) });
    }
    const hint = { words: "one, two", path: "/path/to/file" }[field.kind];
    return h("input", { ...common, type: "text", placeholder: hint, spellcheck: "false", autocomplete: "off", value: now, oninput: (event) => set(field, event.target.value.trim()) });
  }

  return { node, open, show, values: () => Object.fromEntries(given) };
}
