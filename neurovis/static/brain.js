// The fMRI pattern of one clip: on the flat cortex (fs_LR) or, for a volume, slice by slice.

import { button, getArray, h, number } from "./dom.js";
import { saveCanvas, sheet } from "./charts.js";
import { state } from "./state.js";

const NONE = 65535;
const LIMIT = 2.5; // the colour bar's ends, in z
const REACH = 2; // pixels around a measured vertex that take its value
// Blue to grey to orange, even in lightness on both sides: readable with any colour vision.
const STOPS = [[0, [18, 78, 138]], [0.25, [86, 156, 214]], [0.5, [214, 217, 220]], [0.75, [240, 158, 72]], [1, [150, 62, 6]]];

const table = new Uint8Array(256 * 3);
for (let i = 0; i < 256; i++) {
  const t = i / 255;
  const j = Math.max(1, STOPS.findIndex(([at]) => at >= t));
  const [a, from] = STOPS[j - 1];
  const [b, to] = STOPS[j];
  for (let c = 0; c < 3; c++) table[i * 3 + c] = from[c] + ((to[c] - from[c]) * (t - a)) / (b - a);
}

function colour(value) {
  return 3 * Math.max(0, Math.min(255, Math.round(((value / LIMIT + 1) / 2) * 255)));
}

let flat = null;
// The asset is a safetensors file: eight bytes of length, a JSON header, the arrays.
export function loadFlat() {
  flat ||= fetch("/neurovis/flatmap").then((response) => response.arrayBuffer()).then((buffer) => {
    const length = Number(new DataView(buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length)));
    const part = (name, Type) => {
      const [from, to] = header[name].data_offsets;
      return new Type(buffer.slice(8 + length + from, 8 + length + to));
    };
    const [height, width] = header.vertex.shape;
    return { height, width, vertex: part("vertex", Uint16Array), region: part("region", Uint16Array), sulc: part("sulc", Uint8Array), names: JSON.parse(header.__metadata__.names) };
  });
  return flat;
}

// Which hemisphere is which, above a flat map; `seen` says whether a side is in view.
export const SIDES = ["Left hemisphere", "Right hemisphere"];
export function sideLine() {
  const words = SIDES.map((text) => h("span", {}, text));
  const node = h("p", { class: "nv-sides" }, words);
  return { node, show: (seen = [true, true]) => words.forEach((word, i) => { word.style.visibility = seen[i] ? "" : "hidden"; }) };
}

// The same words on a saved map, in its upper corners, where the flat cortex leaves room.
export function writeSides(pen, width) {
  const style = getComputedStyle(document.querySelector(".nv-root"));
  pen.save();
  pen.fillStyle = style.getPropertyValue("--nv-ink");
  pen.font = `400 22px ${style.fontFamily}`;
  SIDES.forEach((text, i) => {
    pen.textAlign = ["left", "right"][i];
    pen.fillText(text, [12, width - 12][i], 34);
  });
  pen.restore();
}

// Which side of a slice is left: the first voxel axis runs to the picture's right.
export function sliceSides(affine) {
  if (!affine) return "Which side is left is not known: the images gave no affine.";
  const first = affine.slice(0, 3).map((row) => row[0]);
  if (Math.abs(first[0]) < Math.max(Math.abs(first[1]), Math.abs(first[2]))) return "The first axis of these voxels does not run between left and right.";
  return first[0] > 0 ? "Left of the picture is the left hemisphere (neurological)." : "Left of the picture is the right hemisphere (radiological).";
}

// For each pixel the row of the measured voxel that it shows, or -1.
function assign(map, voxels) {
  const rowOf = new Int32Array(59412).fill(-1);
  voxels.forEach((id, row) => { if (id >= 0 && id < 59412) rowOf[id] = row; });
  const rows = new Int32Array(map.vertex.length).fill(-1);
  map.vertex.forEach((vertex, pixel) => { if (vertex !== NONE) rows[pixel] = rowOf[vertex]; });
  let before = rows;
  for (let round = 0; round < REACH; round++) {
    const grown = before.slice();
    for (let pixel = map.width; pixel < rows.length - map.width; pixel++) {
      if (before[pixel] >= 0 || map.vertex[pixel] === NONE) continue;
      for (const near of [pixel - 1, pixel + 1, pixel - map.width, pixel + map.width]) if (before[near] >= 0) { grown[pixel] = before[near]; break; }
    }
    before = grown;
  }
  return before;
}

function outline(map) {
  const edge = new Uint8Array(map.vertex.length);
  const label = (pixel) => (map.vertex[pixel] === NONE ? -1 : map.region[map.vertex[pixel]]);
  for (let pixel = map.width; pixel < edge.length; pixel++) {
    const own = label(pixel);
    if (own !== label(pixel - 1) || own !== label(pixel - map.width)) edge[pixel] = 1;
  }
  return edge;
}

export function brain() {
  const canvas = h("canvas", { class: "nv-brain", role: "img", "aria-label": "fMRI pattern of this clip" });
  const readout = h("output", { class: "nv-mono nv-hover" });
  const bar = h("div", { class: "nv-bar" }, h("span", {}, `−${LIMIT}`), h("i"), h("span", {}, `+${LIMIT} z`));
  const credit = h("p", { class: "nv-credit" });
  const sides = sideLine().node;
  const node = h("div", { class: "nv-brainbox" }, sides, canvas, h("div", { class: "nv-barline" }, bar, readout, button("Save the fMRI pattern as PNG", "PNG", save, { class: "nv-small" })), credit);
  let held = { run: null };
  let turn = 0;

  async function prepare(run) {
    if (held.run === run.name) return held;
    const voxels = await getArray(`/neurovis/runs/${encodeURIComponent(run.name)}/voxels?v=${run.stamp}`, Int32Array);
    const next = { run: run.name, voxels };
    if (run.space?.kind === "fs_LR_32k") {
      next.map = await loadFlat();
      next.rows = assign(next.map, voxels);
      next.edge = outline(next.map);
    }
    return (held = next);
  }

  async function show() {
    const mine = ++turn;
    const { run, clip } = state;
    const kind = run?.space?.kind;
    if (!run || !clip || !run.pattern || !kind || kind === "unknown") {
      node.dataset.empty = run?.source === "videos" ? "No fMRI pattern: this run was imported from videos."
        : run && !run.pattern ? "This run keeps no fMRI patterns." : "The position of these voxels is not known, so they cannot be drawn.";
      return;
    }
    delete node.dataset.empty;
    const ready = await prepare(run);
    const values = await getArray(`/neurovis/runs/${encodeURIComponent(run.name)}/clips/${encodeURIComponent(clip)}/pattern?v=${run.stamp}`, Float32Array);
    if (mine !== turn) return;
    ready.values = values;
    paint();
    const surface = kind === "fs_LR_32k";
    sides.hidden = !surface;
    const seen = `${values.length.toLocaleString("en")} selected ${surface ? "vertices" : "voxels"}, z-scored BOLD, mean over repeats${run.simulated ? ", simulated" : ""}.`;
    credit.textContent = surface ? `${seen} Surface and areas: Human Connectome Project, WU-Minn Consortium (HCP S1200 group average, MMP 1.0).` : `${seen} ${sliceSides(run.space.affine)}`;
  }

  function paint() {
    if (!held.values || node.dataset.empty) return;
    if (held.map) paintFlat();
    else paintSlices(state.run.space.shape);
    canvas.dataset.clip = state.clip;
  }

  function paintFlat() {
    const { map, rows, edge, values } = held;
    if (canvas.width !== map.width) { canvas.width = map.width; canvas.height = map.height; }
    const dark = document.body.classList.contains("dark");
    const [base, gain, line] = dark ? [38, 0.16, 92] : [196, 0.16, 140];
    const image = new ImageData(map.width, map.height);
    const pixels = image.data;
    for (let pixel = 0; pixel < rows.length; pixel++) {
      const vertex = map.vertex[pixel];
      if (vertex === NONE) continue;
      const at = pixel * 4;
      if (edge[pixel]) pixels[at] = pixels[at + 1] = pixels[at + 2] = line;
      else if (rows[pixel] >= 0) {
        const c = colour(values[rows[pixel]]);
        pixels[at] = table[c]; pixels[at + 1] = table[c + 1]; pixels[at + 2] = table[c + 2];
      } else pixels[at] = pixels[at + 1] = pixels[at + 2] = base + (255 - map.sulc[vertex]) * gain;
      pixels[at + 3] = 255;
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // Slices beside one another, first axis to the right, second axis upwards.
  function paintSlices([nx, ny, nz = 1]) {
    const { voxels, values } = held;
    canvas.width = nx * nz + (nz - 1);
    canvas.height = ny;
    canvas.classList.add("nv-pixels");
    const image = new ImageData(canvas.width, canvas.height);
    voxels.forEach((id, row) => {
      const z = id % nz;
      const y = Math.floor(id / nz) % ny;
      const x = Math.floor(id / (nz * ny));
      const at = ((ny - 1 - y) * canvas.width + z * (nx + 1) + x) * 4;
      const c = colour(values[row]);
      image.data.set([table[c], table[c + 1], table[c + 2], 255], at);
    });
    canvas.getContext("2d").putImageData(image, 0, 0);
  }

  // What is shown, enlarged at least twice, with what is needed to read it; simulated data is named as such.
  function save() {
    const { run, clip } = state;
    const { page, pen, width, height, write } = sheet(canvas, 132, Boolean(held.map));
    if (held.map) writeSides(pen, width);
    for (let i = 0; i < 260; i++) {
      const c = 3 * Math.round((i / 259) * 255);
      pen.fillStyle = `rgb(${table[c]} ${table[c + 1]} ${table[c + 2]})`;
      pen.fillRect(100 + i, height + 22, 1, 16);
    }
    write(`−${LIMIT}`, 44, height + 38, 22);
    write(`+${LIMIT} z`, 376, height + 38, 22);
    write(`${run.simulated ? "Simulated data  ·  " : ""}${run.dataset} ${run.subject}  ·  ${clip}`, 44, height + 78, 24, 700);
    write(credit.textContent, 44, height + 112, 18);
    saveCanvas(`${run.name}_${clip}_fmri${run.simulated ? "_simulated" : ""}.png`, page);
  }

  canvas.addEventListener("pointermove", (event) => {
    if (!held.values) return;
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
    const y = Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
    if (!held.map) return;
    const pixel = y * held.map.width + x;
    const vertex = held.map.vertex[pixel];
    if (vertex === NONE || vertex === undefined) { readout.textContent = ""; return; }
    const row = held.rows[pixel];
    const name = held.map.names[held.map.region[vertex]].replace(/^([LR])_/, (_, side) => (side === "L" ? "left " : "right ")).replace(/_ROI$/, "");
    readout.textContent = row >= 0 ? `${name}  z ${number(held.values[row], 2)}` : `${name}  not selected`;
  });
  canvas.addEventListener("pointerleave", () => { readout.textContent = ""; });
  new MutationObserver(paint).observe(document.body, { attributes: true, attributeFilter: ["class"] });
  return { node, show };
}
