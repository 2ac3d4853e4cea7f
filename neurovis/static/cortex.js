// Cortex: which voxels and areas each part of the decoder draws on; one map at a time, repainted in the browser.

import { getJSON, h, number, replace } from "./dom.js";
import { listenToKeys } from "./player.js";
import { current, hopeless, marks, on, start, state } from "./state.js";
import { empty } from "./empty.js";
import { sliceSides } from "./brain.js";
import { brain3d } from "./brain3d.js";
import { bars, trust } from "./cortexbars.js";
import { controls, labelBox, paintControls } from "./cortexcontrols.js";
import { describe, field, flat, told } from "./cortexdata.js";
import { flatView } from "./cortexflat.js";
import { sliceView } from "./cortexslices.js";
import { CLIP, KINDS, MEAN, change, colours, ends, kind, remember, settle, view } from "./cortexstate.js";
import { computing } from "./cortexwork.js";
import { exportsBar } from "./cortexsave.js";

const CREDIT = "Surfaces and areas: Human Connectome Project, WU-Minn Consortium (HCP S1200 group average, MMP 1.0, Glasser et al. 2016).";

export function mount(root, server) {
  const heading = h("div", { class: "nv-heading" });
  const readout = h("output", { class: "nv-mono nv-cxread", id: "nv-cortex-readout" });
  const trouble = h("p", { class: "nv-broken nv-cxtrouble", role: "alert", hidden: true });
  const space = h("p", { class: "nv-credit" });
  const choices = controls();
  const paints = paintControls();
  const names = labelBox();
  const work = computing(server, () => refresh());
  const surface = flatView(point);
  const slices = sliceView(point, (slice) => change({ slice }));
  const stage = h("div", { class: "nv-cxstage" });
  const areas = bars((name) => { if (surface.map()) surface.markAreas(name ? surface.areasOf(name) : []); });
  const trusted = trust();
  const saved = exportsBar(() => ({ info, shown, surface, slices, space: space.textContent }));
  const view3d = brain3d();
  const node = h("div", { class: "nv-cortexview" },
    h("section", { class: "nv-panel nv-cxmain" }, h("div", { class: "nv-topline" }, heading), choices.node, trouble, work.node, stage, h("div", { class: "nv-cxline" }, readout), paints.node, names.node, saved.node, space),
    h("div", { class: "nv-columns" }, h("div", { class: "nv-stack" }, areas.node), h("div", { class: "nv-stack" }, trusted.node)), view3d.node);

  let info = null; // what can be shown of the run
  let shown = null; // the values on the map
  let tables = null; // colours
  let counts = null; // voxels with a value, by area
  let dressed = {}; // what borders and names were last drawn for
  let opened = null;
  let forced = false; // a run without a decoder left no other layer
  let turn = 0;

  async function open() {
    if (state.tab !== "cortex" || !state.run) return;
    if (opened === state.run) return void (shown || refresh());
    opened = state.run;
    const mine = ++turn;
    shown = null;
    replace(stage); // another run's map must not stand under this one's name
    readout.textContent = "";
    replace(root, node);
    replace(heading, h("p", { class: "nv-note" }, "Asking what can be shown …"));
    try {
      const [found, hex] = await Promise.all([describe(), tables || getJSON("/neurovis/cortex-colours")]);
      if (mine !== turn) return;
      if (info && view.subject === info.subject) view.subject = found.subject; // who showed a run's own subject goes on so
      info = found;
      tables = hex;
    } catch (error) {
      if (mine === turn) { opened = null; tell(error.message); }
      return;
    }
    settle(info);
    // Without a decoder there is still the recording; a run that has one shows its maps again.
    const only = Boolean(info.reason && state.run.pattern && info.space.kind !== "unknown");
    if (only !== forced) view.layer = only ? CLIP : "map";
    forced = only;
    refresh();
  }

  // Ask for what the view wants and show it; what takes the server long is started and waited for.
  async function refresh() {
    if (!info || state.tab !== "cortex" || opened !== state.run) return;
    const mine = ++turn;
    settle(info);
    remember();
    drawFrame();
    stage.setAttribute("aria-busy", "true"); // what is painted is of the choice before, and is faded until it is not
    saved.show(null);
    if (info.space.kind === "unknown" || (info.reason && view.layer !== CLIP)) return nothing();
    try {
      if (flat(info)) names.show(await surface.open());
      const found = await field(info);
      if (mine !== turn) return undefined;
      shown = found.missing ? { dense: new Float32Array(59412).fill(NaN), waiting: true } : found;
      await work.need(found.missing ? { ...found, info } : null);
    } catch (error) {
      if (mine === turn) tell(error.message);
      return undefined;
    }
    if (mine !== turn) return undefined;
    place();
    draw();
    return undefined;
  }

  function drawFrame() {
    trouble.hidden = !info.reason;
    trouble.textContent = info.reason || "";
    replace(heading, h("div", {}, marks().map((mark) => h("span", { class: "nv-badge nv-warn" }, mark))), h("h2", {}, told(info)));
    choices.show(info);
    space.textContent = flat(info) && info.space.kind !== "unknown" ? `${info.space.kind === "volume" ? `${info.space.told} ` : ""}${CREDIT}` : info.space.kind === "volume" ? `${info.space.told} ${sliceSides(info.space.affine)}` : info.space.told;
  }

  function tell(message) {
    trouble.hidden = false;
    trouble.textContent = message;
    work.need(null);
    replace(stage);
    stage.removeAttribute("aria-busy");
    shown = null;
    readout.textContent = "";
  }

  // There is nothing to draw: why, and what to do next.
  function nothing() {
    tell(info.reason || info.space.told);
    choices.node.hidden = paints.node.hidden = names.node.hidden = saved.node.hidden = true;
    areas.node.hidden = trusted.node.hidden = view3d.node.hidden = true;
  }

  function place() {
    const on = flat(info);
    for (const part of [choices, paints, saved, trusted]) part.node.hidden = false;
    names.node.hidden = !on;
    areas.node.hidden = !on;
    view3d.node.hidden = info.space.kind === "volume";
    const wanted = on ? surface.whole : slices.node;
    if (stage.firstChild !== wanted) replace(stage, wanted);
  }

  function draw() {
    const map = flat(info) ? surface.map() : null;
    counts = map ? count(map) : null;
    paint();
    stage.removeAttribute("aria-busy");
    areas.show(shown, map, info);
    trusted.show(shown, info);
    saved.show(shown);
    turnable();
    window.neurovis.cortex = { view, info, field: () => shown.dense, paint };
    node.dataset.shown = [told(info), view.layer === "map" ? view.statistic : view.layer, shown.waiting ? "waiting" : "ready"].join("; ");
  }

  // The 3-D view holds all modules of one subject's statistic.
  function turnable() {
    if (view.layer !== "map") return view3d.show(null, "The 3-D view shows importance; choose it above.");
    if (view.subject === MEAN) return view3d.show(null, "The 3-D view shows one subject; choose one above.");
    if (shown.waiting) return view3d.show(null, "The 3-D view waits for the map.");
    return view3d.show(`/neurovis/brain3d/${[state.run.name, view.subject, view.statistic].map(encodeURIComponent).join("/")}`);
  }

  function count(map) {
    const found = new Int32Array(map.names.length);
    shown.dense.forEach((value, vertex) => { if (value === value) found[map.region[vertex]]++; });
    return found;
  }

  // The same values with other colours, ends, threshold, borders or names: no call to the server.
  function paint() {
    if (!shown || !info) return;
    const [low, high] = ends();
    const options = { low, high, table: colourTable(tables[colours()]), threshold: view.threshold, diverging: Boolean(KINDS[kind()].diverging) };
    paints.show(info, tables, flat(info));
    if (flat(info)) {
      dress();
      surface.paint(shown.dense, options);
    } else if (!shown.waiting) slices.paint(shown.dense, options, info.space.shape, view.slice);
  }

  // Borders and names change seldom, and laying text out takes longer than painting.
  function dress() {
    const now = [view.outlines, view.close, surface.node.clientWidth, ...view.labels].join();
    if (now === dressed.as && (!view.close || dressed.of === shown.dense)) return;
    dressed = { as: now, of: shown.dense };
    surface.frame(shown.dense, view.close);
    surface.decorate(view.outlines, view.labels);
    names.show(surface.map());
  }

  function point(at) {
    if (!at || !shown) {
      readout.textContent = "";
      areas.mark(null);
      return;
    }
    const value = shown.dense[at.vertex ?? at.index];
    const figure = value === value ? number(value, 3) : view.layer === "map" ? "not read" : "no value";
    if (at.voxel) {
      readout.textContent = `voxel ${at.voxel.join(", ")}  ${figure}`;
      return;
    }
    readout.textContent = `${at.side === "L" ? "left" : "right"} ${at.name}  ${figure}  ${counts[at.area]} voxels in it`;
    areas.mark(at.name);
  }

  on("run", open);
  on("tab", open);
  on("cortex", refresh);
  on("cortexpaint", () => { if (state.tab === "cortex") paint(); });
  on("clip", () => { if (view.layer === CLIP && current()) refresh(); });
  on("error", () => { opened = null; empty(root); });
  on("runs", () => { if (hopeless()) empty(root); });
  new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  listenToKeys();
  if (state.run) open();
  else if (hopeless()) empty(root);
  else start();
}

// 256 colours as a canvas stores them, little-endian.
const made = new Map();
function colourTable(hex) {
  if (!made.has(hex)) {
    made.set(hex, Uint32Array.from({ length: 256 }, (_, i) => {
      const [red, green, blue] = [0, 2, 4].map((at) => parseInt(hex.slice(i * 6 + at, i * 6 + at + 2), 16));
      return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
    }));
  }
  return made.get(hex);
}
