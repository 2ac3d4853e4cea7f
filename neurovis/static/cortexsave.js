// Take it away: files that the server makes of a subject's maps, and a picture of exactly what is on the page.

import { button, h } from "./dom.js";
import { writeSides } from "./brain.js";
import { saveCanvas, sheet } from "./charts.js";
import { state } from "./state.js";
import { DIVERGING, KINDS, MEAN, colours, ends, kind, view } from "./cortexstate.js";
import { flat, told } from "./cortexdata.js";

const TITLES = { png: "PNG", svg: "SVG", pdf: "PDF", "dscalar.nii": "dscalar.nii", "L.func.gii": "GIFTI left", "R.func.gii": "GIFTI right", "nii.gz": "NIfTI", csv: "CSV", json: "JSON", zip: "All as ZIP" };

export function exportsBar(read) {
  const files = h("span", { class: "nv-files" });
  const note = h("p", { class: "nv-note" });
  const shot = button("Save exactly this map as PNG", "PNG of this map", picture, { class: "nv-small" });
  const node = h("div", { class: "nv-cxsave" }, h("div", { class: "nv-exports" }, h("span", {}, "Save"), shot, files), note);

  function show(shown) {
    const { info } = read();
    const subject = view.subject === MEAN ? info.subject : view.subject;
    const offered = view.layer === "map" && shown && !shown.waiting ? info.files : [];
    files.replaceChildren(...offered.map((kind) => h("a", { class: "nv-small", download: "", "data-kind": kind, href: address(kind, subject) }, TITLES[kind])));
    note.textContent = offered.length ? `Figures (PNG, SVG, PDF) and maps hold every module of ${subject}, ${view.statistic}, each scaled to 0…1; figures take this colour bar, these colours and names.` : "";
    shot.disabled = !shown || Boolean(shown.waiting);
  }

  function address(type, subject) {
    const [low, high] = kind() === "map" ? ends() : KINDS.map.ends;
    const query = new URLSearchParams({ low, high, colours: colours("sequential") });
    for (const name of view.labels.length ? view.labels : [""]) query.append("label", name);
    const parts = [state.run.name, subject, view.statistic].map(encodeURIComponent).join("/");
    return `/neurovis/cortex/${parts}/importance.${type}?${query}`;
  }

  // Links are made when they are drawn; the colour bar may have moved since.
  node.addEventListener("pointerdown", refresh, true);
  node.addEventListener("focusin", refresh);
  function refresh() {
    const subject = view.subject === MEAN ? read().info.subject : view.subject;
    for (const link of files.querySelectorAll("a")) link.href = address(link.dataset.kind, subject);
  }

  // Map, borders, names and colour bar at twice their size, with what is needed to read them.
  async function picture() {
    const { info, surface, slices, space } = read();
    const canvas = flat(info) ? surface.canvas : slices.canvas;
    const { page, pen, width, height, write } = sheet(canvas, 150);
    if (flat(info)) {
      pen.drawImage(await drawn(surface.over, width, height), 0, 0);
      writeSides(pen, width);
    }
    const table = document.querySelector(".nv-band").style.background.match(/rgb\([^)]*\)|#[0-9a-f]{6}/g);
    const band = pen.createLinearGradient(110, 0, 370, 0);
    table.forEach((colour, i) => band.addColorStop(i / (table.length - 1), colour));
    pen.fillStyle = band;
    pen.fillRect(110, height + 24, 260, 18);
    const [low, high] = ends();
    write(String(low), 44, height + 42, 22);
    write(`${high}   ${KINDS[kind()].told}${view.threshold ? `, hidden below ${DIVERGING.includes(colours()) ? "±" : ""}${view.threshold}` : ""}`, 384, height + 42, 22);
    const mark = state.run.simulated ? "Simulated data  ·  " : "";
    write(`${mark}${state.run.dataset}  ·  ${told(info)}${view.layer === "map" ? `  ·  ${view.statistic}` : ""}`, 44, height + 86, 26, 700);
    write(space, 44, height + 124, 18);
    const words = [told(info), view.layer === "map" ? view.statistic : ""].join("_").replace(/[^A-Za-z0-9_-]+/g, "-").replace(/[-_]$/, "");
    saveCanvas(`${state.run.name}_cortex_${words}${state.run.simulated ? "_simulated" : ""}.png`, page);
  }

  // An SVG of the page as a picture, with the colours that it has now.
  function drawn(svg, width, height) {
    const copy = svg.cloneNode(true);
    const live = [svg, ...svg.querySelectorAll("*")];
    [copy, ...copy.querySelectorAll("*")].forEach((one, i) => {
      const style = getComputedStyle(live[i]);
      for (const key of ["fill", "stroke", "stroke-width", "stroke-opacity", "paint-order", "font-family", "font-size", "font-weight", "display"]) one.style.setProperty(key, style.getPropertyValue(key));
    });
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    copy.setAttribute("width", width);
    copy.setAttribute("height", height);
    const url = URL.createObjectURL(new Blob([new XMLSerializer().serializeToString(copy)], { type: "image/svg+xml" }));
    return new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => { URL.revokeObjectURL(url); resolve(image); };
      image.onerror = () => { URL.revokeObjectURL(url); reject(new Error("the borders could not be drawn")); };
      image.src = url;
    });
  }
  return { node, show };
}
