// Charts of a recording's quality: how a measure spreads over voxels, and how well each lag predicts.

import { h, number, s } from "./dom.js";

const WIDTH = 560;
const HEIGHT = 190;
const LEFT = 54;
const BOTTOM = 42;

function axes(ticksX, ticksY, x, y, titleX, titleY) {
  const base = HEIGHT - BOTTOM;
  return [
    ticksY.map((value) => [s("line", { x1: LEFT, x2: WIDTH - 8, y1: y(value), y2: y(value), class: "grid" }), s("text", { x: LEFT - 7, y: y(value) + 4, "text-anchor": "end" }, short(value))]),
    ticksX.map((value) => s("text", { x: x(value), y: base + 17, "text-anchor": x(value) > WIDTH - 24 ? "end" : "middle" }, short(value))),
    s("text", { x: (LEFT + WIDTH) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, titleX),
    s("text", { x: 2, y: 11, "text-anchor": "start" }, titleY)];
}

const short = (value) => (Number.isInteger(value) ? value.toLocaleString("en").replace("-", "−") : number(value, 2));
const steps = (low, high, n) => Array.from({ length: n }, (_, i) => low + ((high - low) * i) / (n - 1));

// Voxels by the value of a measure: selected ones before all others; a line at the selected ones' median.
export function spread(measure) {
  const { edges, selected, others } = measure;
  const top = Math.max(...selected.map((n, i) => n + others[i]), 1);
  const [low, high] = [edges[0], edges[edges.length - 1]];
  const base = HEIGHT - BOTTOM;
  const x = (v) => LEFT + ((v - low) / (high - low || 1)) * (WIDTH - LEFT - 8);
  const y = (v) => base - (v / top) * (base - 20);
  const bar = (i, from, to, kind) => (to > from ? s("rect", { x: x(edges[i]) + 0.5, width: Math.max(0.5, x(edges[i + 1]) - x(edges[i]) - 1), y: y(to), height: y(from) - y(to), class: kind }) : null);
  const middle = measure.summary.median;
  return s("svg", { class: "nv-shuffle nv-spread", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${measure.title}: median of selected voxels ${number(middle)}` },
    axes(steps(low, high, 5), [0, Math.round(top / 2), top], x, y, measure.title, "voxels"),
    selected.map((n, i) => [bar(i, 0, n, "chosen"), bar(i, n, n + others[i], "rest")]),
    middle === null ? null : s("line", { x1: x(middle), x2: x(middle), y1: 14, y2: base, class: "median" }));
}

// Held-out prediction at each lag; the best is marked, nought is what aligned data would show.
export function lagcurve(scan) {
  const low = Math.min(0, ...scan.scores);
  const high = Math.max(0.05, ...scan.scores);
  const base = HEIGHT - BOTTOM;
  const first = scan.lags[0];
  const last = scan.lags[scan.lags.length - 1];
  const x = (v) => LEFT + 12 + ((v - first) / (last - first || 1)) * (WIDTH - LEFT - 32);
  const y = (v) => base - ((v - low) / (high - low)) * (base - 24);
  const points = scan.lags.map((lag, i) => [x(lag), y(scan.scores[i])]);
  return s("svg", { class: "nv-shuffle nv-lagcurve", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": scan.lags.map((lag, i) => `lag ${lag}: ${number(scan.scores[i])}`).join("; ") },
    axes(scan.lags, steps(low, high, 4), x, y, "volumes after the clip's own", "mean correlation on unseen runs"),
    s("line", { x1: LEFT, x2: WIDTH - 8, y1: y(0), y2: y(0), class: "zero" }),
    s("path", { d: `M${points.map((point) => point.map((v) => v.toFixed(1)).join(" ")).join("L")}`, class: "curve" }),
    points.map(([cx, cy], i) => s("circle", { cx, cy, r: scan.lags[i] === scan.best ? 5.5 : 3, class: scan.lags[i] === scan.best ? "best" : "point" }, s("title", {}, `${scan.lags[i]} volumes: ${number(scan.scores[i])}`))));
}

export function legend(...entries) {
  return h("p", { class: "nv-legend" }, entries.map(([kind, text]) => h("span", { "data-kind": kind }, h("i"), text)));
}
