// What a subject's recording is made of: which runs train, validate and test; captions by level; positions to find.

import { button, h, panel, replace } from "./dom.js";
import { commandLine } from "./datacommand.js";
import { choice, count } from "./datastate.js";

const SPLITS = { train: "training", val: "validation", test: "test" };
const LEVELS = ["basic", "anchor", "motion", "holi"];

export function recordPanels(work) {
  const splits = h("div", { class: "nv-splits" });
  const captions = h("div", {});
  const positions = h("div", {});
  const lost = panel("Positions", "from the same subjects' raw files; nothing is guessed", positions);
  const node = h("div", { class: "nv-stack" }, panel("Runs", "whole runs are held out: neighbouring volumes share their noise", splits), panel("Captions", "clips that have one, by level", captions), lost);

  function show(info) {
    node.hidden = !info;
    if (!info) return;
    replace(splits, info.splits.map(({ split, runs }) => h("div", { "data-split": split },
      h("h4", {}, `${SPLITS[split]}: `, h("span", {}, `${count(runs.reduce((sum, run) => sum + run.clips, 0))} clips in ${runs.length} run${runs.length === 1 ? "" : "s"}`)),
      h("p", {}, runs.map((run) => h("i", { class: "nv-chip" }, `${run.run} · ${count(run.clips)}`))))),
    info.notes.map((note) => h("p", { class: "nv-note" }, note)));
    const { clips, levels } = info.captions;
    replace(captions, h("dl", { class: "nv-datafacts" }, LEVELS.map((level) => [h("dt", {}, level), h("dd", {}, levels[level] ? `${count(levels[level])} of ${count(clips)}` : "none")])),
      info.commands.captions ? [h("p", { class: "nv-note" }, `Mine them anew from the films${info.simulated ? ", worded from the scene records" : " with a video-text model: its hub id or folder in place of MODEL"}:`), commandLine(info.commands.captions)]
        : h("p", { class: "nv-note" }, "Without films none can be mined; a file of captions can be named when importing."));
    lost.hidden = info.space.kind !== "unknown";
    if (!lost.hidden) drawPositions();
  }

  function drawPositions() {
    const path = h("input", { type: "text", id: "nv-data-raw", placeholder: "/data/cc2017-raw", spellcheck: "false", autocomplete: "off" });
    const told = h("p", { class: "nv-note nv-broken", role: "alert" });
    const find = async (event) => {
      event.preventDefault();
      told.textContent = await work.begin({ kind: "recover", dataset: choice.dataset, path: path.value.trim() });
    };
    replace(positions, h("form", { class: "nv-pathline", onsubmit: find }, h("label", { for: "nv-data-raw" }, "Folder of the raw files (CIFTI)"), path, button("Find the positions", "Find", () => {}, { type: "submit", class: "nv-small" })), told);
  }

  return { node, show };
}
