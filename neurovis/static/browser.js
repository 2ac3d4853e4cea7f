// The clip browser: which clips are shown is never a matter of taste, unless the reader sorts or filters.

import { button, h, icon, number, replace } from "./dom.js";
import { clock } from "./clock.js";
import { byScore, choose, current, emit, on, state, stripURL, timing } from "./state.js";

const ROW = 76;
const SAMPLE = 12;

// A small, seeded generator (mulberry32): the same seed gives the same twelve clips on every machine.
function random(seed) {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function sample(items, count, seed) {
  const draw = random(seed + 1);
  const pool = [...items];
  for (let i = 0; i < Math.min(count, pool.length); i++) {
    const j = i + Math.floor(draw() * (pool.length - i));
    [pool[i], pool[j]] = [pool[j], pool[i]];
  }
  return pool.slice(0, count);
}

export function scoreNames(run) {
  const names = new Set(Object.keys(run.scores.full || {}));
  for (const clip of run.clips.slice(0, 50)) for (const name of Object.keys(clip.scores.full || {})) names.add(name);
  return [...names].filter((name) => run.clips.some((clip) => typeof clip.scores.full?.[name] === "number"));
}

// The unit of a score, "" where it has none; an end-point error is in pixels of the frames that were compared.
export const scoreUnit = (name) => ({ psnr: "dB", epe: "px" })[name] ?? "";
export const withUnit = (told, name) => (scoreUnit(name) ? `${told} (${scoreUnit(name)})` : told);

export function scoreLabel(run, name) {
  for (const scores of Object.values(run.scores)) if (scores[name]?.label) return withUnit(scores[name].label, name);
  return withUnit(name.replaceAll("_", " "), name);
}

// Which pictures stand behind scores: those of the run itself, or such as were `kept` and scored later.
export function scoredFrom(run, kept) {
  if (run.source === "videos" && !kept) return "from the imported videos";
  if (run.layout === "compact") return kept ? "from the kept pictures (lossy)" : "before compression";
  return "from the kept pictures (lossless)";
}

export function higherIsBetter(run, name) {
  const known = run.scores.full?.[name]?.higher_is_better;
  return known ?? !/epe|error|shuffle|mse|lpips/i.test(name);
}

function filtered() {
  const { text, object, cut } = state.pick;
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  return state.run.clips.filter((clip) => {
    if (object && String(clip.labels.object ?? clip.labels.trial_type) !== object) return false;
    if (cut && Boolean(clip.labels.cut) !== (cut === "yes")) return false;
    if (!words.length) return true;
    const told = [clip.id, ...Object.values(clip.captions), ...Object.values(clip.labels)].join(" ").toLowerCase();
    return words.every((word) => told.includes(word));
  });
}

export function pickClips() {
  const found = filtered();
  const { mode, order, seed, score } = state.pick;
  let shown = found;
  if (mode === "random") {
    const keep = new Set(sample(found, SAMPLE, seed));
    shown = found.filter((clip) => keep.has(clip));
  } else if (byScore()) {
    const falling = mode === "all" ? order === "down" : (mode === "best") === higherIsBetter(state.run, score);
    const value = (clip) => clip.scores.full?.[score];
    const known = found.filter((clip) => typeof value(clip) === "number").sort((a, b) => (falling ? value(b) - value(a) : value(a) - value(b)));
    // All means all: clips without the score stand last.
    shown = mode === "all" ? [...known, ...found.filter((clip) => typeof value(clip) !== "number")] : known.slice(0, SAMPLE);
  }
  return { shown, found: found.length };
}

export function browser() {
  const modes = h("div", { class: "nv-segments nv-modes", role: "group", "aria-label": "Which clips" },
    [["random", "Random 12"], ["all", "All"], ["best", "Best 12"], ["worst", "Worst 12"]].map(([key, title]) =>
      h("button", { type: "button", "data-mode": key, onclick: () => set({ mode: key }) }, title)));
  const search = h("input", { type: "search", placeholder: "Search captions", "aria-label": "Search captions", value: state.pick.text, oninput: () => set({ text: search.value }) });
  const objects = h("select", { "aria-label": "Object", onchange: () => set({ object: objects.value }) });
  const cuts = h("select", { "aria-label": "Cuts", onchange: () => set({ cut: cuts.value }) },
    h("option", { value: "" }, "Cut or not"), h("option", { value: "yes" }, "At a cut"), h("option", { value: "no" }, "Within a shot"));
  const scores = h("select", { "aria-label": "Sort by score", onchange: () => sortBy(scores.value) });
  const turn = button("Turn the order round", "", () => set({ order: state.pick.order === "up" ? "down" : "up" }), { class: "nv-small nv-order" });
  const again = button("Draw twelve others", [icon("dice"), "Draw again"], () => set({ mode: "random", seed: Math.floor(Math.random() * 9999) + 1 }), { class: "nv-small" });
  const told = h("p", { class: "nv-told", "aria-live": "polite" });
  const list = h("div", { class: "nv-list", role: "listbox", "aria-label": "Clips", tabindex: 0, onscroll: paint });
  const inner = h("div", { class: "nv-list-inner" });
  list.append(inner);
  const node = h("section", { class: "nv-panel nv-browser" }, h("header", {}, h("h2", {}, "Clips"), again),
    modes, h("div", { class: "nv-filters" }, search, objects, cuts, h("div", { class: "nv-sort" }, turn, scores)), told, list);

  let clips = [];
  function set(change) {
    Object.assign(state.pick, change);
    refresh();
    emit("pick");
  }

  // In "all" an empty choice is the run's own order; a score starts with its best clips.
  function sortBy(score) {
    if (state.pick.mode !== "all") set({ score });
    else if (!score) set({ order: "" });
    else set({ score, order: state.pick.order || (higherIsBetter(state.run, score) ? "down" : "up") });
  }

  function refresh() {
    const run = state.run;
    if (!run) return;
    const names = scoreNames(run);
    if (!names.includes(state.pick.score)) state.pick.score = names[0] || null;
    if (!names.length && ["best", "worst"].includes(state.pick.mode)) state.pick.mode = "random";
    const all = state.pick.mode === "all";
    if (!names.length) state.pick.order = "";
    const own = run.source === "videos" ? "in the order of their names" : "in the order of the film";
    replace(scores, all ? h("option", { value: "", selected: !state.pick.order }, own) : null,
      names.map((name) => h("option", { value: name, selected: byScore() && name === state.pick.score }, `by ${scoreLabel(run, name)}`)));
    scores.parentNode.hidden = !names.length || !(all || byScore());
    turn.hidden = !all || !state.pick.order;
    replace(turn, icon(state.pick.order === "up" ? "up" : "down"));
    turn.setAttribute("aria-label", state.pick.order === "up" ? "Lowest first; turn round" : "Highest first; turn round");
    turn.title = turn.getAttribute("aria-label");
    for (const mode of modes.children) {
      mode.setAttribute("aria-pressed", mode.dataset.mode === state.pick.mode);
      mode.disabled = !names.length && ["best", "worst"].includes(mode.dataset.mode);
      mode.title = mode.disabled ? "This run has no scores per clip" : "";
    }
    const picked = pickClips();
    clips = picked.shown;
    state.shown = clips.map((clip) => clip.id);
    again.hidden = state.pick.mode !== "random";
    const label = byScore() ? scoreLabel(run, state.pick.score) : "";
    const figures = names.length ? ` · figures: ${scoreLabel(run, state.pick.score)}, ${scoredFrom(run, run.kept.includes("full"))}` : "";
    const which = { random: `unpicked, seed ${state.pick.seed}`, all: label ? `${state.pick.order === "up" ? "lowest" : "highest"} ${label} first` : own }[state.pick.mode] ?? `picked: ${state.pick.mode} by ${label}`;
    told.textContent = clips.length ? `${clips.length} of ${picked.found === run.clips.length ? "" : `${picked.found} found, `}${run.clips.length} · ${which}${figures}` : "No clip fits. Clear the search or the filters.";
    inner.style.height = `${clips.length * ROW}px`;
    inner.replaceChildren();
    paint();
    if (!state.clip && clips.length) choose(clips[0].id);
    emit("shown");
  }

  function fillObjects() {
    const run = state.run;
    const kinds = [...new Set(run.clips.map((clip) => clip.labels.object ?? clip.labels.trial_type).filter(Boolean))].sort();
    if (state.pick.object && !kinds.includes(state.pick.object)) state.pick.object = "";
    replace(objects, h("option", { value: "" }, "Any object"), kinds.map((kind) => h("option", { value: kind, selected: kind === state.pick.object }, kind)));
    objects.hidden = kinds.length < 2;
    const known = run.clips.some((clip) => "cut" in clip.labels);
    if (!known) state.pick.cut = "";
    cuts.hidden = !known;
    cuts.value = state.pick.cut;
  }

  // Only the rows in view exist, so that 1,200 clips scroll like twelve.
  function paint() {
    const from = Math.max(0, Math.floor(list.scrollTop / ROW) - 3);
    const to = Math.min(clips.length, Math.ceil((list.scrollTop + (list.clientHeight || 600)) / ROW) + 3);
    for (const row of [...inner.children]) if (row.dataset.at < from || row.dataset.at >= to) row.remove();
    const there = new Map([...inner.children].map((row) => [Number(row.dataset.at), row]));
    for (let at = from; at < to; at++) if (!there.has(at)) inner.append(makeRow(clips[at], at));
    mark();
  }

  function makeRow(clip, at) {
    const run = state.run;
    const name = state.pick.score;
    const value = clip.scores.full?.[name];
    const streams = run.streams.filter((stream) => ["truth", "reconstruction"].includes(stream.key));
    const title = clip.captions.basic || clip.captions.anchor || clip.labels.trial_type || clip.id;
    return h("div", { class: "nv-row", role: "option", "data-at": at, "data-clip": clip.id, style: `top:${at * ROW}px`, onclick: () => choose(clip.id) },
      streams.map((stream) => h("i", { class: "nv-thumb", title: stream.title, style: thumb(clip, stream) })),
      h("div", {}, h("b", {}, title),
        h("span", { class: "nv-mono" }, clip.id, clip.labels.cut ? h("em", { title: "First clip of a shot" }, "cut") : null,
          typeof value === "number" ? h("u", { title: scoreLabel(run, name), "aria-label": `${scoreLabel(run, name)} ${number(value)}`, role: "img" }, number(value)) : null)));
  }

  function thumb(clip, stream) {
    const { n, size: [height, width] = [1, 1] } = timing(clip, stream);
    const side = (length) => `${Math.round((52 * length) / Math.max(height, width))}px`;
    return `--n:${n};width:${side(width)};height:${side(height)};--strip:url("${stripURL(clip.id, state.run.base, stream.key)}")`;
  }

  function mark() {
    for (const row of inner.children) row.setAttribute("aria-selected", row.dataset.clip === state.clip);
  }

  function reveal() {
    const at = state.shown.indexOf(state.clip);
    if (at < 0) return;
    const top = at * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
    mark();
  }

  function begin() {
    if (!state.run) return;
    search.value = state.pick.text;
    fillObjects();
    // A link to a clip outside the twelve shown lists all, so that the link's clip is there.
    if (state.clip && state.pick.mode === "random" && !pickClips().shown.some((clip) => clip.id === state.clip)) state.pick.mode = "all";
    refresh();
    reveal();
  }

  on("run", () => {
    list.scrollTop = 0;
    begin();
  });
  on("return", begin);
  on("clip", reveal);
  on("scores", refresh);
  new ResizeObserver(paint).observe(list);
  if (state.run) { fillObjects(); refresh(); reveal(); }
  // Thumbnails move with the same clock as the players, six times a second at most.
  let drawn = -1;
  clock.subscribe((phase) => {
    const sixth = Math.floor(phase * 6);
    if (sixth !== drawn) list.style.setProperty("--phase", (drawn = sixth) / 6);
  });
  return node;
}

export function neighbours() {
  const ids = state.shown;
  const at = ids.indexOf(current()?.id);
  return at < 0 ? [] : [ids[(at + 1) % ids.length], ids[(at - 1 + ids.length) % ids.length]];
}
