// The form of a training: made from the config's own fields, ranges and descriptions; says what is out of range at once.

import { getJSON, h, replace } from "./dom.js";

const TITLES = {
  sad: "Semantic decoders (SAD)", mad: "Motion decoder (MAD)", pretrain: "on all subjects", finetune: "then on each subject",
};
const words = (name) => name.replaceAll("_", " ");

// What is wrong with a typed value, or "".
export function problem(field, raw) {
  const name = words(field.path.at(-1));
  if (raw === "") return field.optional ? "" : `${name}: a value is needed`;
  if (field.type !== "integer" && field.type !== "number") return "";
  const value = Number(raw);
  if (!Number.isFinite(value)) return `${name}: must be a number`;
  if (field.type === "integer" && !Number.isInteger(value)) return `${name}: must be a whole number`;
  if (field.min !== undefined && value < field.min) return `${name}: must be at least ${field.min}`;
  if (field.max !== undefined && value > field.max) return `${name}: must be at most ${field.max}`;
  if (field.above !== undefined && value <= field.above) return `${name}: must be above ${field.above}`;
  if (field.below !== undefined && value >= field.below) return `${name}: must be below ${field.below}`;
  return "";
}

export function range(field) {
  const parts = [
    field.min !== undefined ? `at least ${field.min}` : "", field.above !== undefined ? `above ${field.above}` : "",
    field.max !== undefined ? `at most ${field.max}` : "", field.below !== undefined ? `below ${field.below}` : "",
    field.type === "integer" ? "whole" : "", field.optional ? "empty: none" : "",
  ];
  return parts.filter(Boolean).join(", ");
}

const at = (values, path) => path.reduce((inner, key) => inner?.[key], values);
function put(values, path, value) {
  const inner = path.slice(0, -1).reduce((one, key) => (one[key] ??= {}), values);
  inner[path.at(-1)] = value;
}

// One control for one field. `reset` takes the preset's value; `changed` tells whether it was left.
function control(field, id, tell) {
  const listener = { oninput: () => check(), onchange: () => check() };
  const note = h("small", { class: "nv-wrong", id: `${id}-wrong`, role: "alert" });
  const common = { id, "aria-describedby": `${id}-wrong`, ...listener };
  let start = field.default;
  let box;
  if (field.type === "choice") box = h("select", common, field.choices.map((choice) => h("option", { value: choice }, choice)));
  else if (field.type === "boolean") box = h("input", { type: "checkbox", ...common });
  else if (field.type === "string") box = h("input", { type: "text", autocomplete: "off", ...common });
  else box = h("input", { type: "text", inputmode: "decimal", autocomplete: "off", placeholder: field.optional ? "none" : "", ...common });
  const raw = () => (field.type === "boolean" ? box.checked : box.value.trim());
  function value() {
    if (field.type === "boolean") return box.checked;
    if (raw() === "") return null;
    return field.type === "integer" || field.type === "number" ? Number(raw()) : raw();
  }
  const changed = () => JSON.stringify(value()) !== JSON.stringify(start ?? null);
  function check() {
    const wrong = field.type === "boolean" ? "" : problem(field, raw());
    note.textContent = wrong;
    box.setAttribute("aria-invalid", Boolean(wrong));
    node.toggleAttribute("data-changed", !wrong && changed());
    tell();
  }
  function reset(to) {
    start = to ?? null;
    if (field.type === "boolean") box.checked = Boolean(to);
    else box.value = to ?? "";
    note.textContent = "";
    box.setAttribute("aria-invalid", false);
    node.removeAttribute("data-changed");
  }
  const node = h("div", { class: "nv-control", "data-path": field.path.join(".") },
    h("label", { for: id }, words(field.path.at(-1))), box,
    h("small", {}, field.description, range(field) ? h("i", {}, ` ${range(field)}`) : null), note);
  return { field, node, value, changed, reset, wrong: () => (field.type === "boolean" ? "" : problem(field, raw())) };
}

// A tree of fields: groups are folded, an optional group can be switched off whole.
function tree(fields, prefix, tell) {
  const controls = [];
  const switches = [];
  const groups = new Map([["", { node: h("div", { class: "nv-fieldset" }), depth: 0 }]]);
  for (const field of fields) {
    const parent = groups.get(field.path.slice(0, -1).join("."));
    const id = `nv-train-${prefix}-${field.path.join("-")}`;
    if (field.type === "group") {
      const body = h("div", { class: "nv-fieldset" });
      const name = TITLES[field.path.at(-1)] ?? words(field.path.at(-1));
      const toggle = field.optional ? h("input", { type: "checkbox", checked: true, id, onchange: () => { body.hidden = !toggle.checked; tell(); } }) : null;
      const summary = h("summary", {}, h("b", {}, name), h("span", { class: "nv-changes-told" }));
      parent.node.append(h("details", { open: parent.depth === 0 && prefix === "plan" }, summary, toggle ? h("label", { class: "nv-check", for: id }, toggle, " do this part") : null, body));
      groups.set(field.path.join("."), { node: body, depth: parent.depth + 1, summary, path: field.path });
      if (toggle) switches.push({ field, toggle, body });
    } else if (parent) {
      const one = control(field, id, tell);
      controls.push(one);
      parent.node.append(one.node);
    }
  }
  const off = (path) => switches.some(({ field, toggle }) => !toggle.checked && field.path.every((key, i) => path[i] === key));
  return {
    node: groups.get("").node,
    reset(values) {
      for (const { field, toggle, body } of switches) {
        toggle.checked = at(values, field.path) !== null;
        body.hidden = !toggle.checked;
        toggle.start = toggle.checked;
      }
      for (const one of controls) one.reset(at(values, one.field.path) ?? (off(one.field.path) ? one.field.default : null));
    },
    overrides() {
      const found = {};
      for (const { field, toggle } of switches) if (toggle.start && !toggle.checked) put(found, field.path, null);
      for (const one of controls) if (!off(one.field.path) && one.changed()) put(found, one.field.path, one.value());
      for (const { field, toggle } of switches) if (!toggle.start && toggle.checked) for (const one of controls) if (field.path.every((key, i) => one.field.path[i] === key)) put(found, one.field.path, one.value());
      return found;
    },
    wrong: () => controls.filter((one) => !off(one.field.path)).map((one) => one.wrong()).find(Boolean) ?? "",
    count() {
      for (const { summary, path } of groups.values()) {
        if (!summary) continue;
        const n = controls.filter((one) => one.changed() && path.every((key, i) => one.field.path[i] === key)).length;
        summary.lastChild.textContent = n ? ` ${n} changed` : "";
      }
    },
  };
}

// Checkboxes in a row; none chosen, or all, means all.
function chips(legend, names, tell, told = "") {
  const boxes = names.map((name) => h("input", { type: "checkbox", value: name, checked: true, onchange: tell }));
  const node = h("fieldset", { class: "nv-pick" }, h("legend", {}, legend), boxes.map((box) => h("label", { class: "nv-check" }, box, ` ${box.value}`)), told ? h("small", {}, told) : null);
  const chosen = () => boxes.filter((box) => box.checked).map((box) => box.value);
  return { node, value: () => (chosen().length === names.length ? [] : chosen()) };
}

// `tell(wrong, changed)` is called with what is wrong, or "", and whether the user changed something.
export function trainForm(facts, tell) {
  const option = (value, text, chosen) => h("option", { value, selected: chosen }, text);
  const name = h("input", { type: "text", id: "nv-train-name", autocomplete: "off", spellcheck: "false", maxlength: 64, "aria-describedby": "nv-train-name-wrong", oninput: () => { named = true; update(); } });
  const nameWrong = h("small", { class: "nv-wrong", id: "nv-train-name-wrong", role: "alert" });
  const asked = new URLSearchParams(window.neurovisAddress ?? location.search).get("dataset");
  const opened = facts.datasets.some((one) => one.name === asked) ? asked : "phantom";
  const dataset = h("select", { id: "nv-train-dataset", onchange: () => { drawSubjects(); suggest(); update(); } }, facts.datasets.map((one) => option(one.name, `${one.title} (${one.name})`, one.name === opened)));
  const method = h("select", { id: "nv-train-method", onchange: () => { suggest(); choosePreset(); } }, facts.presets.map((one) => option(one.name, one.name, one.name === "semvideo-phantom")));
  const device = h("select", { id: "nv-train-device", onchange: () => update() }, facts.devices.map((one) => option(one, one, false)));
  const about = h("small", {});
  const datasetTold = h("small", {});
  const people = h("div");
  const network = h("div", {}, h("p", { class: "nv-note" }, "Reading the networks' fields …"));
  const wrong = h("p", { class: "nv-note nv-broken", role: "alert" });
  const plan = tree(facts.fields, "plan", update);
  const own = tree(facts.own, "own", update);
  const stages = chips("Stages", facts.stages, () => update(), facts.descriptions.stages);
  let subjects = null;
  let networks = null;
  let named = false;
  let taken = new Set();

  const line = (label, box, ...told) => h("div", { class: "nv-control" }, h("label", { for: box.id }, label), box, told);
  const more = h("details", { ontoggle: () => { if (more.open && !networks) drawNetworks(); } }, h("summary", {}, h("b", {}, "Networks")), network);
  const node = h("div", { class: "nv-trainform" },
    h("div", { class: "nv-fieldset" },
      line("Data set", dataset, datasetTold), people, line("Preset", method, about), stages.node,
      line("Device", device), line("Name", name, h("small", {}, "names the run's folder; a-z, 0-9, dot, dash"), nameWrong)),
    h("details", { class: "nv-plan" }, h("summary", {}, h("b", {}, "How it is trained")), plan.node), more,
    h("details", {}, h("summary", {}, h("b", {}, "More")), own.node), wrong);

  const card = () => facts.datasets.find((one) => one.name === dataset.value);
  function drawSubjects() {
    subjects = chips("Subjects", card().subjects, () => update(), facts.descriptions.subjects);
    replace(people, subjects.node);
    datasetTold.textContent = [card().simulated ? "simulated data" : "recorded data", card().ready ? "" : "made when it is first used, which takes a while"].filter(Boolean).join(" · ");
  }
  function choosePreset() {
    plan.reset(facts.plans[method.value]);
    about.textContent = facts.presets.find((one) => one.name === method.value).about;
    networks = null;
    if (more.open) drawNetworks();
    update();
  }
  async function drawNetworks() {
    const wanted = method.value;
    try {
      const found = await getJSON(`/neurovis/train/network/${encodeURIComponent(wanted)}`);
      if (wanted !== method.value) return;
      networks = tree(found.fields.filter((field) => field.path[0] !== "method"), "network", update);
      networks.reset(found.values);
      replace(network, networks.node);
    } catch (error) {
      replace(network, h("p", { class: "nv-note nv-broken" }, error.message));
    }
  }
  // A name that no run has yet, in place of one that the user has not typed; a typed one is left, and refused if taken.
  function suggest(stem = `${dataset.value}-${method.value.replace("semvideo-", "")}`) {
    if (named) return;
    let n = 1;
    while (taken.has(`${stem}-${n}`)) n += 1;
    name.value = `${stem}-${n}`;
  }
  function nameProblem() {
    if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(name.value)) return "name: must be of a-z, 0-9, dot, dash and underscore";
    return taken.has(name.value) ? `name: ${name.value} is taken; choose another` : "";
  }
  function problems() {
    if (nameProblem()) return nameProblem();
    if (stages.value().includes("mad") && !stages.value().includes("motion")) return "stages: mad needs motion";
    return plan.wrong() || networks?.wrong() || own.wrong();
  }
  function update(changed = true) {
    const found = problems();
    wrong.textContent = found;
    nameWrong.textContent = nameProblem();
    name.setAttribute("aria-invalid", Boolean(nameProblem()));
    plan.count();
    networks?.count();
    tell(found, changed);
  }
  // Jobs come and go while the form is open: that changes which names are free, and nothing that the user has set.
  function setTaken(names) {
    if (names.length === taken.size && names.every((one) => taken.has(one))) return;
    taken = new Set(names);
    if (taken.has(name.value)) suggest();
    update(false);
  }
  // The name went to a job: the next one is counted up from it, and may be typed over.
  function used(names) {
    named = false;
    taken = new Set(names);
    suggest(name.value.replace(/-\d+$/, "").slice(0, 58));
    update(false);
  }
  function values() {
    return { name: name.value, dataset: dataset.value, subjects: subjects.value(), method: method.value, stages: stages.value(), device: device.value,
      plan_overrides: plan.overrides(), method_overrides: networks?.overrides() ?? {}, ...own.overrides() };
  }
  own.reset({});
  drawSubjects();
  suggest();
  choosePreset();
  return { node, values, problems, setTaken, used };
}
