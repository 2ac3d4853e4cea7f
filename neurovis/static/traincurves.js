// Curves of a training: one chart of losses, one of scores on held-out runs, each with its numbers under the pointer.

import { csv, download, downloadSVG } from "./charts.js";
import { button, h, number, replace, s } from "./dom.js";

const WIDTH = 400;
const HEIGHT = 200;
const EDGE = { left: 52, right: 14, top: 10, bottom: 34 };
// Okabe and Ito's, in an order in which neighbours differ in lightness too.
const COLOURS = ["var(--nv-ink)", "var(--nv-motion)", "var(--nv-anchor)", "var(--nv-holi)", "var(--nv-mad)", "var(--nv-dim)"];

const plain = (name) => name.replace(/^(train|val)_/, "").replaceAll("_", " ");

function ticks(low, high, count = 4) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(Math.abs(value) < step * 1e-6 ? 0 : value);
  return found;
}

// Terms: { name: [value or null, ...] }, one per epoch; the first is drawn bold.
export function curveChart(label, epochs, terms, total) {
  const names = Object.keys(terms).slice(0, COLOURS.length);
  const known = names.flatMap((name) => terms[name]).filter((value) => typeof value === "number");
  if (!known.length) return h("p", { class: "nv-note" }, `${label}: nothing measured yet.`);
  let [low, high] = [Math.min(...known), Math.max(...known)];
  const pad = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  [low, high] = [low - pad, high + pad];
  const last = Math.max(total || 0, ...epochs, 1);
  const x = (epoch) => EDGE.left + (epoch / last) * (WIDTH - EDGE.left - EDGE.right);
  const y = (value) => EDGE.top + ((high - value) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  const mark = s("line", { class: "mark", y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
  const keys = names.map((name, i) => h("span", {}, h("i", { style: `background:${COLOURS[i]}` }), plain(name), " ", h("b", { class: "nv-mono" })));
  const where = h("span", { class: "nv-mono" });
  const tell = (index) => {
    where.textContent = `epoch ${epochs[index]}`;
    names.forEach((name, i) => { keys[i].lastChild.textContent = number(terms[name][index]); });
  };
  const chart = s("svg", { class: "nv-curve", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${label}: ${names.map((name) => `${plain(name)} ${number(terms[name].findLast((v) => typeof v === "number"))}`).join(", ")} after epoch ${epochs.at(-1)}` },
    ticks(low, high).map((value) => [s("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y(value), y2: y(value), class: "grid" }), s("text", { x: EDGE.left - 7, y: y(value) + 4, "text-anchor": "end" }, Number(value.toPrecision(3)))]),
    ticks(0, last, Math.min(last, 6)).filter(Number.isInteger).map((value) => s("text", { x: x(value), y: HEIGHT - EDGE.bottom + 15, "text-anchor": "middle" }, value)),
    s("text", { x: (EDGE.left + WIDTH - EDGE.right) / 2, y: HEIGHT - 3, "text-anchor": "middle" }, "epoch"),
    names.map((name, i) => {
      const points = epochs.map((epoch, k) => [epoch, terms[name][k]]).filter(([, value]) => typeof value === "number");
      return [s("polyline", { points: points.map(([epoch, value]) => `${x(epoch).toFixed(1)},${y(value).toFixed(1)}`).join(" "), fill: "none", stroke: COLOURS[i], "stroke-width": i ? 1.4 : 2.6, class: "line", "data-term": name }),
        points.length < 40 ? points.map(([epoch, value]) => s("circle", { cx: x(epoch), cy: y(value), r: i ? 1.8 : 2.8, fill: COLOURS[i] })) : null];
    }).reverse(), mark);
  chart.addEventListener("pointermove", (event) => {
    const box = chart.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * WIDTH;
    const index = epochs.reduce((best, epoch, i) => (Math.abs(x(epoch) - at) < Math.abs(x(epochs[best]) - at) ? i : best), 0);
    for (const key of ["x1", "x2"]) mark.setAttribute(key, x(epochs[index]));
    mark.setAttribute("visibility", "visible");
    tell(index);
  });
  chart.addEventListener("pointerleave", () => { mark.setAttribute("visibility", "hidden"); tell(epochs.length - 1); });
  tell(epochs.length - 1);
  return h("figure", { class: "nv-curvebox" }, h("figcaption", {}, h("b", {}, label), where), chart, h("div", { class: "nv-curvekeys" }, keys));
}

export function curves() {
  const picker = h("select", { "aria-label": "Stage", onchange: () => { chosen = picker.value; drawn = ""; draw(job); } });
  const charts = h("div", { class: "nv-curves" });
  const node = h("div", {}, h("div", { class: "nv-endbar" }, picker,
    button("Save all curves as CSV", "CSV", () => save(), { class: "nv-small" }),
    button("Save the charts as SVG", "SVG", () => charts.querySelectorAll("svg").forEach((svg, i) => downloadSVG(`${job.title}_${picker.value}_${i ? "heldout" : "loss"}.svg`, svg)), { class: "nv-small" })), charts);
  let job = null;
  let chosen = null; // a stage that the reader picked; else the one that trains is followed
  let drawn = "";

  function draw(found) {
    if (found.id !== job?.id) chosen = null;
    job = found;
    const stages = Object.keys(job.curves);
    node.hidden = !stages.length;
    if (node.hidden) return;
    const now = stages.includes(chosen) ? chosen : stages.at(-1);
    const key = JSON.stringify([job.id, now, stages.length, job.curves[now]]);
    if (key === drawn) return;
    drawn = key;
    if (picker.options.length !== stages.length || picker.dataset.job !== String(job.id)) {
      replace(picker, stages.map((stage) => h("option", { value: stage }, stage)));
      picker.dataset.job = job.id;
    }
    picker.value = now;
    const { epochs, terms } = job.curves[now];
    const total = now === job.progress.stage ? job.progress.total : epochs.at(-1);
    const of = (prefix, first) => Object.fromEntries(Object.entries(terms).filter(([name]) => name.startsWith(prefix)).sort(([a], [b]) => (b === first) - (a === first)));
    replace(charts, curveChart("Training loss", epochs, of("train_", "train_loss"), total), curveChart("On held-out training runs", epochs, of("val_", "val_score"), total));
  }
  function save() {
    const rows = [["stage", "epoch", "term", "value"]];
    for (const [stage, { epochs, terms }] of Object.entries(job.curves)) for (const [name, values] of Object.entries(terms)) values.forEach((value, i) => { if (value !== null) rows.push([stage, epochs[i], name, value]); });
    download(`${job.title}_curves.csv`, csv(rows));
  }
  return { node, draw };
}
