// What is being looked at: one object that all views share, mirrored in the address so that a link reopens the view.

import { hold, reading, returning, visit, write } from "./address.js";
import { clock } from "./clock.js";
import { getJSON } from "./dom.js";

export const PARTS = ["anchor", "motion", "holi", "mad"];
export const PART_TITLES = { anchor: "C_anchor", motion: "C_motion", holi: "C_holi", mad: "MAD" };
export const TABS = ["explore", "ablate", "cortex", "captions", "evaluate", "train", "data"]; // as in page.py
export const MAX_SEED = 999999; // as MAX_SEED in renders.py: a larger one is refused there and here
const DWELL = 1000; // ms; a clip that was looked at for less is not worth an entry of its own

const listeners = {};
let asked = null; // the address, as the page was opened with it or came back to it

// `lost`: what the address named and there is not, by kind.
export const state = { runs: null, loaded: false, run: null, error: null, shown: [], lost: {} };

reading((query) => {
  asked = query;
  Object.assign(state, {
    clip: query.get("clip"),
    tab: TABS.includes(query.get("tab")) ? query.get("tab") : "explore",
    without: new Set((query.get("without") || "").split(/[+, ]/).filter((part) => PARTS.includes(part))),
    seed: /^\d{1,15}$/.test(query.get("seed") ?? "") && Number(query.get("seed")) <= MAX_SEED ? Number(query.get("seed")) : null,
    pick: {
      mode: ["random", "all", "best", "worst"].includes(query.get("pick")) ? query.get("pick") : "random",
      seed: Number(query.get("pickseed") || 0) || 0,
      score: query.get("score"),
      order: ["up", "down"].includes(query.get("order")) ? query.get("order") : "", // of "all": by the score, or ""
      text: query.get("q") || "",
      object: query.get("object") || "",
      cut: query.get("cut") || "",
    },
    beside: (query.get("beside") || "").split(",").filter(Boolean), // runs whose reconstructions stand beside
  });
});

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
  write({
    run: state.run?.name,
    clip: state.clip,
    tab: state.tab === "explore" ? null : state.tab,
    without: [...state.without].join("+"),
    seed: state.seed,
    pick: state.pick.mode === "random" ? null : state.pick.mode,
    pickseed: state.pick.mode === "random" && state.pick.seed ? state.pick.seed : null,
    score: byScore() ? state.pick.score : null,
    order: state.pick.mode === "all" ? state.pick.order : null,
    beside: state.beside.join(","),
    frame: clock.playing ? null : clock.frame + 1,
    q: state.pick.text,
    object: state.pick.object,
    cut: state.pick.cut,
  });
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
// A link to a frame opens stopped, on that frame; an entry without one was playing.
function openFrame(back = false) {
  const wanted = Number(asked.get("frame"));
  if (Number.isInteger(wanted) && wanted > 0) clock.hold(wanted - 1);
  else if (back) Object.assign(clock, { wanted: null, playing: true });
}

let opening = 0;

// Open a run; one that takes the place of another is a visit, unless Back or Forward leads to it.
export async function open(name, back = false) {
  const turn = ++opening;
  if (!name || (name === state.run?.name && !state.error)) return;
  try {
    const run = await getJSON(`/neurovis/runs/${encodeURIComponent(name)}`);
    if (turn !== opening) return;
    run.byId = new Map(run.clips.map((clip) => [clip.id, clip]));
    const first = !state.run;
    state.run = run;
    state.error = null;
    if (!run.byId.has(state.clip)) state.clip = null;
    if (back || first) emit("run");
    else visit(() => emit("run"));
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

// A look through the list, or a walk by the arrow keys, is one visit: Back leads to where it began.
let turned = { at: -Infinity, by: "" };

export function choose(clip, by = "hand") {
  if (!clip || clip === state.clip || !state.run?.byId.has(clip)) return;
  const now = performance.now();
  const passing = !state.clip || now - turned.at < DWELL || (by === "step" && turned.by === "step");
  turned = { at: now, by };
  state.clip = clip;
  if (passing) emit("clip");
  else visit(() => emit("clip"));
}

export function step(by) {
  const ids = state.shown;
  if (!ids.length) return;
  const at = ids.indexOf(state.clip);
  choose(ids[at < 0 ? 0 : (at + by + ids.length) % ids.length], "step");
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

let reached = false;
const expected = []; // tabs that were opened from here, of which Gradio has not told yet

// Gradio tells of the tab that it shows. What a reader chose is a visit; what Back or Forward opened is none.
function tab(key) {
  const at = expected.indexOf(key);
  expected.splice(0, at + 1);
  // Gradio tells of its first tab before it has opened the one that the address names.
  if (key !== state.tab && (!reached || at >= 0)) return;
  reached = true;
  turned.by = "";
  if (key === state.tab) return void emit("tab");
  state.tab = key;
  visit(() => emit("tab"));
}

// Open a tab as a click on it would; where the row is narrow some are in Gradio's menu.
function showTab(key) {
  const chosen = document.querySelector("#nv-tabs [role=tab][aria-selected=true]");
  if (chosen?.id === `nv-tab-${key}-button`) return;
  const title = key[0].toUpperCase() + key.slice(1);
  const menu = [...document.querySelectorAll("#nv-tabs .overflow-dropdown button")];
  const button = document.getElementById(`nv-tab-${key}-button`) ?? menu.find((one) => one.textContent.trim() === title);
  if (!button) return;
  expected.push(key);
  button.click();
}

// Show a clip in another tab: one visit, not two.
export function showClipIn(key, clip) {
  if (!state.run?.byId.has(clip)) return;
  turned = { at: performance.now(), by: "" };
  state.clip = clip;
  state.tab = key;
  visit(() => emit("clip"));
  showTab(key);
}

// After Back or Forward: show what the address says, and write nothing before it is there.
returning(async () => {
  if (!state.loaded) return;
  turned = { at: -Infinity, by: "" };
  const name = asked.get("run");
  await hold(async () => {
    showTab(state.tab);
    clock.fitted = false;
    if (name && (name !== state.run?.name || state.error)) await open(name, true);
    else {
      opening++; // a run that is on its way is not wanted any more
      if (!current()) state.clip = null;
      for (const event of ["clip", "without", "beside"]) emit(event);
    }
    openFrame(true);
    emit("return");
  });
  remember();
});

export async function start() {
  if (state.runs) return;
  state.runs = [];
  window.neurovis = {
    open,
    state,
    tab,
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
  const wanted = good.find((run) => run.name === asked.get("run")) || good[0];
  const named = { run: asked.get("run"), clip: asked.get("clip"), tab: asked.get("tab") };
  emit("runs");
  if (wanted) await open(wanted.name);
  openFrame();
  clock.subscribe(rememberFrame);
  miss(named);
}

// Note what a link named and there is not, for the reader to be told.
function miss({ run, clip, tab }) {
  const none = { run: run && run !== state.run?.name, clip: clip && state.run && !state.run.byId.has(clip), tab: tab && !TABS.includes(tab) };
  state.lost = Object.fromEntries(Object.entries({ run, clip, tab }).filter(([kind]) => none[kind]));
  emit("lost");
}
