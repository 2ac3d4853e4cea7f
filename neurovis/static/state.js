// What is being looked at: one object that all views share, mirrored in the address so that a link reopens the view.

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
    text: address.get("q") || "",
    object: address.get("object") || "",
    cut: address.get("cut") || "",
  },
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
  set("score", ["best", "worst"].includes(state.pick.mode) ? state.pick.score : null);
  set("q", state.pick.text);
  set("object", state.pick.object);
  set("cut", state.pick.cut);
  const text = query.toString().replaceAll("%2B", "+").replaceAll("+", "%2B");
  const next = location.pathname + (text ? `?${text}` : "");
  if (next !== location.pathname + location.search) history.replaceState(history.state, "", next);
}

let opening = 0;
let reached = false;

export async function open(name) {
  if (!name || name === state.run?.name) return;
  const turn = ++opening;
  try {
    const run = await getJSON(`/neurovis/runs/${encodeURIComponent(name)}`);
    if (turn !== opening) return;
    run.byId = new Map(run.clips.map((clip, index) => [clip.id, { ...clip, index }]));
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
export function timing(clip, stream) {
  return clip.streams?.[stream.key] ?? { n: stream.n, seconds: state.run.duration };
}

// The name of a combination, as pipeline.manifest.variant_name makes it.
export function variantName(without, seed = null) {
  const removed = new Set(without);
  if (removed.has("mad")) removed.delete("motion");
  const name = PARTS.filter((part) => removed.has(part)).join("+") || "full";
  return seed === null || seed === state.run?.seed ? name : `${name}@${seed}`;
}

export function variantTitle(variant) {
  const [parts, seed] = variant.split("@");
  const words = parts === "full" ? "Full model" : "Without " + parts.split("+").map((part) => PART_TITLES[part]).join(", ");
  return seed === undefined ? words : `${words} · seed ${seed}`;
}

export function stripURL(clip, variant, stream) {
  const run = state.run;
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
  const wanted = good.find((run) => run.name === address.get("run")) || good[0];
  emit("runs");
  if (wanted) await open(wanted.name);
}
