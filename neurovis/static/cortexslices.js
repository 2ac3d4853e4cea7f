// A volume slice by slice: one canvas, a slider for the third axis, the voxel under the pointer.

import { h } from "./dom.js";

export function sliceView(onpoint, onslice) {
  const canvas = h("canvas", { class: "nv-slicecanvas", "data-painted": 0 });
  const slider = h("input", { type: "range", min: 0, step: 1, "aria-label": "Slice", oninput: () => onslice(Number(slider.value)) });
  const said = h("output", { class: "nv-mono" });
  const line = h("label", { class: "nv-sliceline" }, h("span", {}, "slice"), slider, said);
  const node = h("div", { class: "nv-slicebox", id: "nv-cortex-slices", tabindex: 0, role: "application", "aria-label": "One slice of the volume; arrow keys move over it" }, canvas, line);
  let shape = [1, 1, 1];
  let slice = 0;
  let point = null;

  // Which slice to open with: the one that holds most voxels.
  function fullest(dense, [nx, ny, nz = 1]) {
    const count = new Int32Array(nz);
    for (let i = 0; i < nx * ny * nz; i++) if (dense[i] === dense[i]) count[i % nz]++;
    return count.indexOf(Math.max(...count));
  }

  // First axis to the right, second upwards; what was not measured stays empty.
  function paint(dense, { low, high, table, threshold, diverging }, grid, wanted) {
    const began = performance.now();
    shape = grid;
    const [nx, ny, nz = 1] = grid;
    slice = wanted === null ? fullest(dense, grid) : Math.max(0, Math.min(nz - 1, wanted));
    slider.max = nz - 1;
    slider.value = slice;
    line.hidden = nz < 2;
    said.textContent = `${slice} of 0…${nz - 1}`;
    canvas.width = nx;
    canvas.height = ny;
    canvas.style.aspectRatio = `${nx} / ${ny}`;
    const image = new ImageData(nx, ny);
    const pixels = new Uint32Array(image.data.buffer);
    for (let x = 0; x < nx; x++) for (let y = 0; y < ny; y++) {
      const value = dense[(x * ny + y) * nz + slice];
      if (value !== value || (diverging ? Math.abs(value) < threshold : threshold > 0 && value < threshold)) continue;
      pixels[(ny - 1 - y) * nx + x] = table[Math.max(0, Math.min(255, Math.floor(((value - low) / (high - low)) * 256)))];
    }
    canvas.getContext("2d").putImageData(image, 0, 0);
    canvas.dataset.painted = Number(canvas.dataset.painted) + 1;
    canvas.dataset.paintMs = (performance.now() - began).toFixed(2);
  }

  function look(x, y) {
    const [nx, ny, nz = 1] = shape;
    if (x < 0 || y < 0 || x >= nx || y >= ny) return onpoint(null);
    return onpoint({ voxel: [x, y, slice], index: (x * ny + y) * nz + slice });
  }
  function follow(event) {
    const box = canvas.getBoundingClientRect();
    const x = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
    look(x, canvas.height - 1 - Math.floor(((event.clientY - box.top) / box.height) * canvas.height));
  }
  canvas.addEventListener("pointermove", follow);
  canvas.addEventListener("pointerdown", follow);
  canvas.addEventListener("pointerleave", () => onpoint(null));
  node.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!way || event.target === slider || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation(); // elsewhere the arrows change the clip
    point ||= [Math.floor(shape[0] / 2), Math.floor(shape[1] / 2)];
    point = [Math.max(0, Math.min(shape[0] - 1, point[0] + way[0])), Math.max(0, Math.min(shape[1] - 1, point[1] + way[1]))];
    look(...point);
  });
  return { node, canvas, paint };
}
