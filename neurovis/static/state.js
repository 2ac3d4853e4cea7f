// What is being looked at: one object that all views share, mirrored in the address so that a link reopens the view.

import { clock } from "./clock.js";
import { getJSON } from "./dom.js";

export const PARTS = ["anchor", "motion", "holi", "mad"];
export const PART_TITLES = { anchor: "C_anchor", motion: "C_motion", holi: "C_holi", mad: "MAD" };

const address = new URLSearchParams(window.neurovisAddress ?? location.search);
const listeners = {};

export const state = {
  runs: null,
  loaded: false,
  run: null,
  error: null,
  clip: address.get("clip"),
  tab: address.get("tab") || "explore",
  without: new Set((address.get("without") || "").split(/[+, ]/).filter((part) => PARTS.includes(part))),
  seed: address.has("seed") && /^\d+$/.test(address.get("seed")) ? Number(address.get("seed")) : null,
  pick: {
    mode: ["random", "all", "best", "worst"].includes(address.get("pick")) ? address.get("pick") : "random",
    seed: Number(address.get("pickseed") || 0) || 0,
    score: address.get("score"),
    order: ["up", "down"].includes(address.get("order")) ? address.get("order") : "", // of "all": by the score, or ""
    text: address.get("q") || "",
    object: address.get("object") || "",
    cut: address.get("cut") || "",
  },
  beside: (address.get("beside") || "").split(",").filter(Boolean), // runs whose reconstructions stand beside
  shown: [],
};

export function on(event, listener) {
  (listeners[event] ||= new Set()).add(listener);
}

export function emit(event, detail) {
  for (const listener of listeners[event] || []) listener(detail);
  if (event !== "shown") remember();
}

// The address is left alone until what it asked for is on the page.
function remember() {
  if (!state.run && !state.error) return;
  const query = new URLSearchParams(location.search);
  const set = (key, value) => (value ? query.set(key, value) : query.delete(key));
  set("run", state.run?.name);
  set("clip", state.clip);
  set("tab", state.tab === "explore" ? null : state.tab);
  set("without", [...state.without].join("+"));
  set("seed", state.seed === null ? null : String(state.seed));
  set("pick", state.pick.mode === "random" ? null : state.pick.mode);
  set("pickseed", state.pick.mode === "random" && state.pick.seed ? state.pick.seed : null);
  set("score", byScore() ? state.pick.score : null);
  set("order", state.pick.mode === "all" ? state.pick.order : null);
  set("beside", state.beside.join(","));
  set("frame", clock.playing ? null : String(clock.frame + 1));
  set("q", state.pick.text);
  set("object", state.pick.object);
  set("cut", state.pick.cut);
  const text = query.toString().replaceAll("%2B", "+").replaceAll("+", "%2B").replaceAll("%2C", ",");
  const next = location.pathname + (text ? `?${text}` : "");
  if (next !== location.pathname + location.search) history.replaceState(history.state, "", next);
}

// Whether the list is sorted by a score.
export function byScore() {
  return ["best", "worst"].includes(state.pick.mode) || (state.pick.mode === "all" && state.pick.order !== "");
}

// A frame that is held belongs to the address; written a little later, since a scrubber passes many.
let held = null;
let writing = 0;
function rememberFrame() {
  const frame = clock.playing ? null : clock.frame;
  if (frame === held || !state.clip) return;
  held = frame;
  clearTimeout(writing);
  writing = setTimeout(remember, 200);
}
// A link to a frame opens stopped, on that frame.
function openFrame() {
  const wanted = Number(address.get("frame"));
  address.delete("frame");
  if (Number.isInteger(wanted) && wanted > 0) clock.hold(wanted - 1);
  clock.subscribe(rememberFrame);
}

let opening = 0;
let reached = false;

export async function open(name) {
  if (!name || name === state.run?.name) return;
  const turn = ++opening;
  try {
    const run = await getJSON(`/neurovis/runs/${encodeURIComponent(name)}`);
    if (turn !== opening) return;
    run.byId = new Map(run.clips.map((clip) => [clip.id, clip]));
    state.run = run;
    state.error = null;
    if (!run.byId.has(state.clip)) state.clip = null;
    emit("run");
  } catch (error) {
    if (turn !== opening) return;
    state.error = error.message;
    emit("error");
  }
}

// Read again what a rendering may have added to the open run: scores and combinations, not the rest.
export async function refresh() {
  const run = state.run;
  const fresh = await getJSON(`/neurovis/runs/${encodeURIComponent(run.name)}`);
  if (run !== state.run) return;
  for (const key of ["scores", "kept", "kept_full"]) run[key] = fresh[key];
  for (const { id, scores, variants, kept, kept_full } of fresh.clips) if (run.byId.has(id)) Object.assign(run.byId.get(id), { scores, variants, kept, kept_full });
  emit("scores");
}

export function choose(clip) {
  if (!clip || clip === state.clip || !state.run?.byId.has(clip)) return;
  state.clip = clip;
  emit("clip");
}

export function step(by) {
  const ids = state.shown;
  if (!ids.length) return;
  const at = ids.indexOf(state.clip);
  choose(ids[at < 0 ? 0 : (at + by + ids.length) % ids.length]);
}

export function current() {
  return state.run?.byId.get(state.clip) || null;
}

// Length and rate of one stream of a clip: its own where it was imported, else the run's.
export function timing(clip, stream, run = state.run) {
  return clip.streams?.[stream.key] ?? { n: stream.n, seconds: run.duration };
}

// The name of a combination, as pipeline.manifest.variant_name makes it.
export function variantName(without, seed = null) {
  const removed = new Set(without);
  if (removed.has("mad")) removed.delete("motion");
  const name = PARTS.filter((part) => removed.has(part)).join("+") || "full";
  return seed === null || seed === state.run?.seed ? name : `${name}@${seed}`;
}

// The full model's scores that a combination's are changes from: measured on the same pictures as they were.
export function fullOf(clip, variant) {
  return clip.kept?.includes(variant) ? clip.kept_full : clip.scores.full;
}
export function fullSummary(variant) {
  return state.run.kept.includes(variant) ? state.run.kept_full : state.run.scores.full;
}

// The paper's order: full, then each part alone, then the rest.
export function variantOrder() {
  const names = Object.keys(state.run.scores);
  const single = ["full", ...PARTS].filter((name) => names.includes(name));
  return [...single, ...names.filter((name) => !single.includes(name)).sort((a, b) => a.split("+").length - b.split("+").length)];
}

export function variantTitle(variant) {
  const [parts, seed] = variant.split("@");
  const words = parts === "full" ? "Full model" : "Without " + parts.split("+").map((part) => PART_TITLES[part]).join(", ");
  return seed === undefined ? words : `${words} · seed ${seed}`;
}

export function stripURL(clip, variant, stream, run = state.run) {
  const part = [run.name, "clips", clip, variant, stream].map(encodeURIComponent);
  return `/neurovis/runs/${part.join("/")}?v=${run.stamp}`;
}

// What must be said beside every picture, wherever the sidebar may be closed.
export function marks() {
  const labels = state.run.labels.filter((label) => !(state.run.simulated && /^simulated( data)?$/i.test(label)));
  return [...(state.run.simulated ? ["Simulated data"] : []), ...labels];
}

// Whether it is settled that there is no run to show.
export function hopeless() {
  return Boolean(state.error) || (state.loaded && !state.runs.some((run) => !run.error));
}

export async function start() {
  if (state.runs) return;
  state.runs = [];
  window.neurovis = {
    open,
    state,
    tab(key) {
      // Gradio tells of its first tab before it has opened the one that the address names.
      if (!reached && key !== state.tab) return;
      reached = true;
      state.tab = key;
      emit("tab");
    },
  };
  for (const kind of ["pointerdown", "keydown"]) document.addEventListener(kind, (event) => {
    if (event.target.closest?.("#nv-tabs [role=tab]")) reached = true;
  }, true);
  try {
    state.runs = await getJSON("/neurovis/runs");
  } catch (error) {
    state.error = error.message;
  }
  state.loaded = true;
  const good = state.runs.filter((run) => !run.error);
  state.beside = state.beside.filter((name) => good.some((run) => run.name === name)); // a link may be older than the runs
  const wanted = good.find((run) => run.name === address.get("run")) || good[0];
  emit("runs");
  if (wanted) await open(wanted.name);
  openFrame();
}
