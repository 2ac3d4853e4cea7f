// What the Cortex tab shows: one object, mirrored in the address, so that a link reopens the same view.

import { reading, write } from "./address.js";
import { emit, on, state } from "./state.js";

export const MODULES = { anchor: "C_anchor", motion: "C_motion", holi: "C_holi", mad: "MAD" };
export const CLIP = "clip"; // the layer that is one clip's fMRI
export const MEAN = "mean"; // in place of a subject
export const LABELLED = ["V1", "V2", "V3", "V4", "MT", "MST", "FFC", "VVC", "PH", "LO1", "LO2", "V3A", "V6", "PHA3", "TPOJ1"];
export const SEQUENTIAL = ["YlOrRd", "inferno", "viridis", "cividis", "magma"];
export const DIVERGING = ["PuOr_r", "RdBu_r"];

// What is asked of the colour bar by kind of value: its ends, and where the slider of the threshold stops.
export const KINDS = {
  map: { ends: [0.25, 0.75], reach: 1, told: "importance, scaled" }, // the paper's colour bar
  minus: { ends: [-0.5, 0.5], reach: 1, told: "difference of scaled importance", diverging: true },
  selected: { ends: [0, 1], reach: 1, told: "1: read by the decoder, 0: looked at and left out" },
  planted: { ends: [0, 1], reach: 1, told: "1: planted to matter to this module" },
  reliability: { ends: [0, 0.5], reach: 1, told: "correlation of two repeats, training film" },
  test_reliability: { ends: [0, 0.5], reach: 1, told: "correlation of two repeats, test film" },
  noise_ceiling: { ends: [0, 1], reach: 1, told: "best correlation that the noise allows" },
  clip: { ends: [-2.5, 2.5], reach: 5, told: "z-scored BOLD", diverging: true },
};

export const view = {};

reading((asked) => {
  const words = (key) => (asked.get(key) || "").split(",").filter(Boolean);
  const pair = words("limits").map(Number);
  const colours = asked.get("colours");
  Object.assign(view, {
    layer: Object.hasOwn(KINDS, asked.get("layer")) && asked.get("layer") !== "minus" ? asked.get("layer") : "map",
    module: asked.get("module") || "",
    statistic: asked.get("statistic") || "pattern",
    subject: asked.get("brain") || "",
    minus: asked.get("minus") || "", // "module:motion" or "subject:sub-02"
    threshold: Math.max(0, Number(asked.get("threshold")) || 0),
    colours: { sequential: SEQUENTIAL.includes(colours) ? colours : "", diverging: DIVERGING.includes(colours) ? colours : "" }, // empty: the usual ones
    outlines: asked.get("outlines") !== "off",
    labels: asked.has("labels") ? words("labels").filter((name) => name !== "none") : [...LABELLED],
    slice: asked.has("slice") ? Number(asked.get("slice")) || 0 : null,
    close: asked.get("close") === "on", // only the part of the map that holds values
    cortical: asked.get("cortical") === "on", // a volume in MNI space, sampled at the cortex
    ends: {}, // kind -> ends of the colour bar, where they were changed
  });
  if (pair.length === 2 && pair[0] < pair[1]) view.ends[kind()] = pair;
});

export function kind() {
  return view.layer === "map" && view.minus ? "minus" : view.layer;
}

export function ends() {
  return view.ends[kind()] || KINDS[kind()].ends;
}

export function palette() {
  return KINDS[kind()].diverging ? "diverging" : "sequential";
}

// The colours of now. The usual ones begin near the grey of the theme's cortex, so that what matters stands out.
export function colours(what = palette()) {
  const usual = what === "diverging" ? "PuOr_r" : document.body.classList.contains("dark") ? "inferno" : "YlOrRd";
  return view.colours[what] || usual;
}

// Keep what the run can show: a module, subject or statistic of another run gives way to this one's own.
export function settle(info) {
  const modules = info.modules;
  if (!modules.includes(view.module)) view.module = modules.includes("anchor") ? "anchor" : modules[0] || "";
  const many = info.subjects.length > 1 && info.space.kind === "fs_LR_32k";
  if (!info.subjects.includes(view.subject) && !(view.subject === MEAN && many)) view.subject = info.subject;
  if (!Object.hasOwn(info.statistics, view.statistic)) view.statistic = "pattern";
  if (!Object.hasOwn(info.layers, view.layer) && !["map", CLIP].includes(view.layer)) view.layer = "map";
  const [what, name] = view.minus.split(":");
  const fits = what === "module" ? modules.includes(name) && name !== view.module : what === "subject" && many && info.subjects.includes(name) && name !== view.subject;
  if (!fits) view.minus = "";
  view.threshold = Math.min(view.threshold, KINDS[kind()].reach); // one of another layer may lie beyond this one's slider
}

// What the browser repaints by itself, without another array.
const PAINT = new Set(["threshold", "outlines", "labels", "slice", "close"]);
let writing = 0;

// "cortex" asks for other values, "cortexpaint" for the same ones painted anew.
export function change(what) {
  Object.assign(view, what);
  clearTimeout(writing);
  writing = setTimeout(remember, 150); // a slider passes many values, and a browser takes few addresses
  emit(Object.keys(what).every((key) => PAINT.has(key)) ? "cortexpaint" : "cortex", view);
}

export function remember() {
  if (!state.run) return;
  const unless = (value, usual) => (value === usual ? null : value);
  write({
    layer: unless(view.layer, "map"),
    module: unless(view.module, "anchor"),
    statistic: unless(view.statistic, "pattern"),
    brain: unless(view.subject, state.run.subject),
    minus: view.layer === "map" ? view.minus : null,
    threshold: view.threshold || null,
    limits: view.ends[kind()]?.join(","),
    colours: view.colours[palette()],
    outlines: view.outlines ? null : "off",
    labels: unless(view.labels.join(",") || "none", LABELLED.join(",")),
    slice: view.slice,
    close: view.close ? "on" : null,
    cortical: view.cortical ? "on" : null,
  });
}

on("return", () => emit("cortex", view));
