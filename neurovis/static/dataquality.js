// How good one subject's data is: a measure on the cortex or slice by slice, its spread, the lag, splits and captions.

import { button, getArray, getJSON, h, number, panel, replace } from "./dom.js";
import { sliceSides, writeSides } from "./brain.js";
import { csv, download, downloadSVG, saveCanvas, sheet } from "./charts.js";
import { flatView } from "./cortexflat.js";
import { sliceView } from "./cortexslices.js";
import { lagcurve, legend, spread } from "./datacharts.js";
import { commandLine } from "./datacommand.js";
import { recordPanels } from "./datarecord.js";
import { SPACES, choice, count, remember } from "./datastate.js";

const N_CORTEX = 59412;
const COLOURS = "viridis";
const SELECTED = { key: "selected", title: "selected voxels", limits: [0, 1] };
const CREDIT = "Surface and areas: Human Connectome Project, WU-Minn Consortium (HCP S1200 group average, MMP 1.0, Glasser et al. 2016).";

export function quality(work) {
  const head = h("div", { class: "nv-heading" });
  const trouble = h("p", { class: "nv-broken", role: "alert", hidden: true });
  const table = h("div", { class: "nv-scroll nv-tablebox nv-measures", tabindex: 0, role: "group", "aria-label": "Measures" });
  const stage = h("div", { class: "nv-cxstage" });
  const readout = h("output", { class: "nv-mono nv-cxread", id: "nv-data-readout" });
  const bar = h("div", { class: "nv-databar" });
  const saved = h("div", { class: "nv-exports" });
  const chart = h("div", { class: "nv-scroll" });
  const lag = h("div", { class: "nv-lagbox" });
  const surface = flatView(point);
  const slices = sliceView(point, (slice) => { choice.slice = slice; remember(); paint(); });
  surface.node.id = "nv-data-map";
  surface.canvas.id = "nv-data-canvas";
  slices.node.id = "nv-data-slices";
  const record = recordPanels(work);
  const main = h("section", { class: "nv-panel nv-quality" }, h("div", { class: "nv-topline" }, head), trouble, table, stage, h("div", { class: "nv-cxline" }, readout), bar, saved, h("h3", { class: "nv-sub" }, "Spread over voxels"), chart);
  const lagPanel = panel("Lag scan", "predicting what was shown from the volumes around it, on unseen runs", lag);
  const node = h("div", { class: "nv-stack", hidden: true }, main, h("div", { class: "nv-columns" }, lagPanel, record.node));
  let info = null;
  let dense = null;
  let colours = null;
  let turn = 0;

  const base = () => `/neurovis/data/${encodeURIComponent(choice.dataset)}/${encodeURIComponent(choice.subject)}`;
  const options = () => [...info.measures, SELECTED];
  const chosen = () => options().find((one) => one.key === choice.measure) ?? options()[0];
  const flat = () => info.space.kind === "fs_LR_32k";
  const shownName = () => `${choice.dataset} ${choice.subject} ${choice.measure}`;
  const stem = (what) => `${choice.dataset}_${choice.subject}_${what}${info.simulated ? "_simulated" : ""}`;

  async function show() {
    const mine = ++turn;
    node.hidden = !choice.subject;
    if (!choice.subject) return;
    try {
      const [found, tables] = await Promise.all([getJSON(base()), colours ?? getJSON("/neurovis/cortex-colours")]);
      if (mine !== turn) return;
      [info, colours] = [found, tables];
    } catch (error) {
      if (mine !== turn) return;
      info = null;
      fail(error.message);
      for (const part of [head, table, stage, bar, saved, chart, lag]) replace(part);
      record.show(null);
      return;
    }
    fail("");
    draw();
    await measure();
  }

  function fail(message) {
    trouble.hidden = !message;
    trouble.textContent = message;
  }

  async function measure() {
    const mine = ++turn;
    choice.measure = chosen().key;
    remember();
    tabulate();
    drawSpread();
    dense = null;
    readout.textContent = "";
    stage.hidden = bar.hidden = info.space.kind === "unknown";
    if (info.space.kind === "unknown") {
      readout.textContent = "These voxels have no position, so they cannot be drawn; the spread below needs none.";
      main.dataset.shown = shownName();
      return undefined;
    }
    try {
      const [bytes] = await Promise.all([getArray(`${base()}/values/${choice.measure}`, Uint8Array), flat() ? surface.open() : null]);
      if (mine !== turn) return undefined;
      dense = placed(bytes.buffer);
    } catch (error) {
      if (mine === turn) fail(error.message);
      return undefined;
    }
    const wanted = flat() ? surface.whole : slices.node;
    if (stage.firstChild !== wanted) replace(stage, wanted);
    paint();
    return undefined;
  }

  function placed(buffer) {
    const n = buffer.byteLength / 8;
    const ids = new Int32Array(buffer, 0, n);
    const values = new Float32Array(buffer, 4 * n, n);
    const places = flat() ? N_CORTEX : info.space.shape.reduce((a, b) => a * b, 1);
    const found = new Float32Array(places).fill(NaN);
    for (let i = 0; i < n; i++) if (ids[i] >= 0 && ids[i] < places) found[ids[i]] = values[i];
    return found;
  }

  function paint() {
    if (!dense || !info) return;
    const [low, high] = chosen().limits;
    const view = { low, high, table: tableOf(colours[COLOURS]), threshold: 0, diverging: false };
    if (flat()) {
      surface.frame(dense, false);
      surface.decorate(true, []);
      surface.paint(dense, view);
    } else slices.paint(dense, view, info.space.shape, choice.slice);
    const stops = Array.from({ length: 9 }, (_, i) => `#${colours[COLOURS].slice(i * 31 * 6, i * 31 * 6 + 6)}`).join(", ");
    replace(bar, h("span", { class: "nv-mono" }, number(low)), h("i", { style: `background: linear-gradient(to right, ${stops})` }), h("span", { class: "nv-mono" }, number(high)),
      h("span", { class: "nv-note" }, chosen().key === "selected" ? "the voxels that decoders read" : `${chosen().title}; colours end at the 2nd and 98th percentile of all voxels`),
      flat() ? null : h("span", { class: "nv-note" }, sliceSides(info.space.affine)));
    main.dataset.shown = shownName();
  }

  function point(at) {
    const value = at && dense ? dense[at.vertex ?? at.index] : NaN;
    const place = !at ? "" : at.voxel ? `voxel ${at.voxel.join(", ")}` : `${at.side === "L" ? "left" : "right"} ${at.name}`;
    readout.textContent = at ? `${place}  ${value === value ? number(value) : "no value"}` : "";
  }

  function draw() {
    const { n_selected: n, n_seen: seen, n_bad: bad, published } = info;
    const beside = published ? `; the published selection has ${count(published)}` : info.simulated ? "" : "; there is no published count for it";
    replace(head, h("div", {}, info.simulated ? h("span", { class: "nv-badge nv-warn" }, "Simulated data") : null, h("span", { class: "nv-badge" }, SPACES[info.space.kind])),
      h("h2", {}, `Quality of ${choice.dataset}, ${choice.subject}`),
      h("p", { class: "nv-labels", id: "nv-data-counts" }, `${count(n)} of ${count(seen)} voxels selected${beside}; ${count(bad)} unusable.`));
    replace(saved, h("span", {}, "Save"), button("Save the map as PNG", "Map, PNG", saveMap, { class: "nv-small", hidden: info.space.kind === "unknown" }),
      button("Save the spread as SVG", "Spread, SVG", () => downloadSVG(`${stem(`spread-${choice.measure}`)}.svg`, chart.querySelector("svg")), { class: "nv-small" }),
      button("Save the measures as CSV", "Measures, CSV", saveTable, { class: "nv-small" }),
      h("a", { class: "nv-small", href: `${base()}/voxels.csv`, download: true }, "All voxels, CSV"));
    drawLag();
    record.show(info);
  }

  // The map with its colour bar and what is needed to read it; simulated data is named as such.
  function saveMap() {
    const { page, pen, width, height, write } = sheet(flat() ? surface.canvas : slices.canvas, 150);
    const [low, high] = chosen().limits;
    const band = pen.createLinearGradient(130, 0, 390, 0);
    for (let i = 0; i < 9; i++) band.addColorStop(i / 8, `#${colours[COLOURS].slice(i * 31 * 6, i * 31 * 6 + 6)}`);
    pen.fillStyle = band;
    pen.fillRect(130, height + 24, 260, 18);
    write(number(low), 44, height + 42, 22);
    write(`${number(high)}   ${chosen().title}`, 404, height + 42, 22);
    write(`${info.simulated ? "Simulated data  ·  " : ""}${choice.dataset} ${choice.subject}`, 44, height + 86, 26, 700);
    if (flat()) writeSides(pen, width);
    write(flat() ? CREDIT : sliceSides(info.space.affine), 44, height + 124, 18);
    saveCanvas(`${stem(choice.measure)}.png`, page);
  }

  function tabulate() {
    const cell = (value) => h("td", {}, number(value));
    const row = (one) => h("tr", { "data-measure": one.key },
      h("th", { scope: "row" }, button(`Show ${one.title}`, one.title, () => { choice.measure = one.key; measure(); }, { class: "nv-small", "aria-pressed": String(one.key === choice.measure) })),
      one.summary ? [cell(one.summary.median), cell(one.summary.p05), cell(one.summary.p95), cell(one.median_others)] : h("td", { colspan: 4 }, `${count(info.n_selected)} voxels`));
    const unknown = Object.entries(info.missing).filter(([key]) => key !== "lag");
    replace(table, h("table", {},
      h("thead", {}, h("tr", {}, ["measure", "median, selected", "5 %", "95 %", "median, others"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, options().map(row))),
    unknown.length ? h("ul", { class: "nv-unknown" }, unknown.map(([key, why]) => h("li", { "data-measure": key }, `${key.replaceAll("_", " ")}: not known, ${why}.`))) : null);
  }

  function drawSpread() {
    const one = chosen();
    replace(chart, one.edges ? [spread(one), legend(["chosen", "selected"], ["rest", "not selected"], ["median", "median of the selected"])] : h("p", { class: "nv-note" }, "Choose a measure to see how it spreads."));
  }

  function saveTable() {
    const rows = info.measures.map((one) => [Number(info.simulated), one.key, one.summary.median, one.summary.p05, one.summary.p95, one.median_others ?? ""]);
    download(`${stem("measures")}.csv`, csv([["simulated", "measure", "median_selected", "p05", "p95", "median_others"], ...rows]));
  }

  function drawLag() {
    const scan = info.lag;
    const told = h("p", { class: "nv-note", role: "status" });
    const go = button("Scan the lag", scan ? "Scan again" : "Scan the lag", async () => {
      told.textContent = await work.begin({ kind: "lag", dataset: choice.dataset, subject: choice.subject });
      told.classList.toggle("nv-broken", Boolean(told.textContent));
    }, { class: "nv-small" });
    const words = scan ? `Best at ${scan.best > 0 ? "+" : ""}${String(scan.best).replace("-", "−")} volumes, by ${scan.target}. ${scan.best === 0 ? "Clips and volumes are aligned." : "Clips and volumes look shifted: import again with another lag, and compare."}`
      : "Not scanned yet. It reads the films and the training runs, so it takes a while on a large data set.";
    replace(lag, scan ? h("div", { class: "nv-scroll" }, lagcurve(scan)) : null, h("p", { class: "nv-note" }, words),
      h("div", { class: "nv-exports" }, go, scan ? button("Save the scan as CSV", "CSV", () => download(`${stem("lag")}.csv`, csv([["simulated", "lag_volumes", "score"], ...scan.lags.map((one, i) => [Number(info.simulated), one, scan.scores[i]])])), { class: "nv-small" }) : null), told,
      commandLine(info.commands.lag), commandLine(info.commands.quality));
  }

  new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  return { node, show };
}

// 256 colours as a canvas stores them, little-endian.
let made = null;
function tableOf(hex) {
  made ||= Uint32Array.from({ length: 256 }, (_, i) => {
    const [red, green, blue] = [0, 2, 4].map((at) => parseInt(hex.slice(i * 6 + at, i * 6 + at + 2), 16));
    return (0xff000000 | (blue << 16) | (green << 8) | red) >>> 0;
  });
  return made;
}
