// Ablate: four switches; truth, full model and the chosen combination in step; what each part is worth over all clips.

import { button, h, later, number, panel, replace, signed } from "./dom.js";
import { higherIsBetter, scoreLabel, scoreNames, scoredFrom } from "./browser.js";
import { change } from "./charts.js";
import { extremes } from "./extremes.js";
import { liverender } from "./liverender.js";
import { seedfield } from "./seedfield.js";
import { shuffle } from "./shuffle.js";
import { testset } from "./testset.js";
import { clock } from "./clock.js";
import { listenToKeys, loadStrip, Player, screen, swap, transport } from "./player.js";
import { PARTS, PART_TITLES, current, emit, fullOf, hopeless, marks, on, start, state, step, stripURL, timing, variantName, variantTitle } from "./state.js";
import { empty } from "./empty.js";

const ABOUT = {
  anchor: "what the first frame shows: the anchor frame gets an empty prompt without it",
  motion: "what moves: MAD, the animator and SparseCtrl get an empty text without it",
  holi: "the whole story: the video model gets an empty prompt without it",
  mad: "motion latents: without them anchor frame and video start from noise",
};

export function mount(root, server) {
  const switches = h("div", { class: "nv-switches", role: "group", "aria-label": "Parts" },
    PARTS.map((part) => h("button", { type: "button", role: "switch", "data-part": part, onclick: () => flip(part) },
      h("span", { class: "nv-knob" }), h("b", {}, PART_TITLES[part]), h("small", {}, ABOUT[part]))));
  const heading = h("div", { class: "nv-heading" });
  const deck = h("div", { class: "nv-deck nv-compare" });
  const changes = h("div");
  const sheet = h("div", { class: "nv-sheet" });
  const sums = testset(server, () => variant());
  const order = shuffle(() => variant());
  const ends = extremes(choose);
  const seeds = seedfield();
  const live = liverender(server, () => variant(), (id) => { if (state.clip === id) showClip(); });
  const shufflePanel = panel("Shuffle test", "do random orders of the frames fit the true motion better?", order.node);
  const tablePanel = panel("Over all clips of the run", "change against the full model", sums.node);
  const endsPanel = panel("Most changed clips", "what each part is worth, clip by clip", ends.node);
  const saver = h("div", { class: "nv-exports" }, h("span", {}, "Save this comparison"), ["mp4", "gif", "png"].map((kind) =>
    h("a", { class: "nv-small", download: "", href: "#", "data-kind": kind, onclick: (event) => { event.currentTarget.href = exportURL(kind); } }, { mp4: "MP4 grid", gif: "GIF", png: "PNG strip" }[kind])));
  const turner = h("div", { class: "nv-turner" }, button("Previous clip (left arrow)", "←", () => step(-1), { class: "nv-small" }), button("Next clip (right arrow)", "→", () => step(1), { class: "nv-small" }));
  const view = h("div", { class: "nv-ablate" },
    h("section", { class: "nv-panel nv-stage" }, h("div", { class: "nv-topline" }, heading, turner), switches, h("div", { class: "nv-seedline" }, seeds.node, live.node), deck, transport(), saver),
    h("div", { class: "nv-columns" },
      panel("Change in each score", "this clip, full model to this combination", changes), panel("All combinations of this clip", "choose one", sheet)),
    tablePanel, shufflePanel, endsPanel);

  let big = {};
  let small = {};
  let cells = [];
  let turn = 0;
  let stale = false; // a clip was chosen while the other tab is open

  const variant = () => variantName(state.without, state.seed);
  const streamOf = (key) => state.run.streams.find((stream) => stream.key === key);

  function flip(part) {
    if (state.without.has(part)) state.without.delete(part);
    else state.without.add(part);
    emit("without");
  }
  function choose(name) {
    const [parts, seed] = name.split("@");
    state.without = new Set(parts === "full" ? [] : parts.split("+"));
    state.seed = seed === undefined ? null : Number(seed);
    emit("without");
  }

  function openRun() {
    if (!state.run.streams.length) return empty(root);
    replace(root, view);
    for (const player of [...Object.values(big), ...Object.values(small)]) player.stop();
    big = { full: screen("Full model", null, "reconstruction"), now: screen("This combination", null, "combination") };
    if (streamOf("truth")) big = { truth: screen("Truth", null, "truth"), ...big };
    small = {};
    for (const side of ["full", "now"]) {
      const row = h("div", { class: "nv-minors" });
      for (const key of ["motion", "anchor"]) {
        if (!streamOf(key)) continue;
        const player = screen(streamOf(key).title, null, key);
        small[`${side}-${key}`] = Object.assign(player, { side, key });
        row.append(player.node);
      }
      big[side].node.append(row);
    }
    if (big.truth) big.truth.node.append(h("p", { class: "nv-note" }, "The same scale, the same clock: all pictures on this page show the same moment."));
    replace(deck, Object.values(big).map((player) => player.node));
    sums.open();
    ends.draw();
    if (state.clip) showClip();
    live.open();
    return undefined;
  }

  function showClip() {
    const clip = current();
    stale = state.tab !== "ablate" && !root.offsetParent;
    if (!clip || stale) return;
    replace(heading, h("div", {}, h("span", { class: "nv-mono nv-id" }, clip.id), marks().map((mark) => h("span", { class: "nv-badge nv-warn" }, mark))), h("h2", {}, clip.captions.basic || clip.captions.anchor || String(clip.labels.trial_type || clip.id)));
    clock.fit(state.run.streams.map((stream) => timing(clip, stream)));
    drawSheet(clip);
    show();
    for (const name of clip.variants) for (const stream of state.run.streams) if (stream.key === "reconstruction") loadStrip(stripURL(clip.id, name, stream.key)).catch(() => {});
  }

  function show() {
    const clip = current();
    if (!clip || !big.now) return;
    const mine = ++turn;
    const name = variant();
    const there = clip.variants.includes(name);
    const imported = state.run.source === "videos";
    seeds.node.hidden = imported;
    for (const node of switches.children) {
      node.setAttribute("aria-checked", !state.without.has(node.dataset.part));
      node.disabled = imported;
    }
    const idle = state.without.has("mad");
    switches.querySelector("[data-part=motion]").toggleAttribute("data-idle", idle);
    switches.querySelector("[data-part=motion] small").textContent = idle ? "nothing to steer while MAD is off" : ABOUT.motion;
    seeds.show();
    big.now.title.textContent = variantTitle(name);
    const all = [];
    const put = (player, variantOf, key) => all.push({ player, timing: timing(clip, streamOf(key)), url: key && variantOf ? stripURL(clip.id, variantOf, key) : null });
    if (big.truth) put(big.truth, "full", "truth");
    const whole = clip.variants.includes("full");
    put(big.full, whole ? "full" : null, "reconstruction");
    if (whole) big.full.uncover();
    else big.full.coverWith("The full model was not rendered in this run");
    put(big.now, there ? name : null, "reconstruction");
    for (const player of Object.values(small)) {
      const gone = player.side === "now" && (!there || (player.key === "motion" && name.split("@")[0].split("+").includes("mad")));
      put(player, gone ? null : player.side === "full" ? (whole ? "full" : null) : name, player.key);
      if (gone) player.coverWith(there ? "no MAD" : "–");
      else player.uncover();
    }
    swap(() => mine === turn, all, `${clip.id}/${name}`);
    if (there) big.now.uncover();
    else {
      big.now.coverWith("Not rendered yet");
      live.find();
    }
    live.draw();
    drawChanges(clip, name);
    // The pictures come first: the table and the plots wait until the browser has painted them.
    later(() => {
      if (mine !== turn) return;
      order.draw();
      sums.draw();
    });
    for (const cell of cells) cell.node.setAttribute("aria-pressed", cell.name === name);
  }

  function drawChanges(clip, name) {
    const own = clip.scores[name];
    const base = fullOf(clip, name);
    const names = scoreNames(state.run).filter((key) => typeof base?.[key] === "number");
    if (name === "full") return void replace(changes, h("p", { class: "nv-note" }, "Everything is switched on. Switch a part off to see what it contributed."));
    if (!own) return void replace(changes, unscored(clip, name));
    replace(changes, h("p", { class: "nv-note nv-origin" }, `Both scored ${scoredFrom(state.run, Boolean(clip.kept?.includes(name)))}.`), h("div", { class: "nv-changes" }, names.map((key) => {
      const [from, to] = [base[key], own[key]];
      if (typeof to !== "number") return null;
      const spread = Math.max(...state.run.clips.map((one) => Math.abs((one.scores[name]?.[key] ?? NaN) - (fullOf(one, name)?.[key] ?? NaN)) || 0), 1e-9);
      return h("div", { class: "nv-delta" }, h("span", {}, scoreLabel(state.run, key), h("small", {}, higherIsBetter(state.run, key) ? "higher is better" : "lower is better")), h("b", { class: "nv-mono" }, `${number(from)} → ${number(to)}`), change(from, to, spread, higherIsBetter(state.run, key)), h("b", { class: "nv-mono" }, signed(to - from)));
    })));
    return undefined;
  }

  // What is rendered can be scored here, with the full model beside it from the same kind of pictures.
  function unscored(clip, name) {
    const told = h("p", { class: "nv-note" }, `${clip.id}, ${variantTitle(name).replace(/^[FW]/, (letter) => letter.toLowerCase())}: not scored yet.`);
    if (state.run.source === "videos") return [told];
    if (!clip.variants.includes(name)) return [told, h("p", { class: "nv-note" }, "Render it first: its scores are computed from the pictures.")];
    const reason = state.run.cannot_score || state.run.cannot_render;
    const trouble = h("span", { class: "nv-note nv-broken", role: "alert" }, reason);
    const score = button("Score this clip", "Score this clip", async () => {
      score.disabled = true;
      trouble.textContent = await sums.begin([name], clip.id);
    }, { class: "nv-small", disabled: Boolean(reason) || !server || sums.busy() });
    return [told, h("div", { class: "nv-exports" }, score, trouble), h("p", { class: "nv-note" }, `Takes seconds; ${scoredFrom(state.run, true)}, as is the full model's beside it. For all clips: the buttons of “Over all clips of the run”, or, with the run's own seed, `, h("code", {}, command(name)), ".")];
  }

  function command(name) {
    const parts = name.split("@")[0];
    const shipped = state.runs.find((run) => run.name === state.run.name)?.shipped;
    return `python -m pipeline ablate ${shipped ? "assets/phantom/runs" : "runs"}/${state.run.name}${parts === "full" ? "" : ` --without ${parts.replaceAll("+", ",")}`}`;
  }

  function drawSheet(clip) {
    for (const cell of cells) cell.player.stop();
    const stream = streamOf("reconstruction");
    cells = stream ? clip.variants.map((name) => {
      const player = new Player(variantTitle(name));
      loadStrip(stripURL(clip.id, name, "reconstruction")).then((image) => player.show(image, timing(clip, stream), name)).catch(() => {});
      const chips = name === "full" ? [h("i", { class: "nv-chip" }, "full")] : name.split("@")[0].split("+").filter((p) => PARTS.includes(p)).map((part) => h("i", { class: "nv-chip", "data-part": part }, `− ${PART_TITLES[part].replace("C_", "")}`));
      const seed = name.split("@")[1];
      const node = h("button", { type: "button", title: variantTitle(name), onclick: () => choose(name) }, player.canvas, h("span", {}, chips, seed ? h("i", { class: "nv-chip" }, `seed ${seed}`) : null));
      return { name, player, node };
    }) : [];
    replace(sheet, cells.map((cell) => cell.node));
  }

  function exportURL(kind) {
    const columns = [["truth", "full"], ["reconstruction", "full"], ["reconstruction", variant()]].map(([stream, name]) => `column=${encodeURIComponent(`${stream}:${name}`)}`);
    return `/neurovis/runs/${encodeURIComponent(state.run.name)}/clips/${encodeURIComponent(state.clip)}/export.${kind}?${columns.join("&")}`;
  }

  on("run", openRun);
  on("clip", showClip);
  on("without", show);
  on("tab", () => { if (stale && state.tab === "ablate") showClip(); });
  on("scores", () => { ends.draw(); showClip(); });
  on("error", () => empty(root));
  on("runs", () => { if (hopeless()) empty(root); });
  listenToKeys();
  if (state.run) openRun();
  else if (hopeless()) empty(root);
  else start();
}
