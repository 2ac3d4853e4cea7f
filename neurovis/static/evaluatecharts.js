// Charts of Evaluate: values with intervals and chance, clips one by one, and two runs against each other.

import { button, h, number, s } from "./dom.js";
import { downloadSVG } from "./charts.js";
import { showClipIn, state } from "./state.js";

const WIDTH = 640;
const LEFT = 190;

function scale(values, from, to) {
  let [low, high] = [Math.min(...values), Math.max(...values)];
  const span = high - low || Math.abs(high) || 1;
  low -= span * 0.05;
  high += span * 0.05;
  const at = (v) => from + ((v - low) / (high - low)) * (to - from);
  const ticks = roundTicks(low, high);
  const digits = Math.max(2, Math.ceil(-Math.log10(ticks[1] - ticks[0]) - 1e-9) || 2); // so that no two ticks read alike
  return { at, ticks, told: (v) => number(v, digits) };
}

// The radius of a dot, by how many stand in a row: of 1,200 each must leave room for the others.
const radius = (n) => Math.max(1.8, Math.min(4, 4 * Math.sqrt(90 / Math.max(1, n))));

// Round numbers between two bounds, four to eight of them.
function roundTicks(low, high) {
  const power = 10 ** Math.floor(Math.log10((high - low) / 4));
  const step = [5, 2, 1].map((by) => by * power).find((by) => (high - low) / by >= 4) ?? power;
  const first = Math.ceil(low / step);
  return Array.from({ length: Math.floor(high / step) - first + 1 }, (_, i) => (first + i) * step);
}

const short = (text, n = 27) => (text.length > n ? `${text.slice(0, n - 1)}…` : text);
const isNumber = (v) => typeof v === "number" && Number.isFinite(v);

// A row a run or step: a dot for the mean, a line for its 95 % interval, a dashed tick for its own chance.
export function intervalplot(rows, label) {
  const known = rows.filter((row) => isNumber(row.value));
  if (!known.length) return h("p", { class: "nv-note" }, "not defined for any clip");
  const height = 26;
  const total = rows.length * height + 34;
  const { at, ticks, told } = scale(known.flatMap((row) => [row.value, row.chance, ...(row.interval ?? [])]).filter(isNumber), LEFT, WIDTH - 66);
  return s("svg", { class: "nv-shuffle nv-intervals", viewBox: `0 0 ${WIDTH} ${total}`, role: "img", "aria-label": `${label}: ${known.map((row) => `${row.title} ${number(row.value)}, chance ${number(row.chance)}`).join("; ")}` },
    ticks.map((v) => [s("line", { x1: at(v), x2: at(v), y1: 2, y2: total - 24, class: "grid" }), s("text", { x: at(v), y: total - 8, "text-anchor": "middle" }, told(v))]),
    rows.map((row, i) => {
      const y = 4 + i * height + height / 2;
      return s("g", { "data-kind": row.kind },
        s("title", {}, `${row.title}: ${number(row.value)}${row.interval ? ` [${row.interval.map((v) => number(v)).join(", ")}]` : ""}, chance ${number(row.chance)}, ${row.n} clips`),
        s("text", { x: LEFT - 12, y: y + 4, "text-anchor": "end", class: "name" }, short(row.title)),
        isNumber(row.chance) ? s("line", { x1: at(row.chance), x2: at(row.chance), y1: y - 11, y2: y + 11, class: "chance" }) : null,
        row.interval ? s("line", { x1: at(row.interval[0]), x2: at(row.interval[1]), y1: y, y2: y, class: "span" }) : null,
        isNumber(row.value) ? s("circle", { cx: at(row.value), cy: y, r: 4.5, class: "mean" }) : null,
        s("text", { x: WIDTH - 8, y: y + 4, "text-anchor": "end", class: "value" }, number(row.value)));
    }));
}

// A link to a clip in Explore; without leaving the page where its run is open.
function clipLink(run, clip, told, first, ...mark) {
  const go = (event) => {
    if (run !== state.run?.name || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    showClipIn("explore", clip);
  };
  const href = `?${new URLSearchParams({ run, clip })}`;
  return s("a", { href, class: "nv-cliplink", "data-clip": clip, "aria-label": `${told}; open in Explore`, tabindex: first ? 0 : -1, onclick: go }, s("title", {}, `${told}; open in Explore`), mark);
}

// The arrow keys walk from clip to clip, by value; they do not turn the page's clip meanwhile.
function walk(event) {
  const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  const links = [...event.currentTarget.querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  links[(at + by + links.length) % links.length]?.focus();
}

// A row a run, a dot a clip.
export function stripplot(rows, label) {
  const height = 62;
  const total = rows.length * height + 34;
  const { at, ticks, told } = scale(rows.flatMap((row) => [...row.clips.map((one) => one.value), row.chance]).filter(isNumber), LEFT, WIDTH - 20);
  return s("svg", { class: "nv-shuffle nv-strips", viewBox: `0 0 ${WIDTH} ${total}`, role: "group", "aria-label": `${label}, clip by clip`, onkeydown: walk },
    ticks.map((v) => [s("line", { x1: at(v), x2: at(v), y1: 2, y2: total - 24, class: "grid" }), s("text", { x: at(v), y: total - 8, "text-anchor": "middle" }, told(v))]),
    rows.map((row, i) => {
      const y = 4 + i * height + height / 2;
      const sorted = [...row.clips].sort((a, b) => a.value - b.value);
      const r = radius(sorted.length);
      return s("g", {},
        s("text", { x: LEFT - 12, y: y - 2, "text-anchor": "end", class: "name" }, short(row.title)),
        s("text", { x: LEFT - 12, y: y + 14, "text-anchor": "end" }, `${row.clips.length} clips${row.missing ? `, ${row.missing} not defined` : ""}`),
        isNumber(row.chance) ? s("line", { x1: at(row.chance), x2: at(row.chance), y1: y - 28, y2: y + 28, class: "chance" }) : null,
        isNumber(row.mean) ? s("line", { x1: at(row.mean), x2: at(row.mean), y1: y - 28, y2: y + 28, class: "true" }) : null,
        sorted.map((one, j) => clipLink(row.run, one.clip, `${one.clip}: ${number(one.value)}`, j === 0,
          s("circle", { cx: at(one.value), cy: y + (((j * 0.618) % 1) - 0.5) * (height - 18), r, class: "dot" }))));
    }));
}

// Clips that both runs have: the first run's value to the right, the second's upwards, and where they are the same.
export function scatterplot(pairs, one, other, label) {
  const size = 420;
  const pad = 64;
  const values = pairs.flatMap((pair) => [pair.x, pair.y]);
  const { at, ticks, told } = scale(values, pad, size - 12);
  const up = (v) => size - at(v) + pad - 52;
  const base = size - 52;
  return s("svg", { class: "nv-shuffle nv-scatter", viewBox: `0 0 ${size} ${size}`, role: "group", "aria-label": `${label}: ${one} against ${other}, ${pairs.length} clips`, onkeydown: walk },
    ticks.map((v) => [s("line", { x1: at(v), x2: at(v), y1: 12, y2: base, class: "grid" }), s("line", { x1: pad, x2: size - 12, y1: up(v), y2: up(v), class: "grid" }),
      s("text", { x: at(v), y: base + 18, "text-anchor": "middle" }, told(v)), s("text", { x: pad - 8, y: up(v) + 4, "text-anchor": "end" }, told(v))]),
    s("line", { x1: at(Math.min(...values)), y1: up(Math.min(...values)), x2: at(Math.max(...values)), y2: up(Math.max(...values)), class: "same" }),
    s("text", { x: (pad + size) / 2, y: size - 10, "text-anchor": "middle", class: "name" }, short(one, 40)),
    s("text", { x: 16, y: size / 2 - 20, "text-anchor": "middle", class: "name", transform: `rotate(-90 16 ${size / 2 - 20})` }, short(other, 40)),
    [...pairs].sort((a, b) => a.x - b.x).map((pair, i) => clipLink(one, pair.clip, `${pair.clip}: ${number(pair.x)} and ${number(pair.y)}`, i === 0, s("circle", { cx: at(pair.x), cy: up(pair.y), r: radius(pairs.length), class: "dot" }))));
}

// On a phone a plot keeps its size, so that its words can be read, and scrolls in its own box.
export function boxed(plot, label) {
  return h("div", { class: "nv-scroll nv-plotbox", tabindex: 0, role: "region", "aria-label": label }, plot);
}

export function saver(plot, name) {
  return h("div", { class: "nv-exports" }, button("Save the plot as SVG", "SVG", () => downloadSVG(`${name}.svg`, plot), { class: "nv-small" }));
}
