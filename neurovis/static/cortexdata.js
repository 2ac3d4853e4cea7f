// The values that the Cortex tab shows, as one array over all places: read once, joined and subtracted in the browser.

import { getArray, getJSON } from "./dom.js";
import { state } from "./state.js";
import { CLIP, MEAN, MODULES, view } from "./cortexstate.js";

const N_CORTEX = 59412;
const kept = new Map(); // address -> promise of what it holds
const KEPT = 40;

const path = (...parts) => `/neurovis/cortex/${[state.run.name, ...parts].map(encodeURIComponent).join("/")}`;

function once(address, read) {
  if (!kept.has(address)) {
    kept.set(address, read().catch((error) => { kept.delete(address); throw error; }));
    if (kept.size > KEPT) kept.delete(kept.keys().next().value);
  }
  return kept.get(address);
}

export function describe() {
  return getJSON(path());
}

// Maps of one subject, or null and the job under way where they are not computed.
export async function maps(info, subject) {
  const base = path(subject, view.statistic);
  const { cortical } = view; // a tick while the server answers must not name this array by the other space
  const address = `${base}?${info.decoder.sha256}&${state.run.stamp}&${cortical}`;
  const ready = kept.get(address);
  if (ready) return ready;
  const facts = await getJSON(base);
  if (facts.state !== "ready") return { missing: subject, job: facts.job };
  return once(address, async () => {
    const buffer = await getArray(`${base}/values${cortical ? "?cortical=true" : ""}`, Uint8Array).then((bytes) => bytes.buffer);
    const names = Object.keys(facts.modules);
    const n = buffer.byteLength / 4 / (names.length + 1);
    const ids = new Int32Array(buffer, 0, n);
    const modules = Object.fromEntries(names.map((name, i) => [name, new Float32Array(buffer, 4 * n * (i + 1), n)]));
    return { facts, ids, modules };
  });
}

function places(info) {
  return flat(info) ? N_CORTEX : info.space.shape.reduce((a, b) => a * b, 1);
}

export function flat(info) {
  return info.space.kind !== "volume" || (view.cortical && view.layer === "map");
}

function spread(info, ids, values) {
  const dense = new Float32Array(places(info)).fill(NaN);
  for (let i = 0; i < ids.length; i++) if (ids[i] >= 0 && ids[i] < dense.length) dense[ids[i]] = values[i];
  return dense;
}

// Mean over the subjects whose decoder reads a place.
function average(all) {
  if (all.length === 1) return all[0];
  const dense = new Float32Array(all[0].length);
  for (let i = 0; i < dense.length; i++) {
    let sum = 0;
    let n = 0;
    for (const one of all) if (one[i] === one[i]) { sum += one[i]; n++; }
    dense[i] = n ? sum / n : NaN;
  }
  return dense;
}

async function importance(info, subject, module) {
  const subjects = subject === MEAN ? info.subjects : [subject];
  const found = await Promise.all(subjects.map((one) => maps(info, one)));
  const missing = found.find((one) => one.missing);
  if (missing) return missing;
  return { dense: average(found.map((one) => spread(info, one.ids, one.modules[module]))), facts: found[0].facts, subjects };
}

// What the view asks for: `dense` over all places, `facts` of a single map, or what must be computed first.
export async function field(info) {
  if (view.layer === CLIP) return clipPattern(info);
  if (view.layer !== "map") return recordingLayer(info);
  const one = await importance(info, view.subject, view.module);
  if (one.missing || !view.minus) return { ...one, single: !one.missing && view.subject !== MEAN };
  const [what, name] = view.minus.split(":");
  const other = what === "module" ? await importance(info, view.subject, name) : await importance(info, name, view.module);
  if (other.missing) return other;
  return { dense: one.dense.map((value, i) => value - other.dense[i]), facts: one.facts, single: false };
}

async function recordingLayer(info) {
  const subjects = view.subject === MEAN ? info.subjects : [view.subject];
  const all = [];
  for (const subject of subjects) {
    const module = view.layer === "planted" ? `?module=${encodeURIComponent(view.module)}` : "";
    const response = await fetch(path(subject, "layer", view.layer) + module);
    if (response.status === 202) return { missing: subject, job: null, recording: true };
    if (!response.ok) throw new Error((await response.json()).error);
    const buffer = await response.arrayBuffer();
    const n = buffer.byteLength / 8;
    all.push(spread(info, new Int32Array(buffer, 0, n), new Float32Array(buffer, 4 * n, n)));
  }
  return { dense: average(all), single: false };
}

async function clipPattern(info) {
  const run = state.run;
  if (!run.pattern) throw new Error("This run keeps no fMRI patterns.");
  if (!state.clip) return { dense: new Float32Array(places(info)).fill(NaN), single: false };
  const base = `/neurovis/runs/${encodeURIComponent(run.name)}`;
  const ids = await once(`${base}/voxels?v=${run.stamp}`, () => getArray(`${base}/voxels?v=${run.stamp}`, Int32Array));
  const values = await getArray(`${base}/clips/${encodeURIComponent(state.clip)}/pattern?v=${run.stamp}`, Float32Array);
  return { dense: spread(info, ids, values), single: false };
}

// What is shown, in a few words, for headings and file names.
export function told(info) {
  const module = MODULES[view.module] || view.module;
  const subject = view.subject === MEAN ? `mean of ${info.subjects.length} subjects` : view.subject;
  if (view.layer === CLIP) return `fMRI of ${state.clip}, ${state.run.subject}`;
  if (view.layer !== "map") return `${info.layers[view.layer]}${view.layer === "planted" ? ` for ${module}` : ""}, ${subject}`;
  const [what, name] = view.minus.split(":");
  const minus = !what ? "" : what === "module" ? ` minus ${MODULES[name] || name}` : ` minus ${name}`;
  return what === "subject" ? `${module}, ${subject}${minus}` : `${module}${minus}, ${subject}`;
}
