// The foot of the sidebar: what is looked at, with what it was made, and the keys.

import { getJSON, h, replace } from "./dom.js";
import { marks as said, on, start, state } from "./state.js";

export function mount(root) {
  const box = h("div", { class: "nv-badges" });
  const facts = h("dl", { class: "nv-facts" });
  replace(root, box, facts, h("p", { class: "nv-keys-told" }, ...keys([["←", "→"], "clip"], [["space"], "play"], [[",", "."], "frame"])));
  let machine = null;
  getJSON("/neurovis/machine").then((found) => { machine = found; draw(); }).catch(() => {});

  function draw() {
    const run = state.run;
    const marks = [];
    for (const mark of run ? said() : []) marks.push(h("span", { class: "nv-badge nv-warn" }, mark));
    if (machine) {
      marks.push(h("span", { class: "nv-badge", title: "Where live renderings run" }, machine.device));
      marks.push(h("span", { class: "nv-badge", title: machine.memory_told }, machine.memory));
      marks.push(h("span", { class: "nv-badge", title: machine.weights_told }, machine.weights));
    }
    replace(box, marks);
    const broken = (state.runs || []).filter((found) => found.error);
    replace(facts, run ? [fact("Clips", run.clips.length.toLocaleString("en")), run.seed === null ? null : fact("Seed", run.seed), fact("Frames", `${run.size[1]} × ${run.size[0]}`), run.created ? fact(run.source === "videos" ? "Imported" : "Made", run.created.slice(0, 10)) : null] : [],
      broken.map((found) => [h("dt", { class: "nv-broken" }, found.name), h("dd", { class: "nv-broken" }, `cannot be opened: ${found.error}`)]));
  }
  on("run", draw);
  on("runs", draw);
  on("error", draw);
  draw();
  start();
}

function fact(name, value) {
  return [h("dt", {}, name), h("dd", { class: "nv-mono" }, String(value))];
}

function keys(...pairs) {
  return pairs.map(([caps, told]) => h("span", {}, caps.map((cap) => h("kbd", {}, cap)), told));
}
