// What stands in a view that has nothing to show: why, and what to do next.

import { h, replace } from "./dom.js";
import { state } from "./state.js";

export function empty(root) {
  const code = (text) => h("pre", { class: "nv-mono" }, text);
  const broken = (state.runs || []).filter((run) => run.error);
  replace(root, h("section", { class: "nv-panel nv-empty" },
    state.error ? [h("h2", {}, "This run cannot be opened"), h("p", {}, state.error)] : [h("h2", {}, "No run to show yet"),
      h("p", {}, "A run is what a decoder made of a recording. Make one from the phantom, the data set that comes with NeuroVis, and reload the page:"),
      code("python -m pipeline reconstruct --dataset phantom --subject sub-01 --clips 0:8 --out HOME/runs/first"),
      h("p", {}, "HOME is the working folder that the server named when it started.")],
    broken.map((run) => h("p", { class: "nv-broken" }, `${run.name}: ${run.error}`))));
}
