// The Cortex tab's choices: layer, module, subject, statistic, what is taken away, colours, threshold, names.

import { button, h, number, replace, s } from "./dom.js";
import { CLIP, DIVERGING, KINDS, LABELLED, MEAN, MODULES, SEQUENTIAL, change, colours, ends, kind, palette, view } from "./cortexstate.js";

function choice(label, id, onchange) {
  const box = h("select", { id, "aria-label": label, onchange: () => onchange(box.value) });
  const node = h("label", { class: "nv-choice" }, h("span", {}, label), box);
  return {
    node,
    fill(options, value) {
      replace(box, options.map(([key, title]) => h("option", { value: key, selected: key === value }, title)));
      node.hidden = options.length < 1;
    },
  };
}

export function controls() {
  const layer = choice("Layer", "nv-cx-layer", (value) => change({ layer: value }));
  const module = choice("Module", "nv-cx-module", (value) => change({ module: value }));
  const subject = choice("Subject", "nv-cx-subject", (value) => change({ subject: value }));
  const statistic = choice("Statistic", "nv-cx-statistic", (value) => change({ statistic: value }));
  const minus = choice("Minus", "nv-cx-minus", (value) => change({ minus: value }));
  const node = h("div", { class: "nv-choices" }, layer.node, module.node, subject.node, statistic.node, minus.node);

  function show(info) {
    const named = (name) => [name, MODULES[name] || name];
    const maps = view.layer === "map";
    const surface = info.space.kind === "fs_LR_32k";
    layer.fill([...(info.decoder ? [["map", "Importance"]] : []), ...Object.entries(info.layers), [CLIP, "fMRI of this clip"]], view.layer);
    module.fill(maps || view.layer === "planted" ? info.modules.filter((name) => maps || name !== "mad").map(named) : [], view.module);
    const many = info.subjects.length > 1 && surface;
    subject.fill(view.layer === CLIP ? [] : [...info.subjects.map((name) => [name, name]), ...(many ? [[MEAN, `mean of ${info.subjects.length} subjects`]] : [])], view.subject);
    statistic.fill(maps ? Object.entries(info.statistics).map(([key, about]) => [key, `${key}: ${about.title[0].toLowerCase()}${about.title.slice(1)}`]) : [], view.statistic);
    const others = info.modules.filter((name) => name !== view.module).map((name) => [`module:${name}`, MODULES[name] || name]);
    const people = many ? info.subjects.filter((name) => name !== view.subject).map((name) => [`subject:${name}`, name]) : [];
    minus.fill(maps ? [["", "nothing"], ...others, ...people] : [], view.minus);
  }
  return { node, show };
}

// The colour bar with ends that can be typed, colours, threshold, borders, names.
export function paintControls() {
  const low = h("input", { type: "number", step: 0.05, id: "nv-cx-low", "aria-label": "Lower end of the colour bar", onchange: limits });
  const high = h("input", { type: "number", step: 0.05, id: "nv-cx-high", "aria-label": "Upper end of the colour bar", onchange: limits });
  const band = h("i", { class: "nv-band" });
  const said = h("span", { class: "nv-note" });
  const tints = h("select", { id: "nv-cx-colours", "aria-label": "Colours", onchange: () => { view.colours[palette()] = tints.value; change({}); } });
  const threshold = h("input", { type: "range", min: 0, step: 0.01, id: "nv-cx-threshold", "aria-label": "Threshold: smaller values are not painted", oninput: () => change({ threshold: Number(threshold.value) }) });
  const cut = h("output", { class: "nv-mono" });
  const outlines = h("input", { type: "checkbox", id: "nv-cx-outlines", onchange: () => change({ outlines: outlines.checked }) });
  const close = h("input", { type: "checkbox", id: "nv-cx-close", onchange: () => change({ close: close.checked }) });
  const nearer = h("label", { class: "nv-check" }, close, "zoom to what has values");
  const usual = button("Back to the usual ends", "reset", () => { delete view.ends[kind()]; change({}); }, { class: "nv-small" });
  const cortical = h("input", { type: "checkbox", id: "nv-cx-cortical", onchange: () => change({ cortical: cortical.checked }) });
  const onCortex = h("label", { class: "nv-check", hidden: true }, cortical, "on the cortex (MNI)");
  const trouble = h("span", { class: "nv-broken", role: "alert" });
  const borders = h("label", { class: "nv-check" }, outlines, "area borders");
  const node = h("div", { class: "nv-paintline" },
    h("div", { class: "nv-barends" }, low, band, high, usual), said, trouble,
    h("div", { class: "nv-tools" }, h("label", { class: "nv-thresh" }, h("span", {}, "hide below"), threshold, cut), h("label", { class: "nv-choice nv-inline" }, h("span", {}, "colours"), tints), borders, nearer, onCortex));

  function limits() {
    const pair = [Number(low.value), Number(high.value)];
    const rising = low.value !== "" && high.value !== "" && pair[0] < pair[1];
    if (rising) {
      view.ends[kind()] = pair;
      return void change({});
    }
    [low.value, high.value] = ends();
    trouble.textContent = `The lower end must be a number below the upper one; the bar is left at ${ends().join(" to ")}.`;
    return undefined;
  }

  function show(info, tables, isFlat) {
    const [from, to] = ends();
    trouble.textContent = ""; // told of a bar that is no longer typed
    low.value = from;
    high.value = to;
    usual.hidden = !view.ends[kind()];
    said.textContent = KINDS[kind()].told;
    threshold.max = KINDS[kind()].reach;
    threshold.value = view.threshold;
    cut.textContent = view.threshold ? `${KINDS[kind()].diverging ? "±" : ""}${number(view.threshold, 2)}` : "off";
    const name = colours();
    if (tints.value !== name) {
      replace(tints, (palette() === "diverging" ? DIVERGING : SEQUENTIAL).map((one) => h("option", { value: one, selected: one === name }, one.replace("_r", ""))));
    }
    if (band.dataset.colours !== name) {
      const stops = Array.from({ length: 17 }, (_, i) => `#${tables[name].slice(Math.min(255, i * 16) * 6, Math.min(255, i * 16) * 6 + 6)}`);
      band.style.background = `linear-gradient(to right, ${stops.join(", ")})`;
      band.dataset.colours = name;
    }
    outlines.checked = view.outlines;
    borders.hidden = nearer.hidden = !isFlat;
    close.checked = view.close;
    onCortex.hidden = !info.space.mni || view.layer !== "map";
    cortical.checked = view.cortical;
  }
  return { node, show };
}

// Which areas bear their names: chips to take away, a box to add.
export function labelBox() {
  const chips = h("span", { class: "nv-chips" });
  const known = h("datalist", { id: "nv-cx-areas" });
  const box = h("input", { type: "search", list: "nv-cx-areas", id: "nv-cx-label", placeholder: "add an area …", "aria-label": "Name an area on the map", onchange: add, onkeydown: (event) => { if (event.key === "Enter") add(); } });
  const none = button("Take all names away", "none", () => set([]), { class: "nv-small" });
  const usual = button("The usual names", "usual", () => set([...LABELLED]), { class: "nv-small" });
  const node = h("details", { class: "nv-labelbox" }, h("summary", {}, "Names on the map"), h("div", {}, chips, box, known, none, usual));
  let names = [];

  function set(labels) {
    change({ labels });
  }
  function add() {
    const name = names.find((one) => one.toLowerCase() === box.value.trim().toLowerCase());
    box.toggleAttribute("aria-invalid", Boolean(box.value) && !name);
    if (!name) return;
    box.value = "";
    if (!view.labels.includes(name)) set([...view.labels, name]);
  }
  function show(map) {
    if (!names.length) {
      names = [...new Set(map.short)].filter(Boolean).sort();
      replace(known, names.map((name) => h("option", { value: name })));
    }
    replace(chips, view.labels.map((name) => button(`Take the name ${name} away`, [name, s("svg", { viewBox: "0 0 8 8", width: 8, height: 8, "aria-hidden": "true" }, s("path", { d: "M1 1l6 6M7 1l-6 6", stroke: "currentColor" }))], () => set(view.labels.filter((one) => one !== name)), { class: "nv-small nv-tag" })));
  }
  return { node, show };
}
