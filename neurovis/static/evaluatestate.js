// What is chosen in Evaluate, mirrored in the address, and what the server is asked with it.

import { reading, write } from "./address.js";
import { state } from "./state.js";

export const choice = {};

reading((address) => {
  const list = (key) => (address.get(key) || "").split(",").filter(Boolean);
  Object.assign(choice, {
    runs: list("runs"),
    convention: ["corrected", "paper", "both"].includes(address.get("convention")) ? address.get("convention") : "corrected",
    judges: address.has("judges") ? list("judges").filter((key) => key !== "none") : null, // null: what fits the runs
    controls: address.get("controls") === "1",
    shuffle: address.get("shuffle") !== "0",
    hide: new Set(list("hide")), // rows: "controls", "published"
    figure: address.get("figure") || "", // metric|convention|judge
    sort: address.get("sort") || "", // metric|convention|judge, better runs first; with a "-" before, worse ones
    versus: list("versus"), // the two runs of the paired tests
  });
});

export function remember() {
  if (state.tab !== "evaluate") return;
  write({
    runs: choice.runs.join(","),
    convention: choice.convention === "corrected" ? "" : choice.convention,
    judges: choice.judges === null ? "" : choice.judges.join(",") || "none",
    controls: choice.controls ? "1" : "",
    shuffle: choice.shuffle ? "" : "0",
    hide: [...choice.hide].join(","),
    figure: choice.figure,
    sort: choice.sort,
    versus: choice.versus.join(","),
  });
}

// What the server's calls read.
export const request = (more = {}) => ({ runs: choice.runs, convention: choice.convention, judges: choice.judges ?? [], controls: choice.controls, shuffle: choice.shuffle, ...more });

export function query(runs = choice.runs, more = {}) {
  const found = new URLSearchParams({ convention: choice.convention, controls: choice.controls ? "1" : "0", shuffle: choice.shuffle ? "1" : "0", ...more });
  for (const name of runs) found.append("run", name);
  for (const name of choice.judges ?? []) found.append("judge", name);
  return found.toString();
}

export const keyOf = (score) => `${score.metric}|${score.convention}|${score.judge}`;
export const isControl = (score) => score.variant.startsWith("control-");
export const nameOf = (score) => [score.label, score.judge].filter(Boolean).join(", ");
export const scored = (overview) => (overview?.runs ?? []).filter((one) => one.state === "scored");

// Every figure that a scored run has, once, with what is needed to read it.
export function figures(overview) {
  const found = new Map();
  for (const run of scored(overview)) for (const score of run.scores) if (score.variant === "full") found.set(keyOf(score), found.get(keyOf(score)) ?? score);
  return found;
}

export const marked = (runs) => (runs.every((run) => run.simulated) ? "_simulated" : runs.some((run) => run.simulated) ? "_partly-simulated" : "");
