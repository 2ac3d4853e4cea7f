// The flat cortex: a canvas that is painted by looking every pixel's vertex up, and over it borders, names, a pointer.

import { h, replace, s } from "./dom.js";
import { loadFlat, sideLine } from "./brain.js";

export const NONE = 65535;
const CUT = 16; // borders come in sixteenths of a pixel

let ready = null;
// The map with what is worked out from it once: borders, and the place of each area's name.
export function loadMap() {
  ready ||= Promise.all([loadFlat(), fetch("/neurovis/cortex-borders").then((response) => response.arrayBuffer())]).then(([map, buffer]) => {
    const pieces = new Int16Array(buffer);
    const every = Array.from({ length: pieces.length / 6 }, (_, i) => i);
    const around = map.names.map(() => []);
    for (const i of every) for (const area of new Set([pieces[i * 6 + 4], pieces[i * 6 + 5]])) around[area].push(i);
    return { ...map, pieces, around, all: pathOf(pieces, every), place: places(map), short: map.names.map((name) => name.replace(/^[LR]_/, "").replace(/_ROI$/, "")) };
  }).catch((error) => { ready = null; throw error; });
  return ready;
}

function pathOf(pieces, numbers) {
  const at = (i) => (pieces[i] / CUT + 0.5).toFixed(2);
  return numbers.map((n) => `M${at(n * 6)} ${at(n * 6 + 1)}L${at(n * 6 + 2)} ${at(n * 6 + 3)}`).join("");
}

// The pixel of each area that is nearest to its middle, which itself may lie outside of a bent area.
function places(map) {
  const n = map.names.length;
  const sum = new Float64Array(n * 3);
  const each = (act) => {
    for (let pixel = 0; pixel < map.vertex.length; pixel++) {
      const vertex = map.vertex[pixel];
      if (vertex !== NONE) act(map.region[vertex], pixel % map.width, Math.floor(pixel / map.width));
    }
  };
  each((area, x, y) => { sum[area * 3] += x; sum[area * 3 + 1] += y; sum[area * 3 + 2]++; });
  const best = Array.from({ length: n }, () => ({ far: Infinity, x: 0, y: 0 }));
  each((area, x, y) => {
    const far = (x - sum[area * 3] / sum[area * 3 + 2]) ** 2 + (y - sum[area * 3 + 1] / sum[area * 3 + 2]) ** 2;
    if (far < best[area].far) best[area] = { far, x, y };
  });
  return best;
}

export function flatView(onpoint) {
  const canvas = h("canvas", { class: "nv-flat", id: "nv-cortex-canvas", "data-painted": 0 });
  const lines = s("path", { class: "nv-borders" });
  const mark = s("path", { class: "nv-marked" });
  const names = s("g", { class: "nv-names" });
  const cross = s("circle", { class: "nv-cross", r: 3, hidden: true });
  const over = s("svg", { class: "nv-over", "aria-hidden": "true" }, lines, mark, names, cross);
  const sheet = h("div", { class: "nv-cxsheet" }, canvas, over);
  const node = h("div", { class: "nv-flatbox", id: "nv-cortex-map", tabindex: 0, role: "application", "aria-label": "Flat map of both hemispheres; arrow keys move over it" }, sheet);
  const sides = sideLine();
  const whole = h("div", { class: "nv-flatwhole" }, sides.node, node);
  let map = null;
  const paths = new Map();
  let marked = "";
  let point = null;
  let part = { x: 0, y: 0, width: 900, height: 340 };

  async function open() {
    if (map) return map;
    map = await loadMap();
    canvas.width = map.width;
    canvas.height = map.height;
    over.setAttribute("viewBox", `0 0 ${map.width} ${map.height}`);
    lines.setAttribute("d", map.all);
    return map;
  }

  // dense: a value a vertex, NaN where there is none; table: 256 colours, as the canvas stores them.
  function paint(dense, { low, high, table, threshold, diverging }) {
    const began = performance.now();
    const dark = document.body.classList.contains("dark");
    const [base, gain] = dark ? [38, 0.16] : [196, 0.16];
    const colour = new Uint32Array(NONE + 1);
    const scale = 256 / (high - low);
    for (let vertex = 0; vertex < dense.length; vertex++) {
      const value = dense[vertex];
      const shown = value === value && (diverging ? Math.abs(value) >= threshold : threshold === 0 || value >= threshold);
      if (shown) {
        const step = Math.floor((value - low) * scale);
        colour[vertex] = table[step < 0 ? 0 : step > 255 ? 255 : step];
      } else {
        const grey = base + Math.round((255 - map.sulc[vertex]) * gain);
        colour[vertex] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
      }
    }
    const image = new ImageData(map.width, map.height);
    const pixels = new Uint32Array(image.data.buffer);
    const vertices = map.vertex;
    for (let pixel = 0; pixel < pixels.length; pixel++) pixels[pixel] = colour[vertices[pixel]];
    canvas.getContext("2d").putImageData(image, 0, 0);
    moved();
    canvas.dataset.painted = Number(canvas.dataset.painted) + 1;
    canvas.dataset.paintMs = (performance.now() - began).toFixed(2);
  }

  // The part of the picture that is looked at: all of it, or what holds values and a little around.
  function frame(dense, close) {
    const every = { x: 0, y: 0, width: map.width, height: map.height };
    part = close ? around(dense) || every : every;
    moved();
    const { x, y, width, height } = part;
    node.style.aspectRatio = `${width} / ${height}`;
    node.style.maxWidth = `min(1380px, ${Math.round((72 * width) / height)}vh)`; // never taller than the window
    Object.assign(sheet.style, { width: `${(map.width / width) * 100}%`, height: `${(map.height / height) * 100}%`, left: `${(-x / width) * 100}%`, top: `${(-y / height) * 100}%` });
    whole.style.maxWidth = node.style.maxWidth;
    node.toggleAttribute("data-close", close);
    sides.show(["L", "R"].map((side) => holds(side)));
  }

  // Whether the part that is looked at holds any of a hemisphere.
  function holds(side) {
    for (let y = Math.ceil(part.y); y < part.y + part.height; y += 4) {
      for (let x = Math.ceil(part.x); x < part.x + part.width; x += 4) {
        const vertex = map.vertex[y * map.width + x];
        if (vertex !== NONE && vertex !== undefined && map.names[map.region[vertex]][0] === side) return true;
      }
    }
    return false;
  }

  function around(dense) {
    let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
    for (let pixel = 0; pixel < map.vertex.length; pixel++) {
      const vertex = map.vertex[pixel];
      if (vertex === NONE || dense[vertex] !== dense[vertex]) continue;
      const x = pixel % map.width;
      const y = Math.floor(pixel / map.width);
      left = Math.min(left, x); right = Math.max(right, x); top = Math.min(top, y); bottom = Math.max(bottom, y);
    }
    if (right < 0) return null;
    const pad = 8;
    [left, top] = [Math.max(0, left - pad), Math.max(0, top - pad)];
    return { x: left, y: top, width: Math.min(map.width, right + pad) - left, height: Math.min(map.height, bottom + pad) - top };
  }

  // Names in the order they were chosen; one that would cover another is left out until there is room.
  function decorate(outlines, labels) {
    lines.toggleAttribute("hidden", !outlines);
    const size = (11 * part.width) / Math.max(node.clientWidth || 900, 300);
    const taken = [];
    const texts = labels.flatMap((name) => areasOf(name)).flatMap((area) => {
      const { x, y } = map.place[area];
      const name = map.short[area];
      const box = [x - name.length * size * 0.37, y - size * 0.72, x + name.length * size * 0.37, y + size * 0.72];
      if (taken.some((other) => box[0] < other[2] && other[0] < box[2] && box[1] < other[3] && other[1] < box[3])) return [];
      taken.push(box);
      return [s("text", { x, y: y + size * 0.36, "text-anchor": "middle", "font-size": size, "stroke-width": size * 0.24, "data-name": name }, name)];
    });
    replace(names, texts);
  }

  // Mark areas by number; hemispheres are marked together where a bar is pointed at.
  function markAreas(areas) {
    const key = areas.join();
    if (key === marked) return;
    marked = key;
    if (key && !paths.has(key)) paths.set(key, pathOf(map.pieces, areas.flatMap((area) => map.around[area])));
    mark.setAttribute("d", key ? paths.get(key) : "");
  }

  function look(x, y, keyed) {
    if (!map) return;
    const began = performance.now();
    const inside = x >= 0 && y >= 0 && x < map.width && y < map.height;
    const vertex = inside ? map.vertex[Math.floor(y) * map.width + Math.floor(x)] : NONE;
    const area = vertex === NONE ? -1 : map.region[vertex];
    markAreas(area < 0 ? [] : [area]);
    cross.toggleAttribute("hidden", !keyed);
    if (keyed) { cross.setAttribute("cx", x); cross.setAttribute("cy", y); }
    onpoint(vertex === NONE ? null : { vertex, area, side: map.names[area][0], name: map.short[area] });
    node.dataset.hoverMs = (performance.now() - began).toFixed(3);
  }

  function leave() {
    if (!map) return;
    markAreas([]);
    cross.setAttribute("hidden", "");
    onpoint(null);
  }

  // Where the canvas lies in the window: asked for anew only when it may have moved, as the answer takes a layout.
  let box = null;
  const moved = () => { box = null; };
  for (const what of ["scroll", "resize"]) window.addEventListener(what, moved, { capture: true, passive: true });
  new ResizeObserver(moved).observe(canvas);
  node.addEventListener("pointerenter", moved);

  function follow(event) {
    box ||= canvas.getBoundingClientRect();
    look(((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height, false);
  }
  node.addEventListener("pointermove", follow);
  node.addEventListener("pointerdown", follow);
  node.addEventListener("pointerleave", leave);
  node.addEventListener("blur", leave);
  node.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!way || !map || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation(); // elsewhere the arrows change the clip
    const step = event.shiftKey ? 30 : 6;
    point ||= [map.width / 4, map.height / 2];
    point = [Math.min(map.width - 1, Math.max(0, point[0] + way[0] * step)), Math.min(map.height - 1, Math.max(0, point[1] + way[1] * step))];
    look(...point, true);
  });

  // The areas of both hemispheres that bear a name.
  function areasOf(name) {
    return map.short.flatMap((one, area) => (one === name ? [area] : []));
  }
  return { node, whole, canvas, over, open, frame, paint, decorate, markAreas, areasOf, map: () => map };
}
