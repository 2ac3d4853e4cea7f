// Explore: the clip browser, the players in step, and under them what was shown beside what was decoded.

import { button, h, icon, later, number, panel, replace } from "./dom.js";
import { browser, higherIsBetter, neighbours, scoreLabel, scoreNames, scoredFrom } from "./browser.js";
import { brain } from "./brain.js";
import { clock } from "./clock.js";
import { percentile, rug } from "./charts.js";
import { listenToKeys, loadStrip, screen, swap, transport } from "./player.js";
import { current, hopeless, marks, on, start, state, stripURL, timing } from "./state.js";
import { besideNames, chooser, Column } from "./beside.js";
import { empty } from "./empty.js";

const LEVELS = [["anchor", "C_anchor", "appearance and layout"], ["motion", "C_motion", "what moves, and how"], ["holi", "C_holi", "both in one story"]];

export function mount(root) {
  const heading = h("div", { class: "nv-heading" });
  const deck = h("div", { class: "nv-deck" });
  const captions = h("div");
  const scores = h("div");
  const config = h("div");
  const cortex = brain();
  const view = h("div", { class: "nv-explore" }, browser(),
    h("div", { class: "nv-main" },
      h("section", { class: "nv-panel nv-stage" }, h("div", { class: "nv-topline" }, heading, chooser()), deck, transport(), exportsBar()),
      h("div", { class: "nv-columns" },
        h("div", { class: "nv-stack" }, panel("Captions", "as shown, and nearest to what was decoded", captions), panel("Run", "config, seed and command", config)),
        h("div", { class: "nv-stack" }, panel("fMRI pattern", "what the decoder saw of this clip", cortex.node), panel("Scores of this clip", "against all clips of the run", scores)))));

  let players = [];
  let columns = [];
  let turn = 0;
  let stale = false; // a clip was chosen while the other tab is open

  function openRun() {
    replace(root, view);
    const run = state.run;
    players.forEach((player) => player.stop());
    players = run.streams.map((stream) => Object.assign(screen(stream.title, stream.about, stream.key), { stream }));
    replace(deck, players.map((player) => player.node));
    if (!run.streams.some((stream) => stream.key === "truth")) {
      deck.prepend(h("figure", { class: "nv-screen nv-none" }, h("figcaption", {}, h("b", {}, "Truth")), h("div", { class: "nv-glass" }, h("div", { class: "nv-cover" }, "The data set comes without its pictures.")), h("p", {}, "only the category is known")));
    }
    for (const column of columns) column.player.stop();
    columns = [];
    drawBeside();
    drawConfig();
    if (state.clip) showClip();
  }

  // Keep the columns of runs that stay; a new one is shown as soon as it is read.
  function drawBeside() {
    const names = besideNames();
    for (const column of columns.filter(({ name }) => !names.includes(name))) {
      column.player.stop();
      column.player.node.remove();
    }
    columns = names.map((name) => columns.find((column) => column.name === name) ?? new Column(name));
    deck.append(...columns.map((column) => column.player.node));
    deck.dataset.count = deck.children.length;
    for (const column of columns) if (!column.run) column.ready.then(() => columns.includes(column) && showPlayers());
  }

  async function showClip() {
    const mine = ++turn;
    const clip = current();
    stale = state.tab !== "explore" && !root.offsetParent;
    if (!clip || stale) return;
    drawHeading(clip);
    showPlayers();
    drawCaptions(clip);
    // The pictures come first: charts and cortex wait until the browser has painted them.
    later(() => {
      if (mine !== turn) return;
      drawScores(clip);
      cortex.show().catch(() => {});
    });
  }

  function showPlayers() {
    const mine = turn;
    const clip = current();
    if (!clip) return;
    const own = players.map((player) => ({ player, timing: timing(clip, player.stream), url: stripURL(clip.id, state.run.base, player.stream.key) }));
    const others = columns.map((column) => column.at(clip));
    clock.fit([...own, ...others].map((one) => one.timing));
    swap(() => mine === turn, [...own, ...others], clip.id).then(() => {
      const near = neighbours();
      const urls = [...near.flatMap((id) => state.run.streams.map((stream) => stripURL(id, state.run.base, stream.key))), ...columns.flatMap((column) => column.urls(near))];
      for (const url of urls) loadStrip(url).catch(() => {});
    });
  }

  function drawHeading(clip) {
    const facts = Object.entries(clip.labels).filter(([key, value]) => !["cut", "x", "y"].includes(key) && value !== "" && typeof value !== "boolean").slice(0, 4);
    replace(heading, h("div", {}, h("span", { class: "nv-mono nv-id" }, clip.id), clip.labels.cut ? h("span", { class: "nv-badge nv-warn", title: "First clip of a shot: the response still holds the shot before" }, "at a cut") : null, marks().map((mark) => h("span", { class: "nv-badge nv-warn" }, mark))),
      h("h2", {}, clip.captions.basic || clip.captions.anchor || String(clip.labels.trial_type || clip.id)),
      h("p", { class: "nv-labels" }, facts.map(([key, value]) => h("span", {}, `${key.replaceAll("_", " ")} `, h("b", {}, typeof value === "number" && !Number.isInteger(value) ? value.toFixed(2) : String(value))))));
  }

  function drawCaptions(clip) {
    const levels = LEVELS.filter(([key]) => clip.captions[key] || clip.nearest[key]?.length);
    replace(captions, levels.length ? levels.map(([key, title, about]) => h("article", { class: "nv-level", "data-part": key },
      h("h3", {}, title, h("span", {}, about)),
      h("p", { class: "nv-shown" }, h("small", {}, "shown"), clip.captions[key] || "not known"),
      clip.nearest[key]?.length ? h("ol", {}, clip.nearest[key].slice(0, 3).map((near, i) => h("li", {}, h("small", {}, i ? "" : "decoded"), h("span", { title: near.text }, near.text), h("meter", { min: 0, max: 1, value: Math.max(0, near.similarity), title: "similarity to the decoded embedding" }), h("b", { class: "nv-mono" }, number(near.similarity, 2))))) : null))
      : h("p", clip.captions.basic ? {} : { class: "nv-note" }, clip.captions.basic || noCaptions()));
  }

  function noCaptions() {
    return state.run.source === "videos" ? "No caption: this run was imported from videos. Import it again with --captions to have them here." : "This run keeps no captions.";
  }

  // Which frames stand behind a score, where the two videos differ in rate: counted from 1, as on the players.
  function scoredFrames(clip) {
    const list = (key) => (clip.streams?.[key]?.scored || []).map((frame) => frame + 1).join(" ");
    return list("truth") ? h("p", { class: "nv-note nv-scored" }, `Scored: frames ${list("truth")} of the truth beside ${list("reconstruction")} of the reconstruction, nearest in time.`) : null;
  }

  function drawScores(clip) {
    const run = state.run;
    const names = scoreNames(run);
    if (!names.length) {
      replace(scores, h("p", { class: "nv-note" }, "This run has no scores per clip."));
      return;
    }
    replace(scores, h("div", { class: "nv-scores" }, h("div", { class: "nv-legend" }, h("span", {}, h("i", { class: "this" }), "this clip"), h("span", {}, h("i", { class: "mean" }), "mean"), h("span", {}, h("i", { class: "chance" }), "chance"), h("span", { class: "nv-origin" }, `scored ${scoredFrom(run, run.kept.includes("full"))}`)),
      names.map((name) => {
        const all = run.clips.map((one) => one.scores.full?.[name]).filter((v) => typeof v === "number");
        const summary = run.scores.full?.[name];
        const mean = summary?.value ?? all.reduce((a, b) => a + b, 0) / all.length;
        const higher = higherIsBetter(run, name);
        const value = clip.scores.full?.[name];
        const place = percentile(all, value, higher);
        const about = [summary?.judge ? `judge ${summary.judge}` : "", summary?.convention || "", summary?.frames || "", `${summary?.n ?? all.length} clips`].filter(Boolean).join(" · ");
        return h("div", { class: "nv-score", title: about },
          h("span", { class: "nv-name" }, scoreLabel(run, name), h("small", {}, higher ? "higher is better" : "lower is better")),
          h("b", { class: "nv-mono" }, number(value)),
          rug(all, value, mean, summary?.chance, higher),
          h("small", { class: "nv-mono" }, `mean ${number(mean)}`, typeof summary?.chance === "number" ? `  chance ${number(summary.chance)}` : "  chance not measured", place === null ? "" : `  percentile ${place}`));
      })), scoredFrames(clip));
  }

  function drawConfig() {
    const run = state.run;
    const rows = [["method", run.method], ["data", `${run.dataset} ${run.subject}`], ...(run.seed === null ? [] : [["seed", run.seed]]), ...flatten(run.config).slice(0, 40)];
    const command = run.command || null;
    replace(config, command ? h("div", { class: "nv-command" }, h("code", {}, command), button("Copy the command", icon("copy"), (event) => copy(event, command))) : null,
      run.notes.map((note) => h("p", { class: "nv-note nv-runnote" }, note)),
      h("dl", { class: "nv-config" }, rows.map(([key, value]) => [h("dt", {}, key), h("dd", { class: "nv-mono" }, String(value))])),
      Object.keys(run.versions).length ? h("details", {}, h("summary", {}, "Versions"), h("dl", { class: "nv-config" }, Object.entries(run.versions).map(([key, value]) => [h("dt", {}, key), h("dd", { class: "nv-mono" }, value)]))) : null);
  }

  function exportsBar() {
    const links = ["mp4", "gif", "png", "json"].map((kind) => h("a", { class: "nv-small", download: "", "data-kind": kind, href: "#", onclick: (event) => { event.currentTarget.href = exportURL(kind); } }, { mp4: "MP4 grid", gif: "GIF", png: "PNG strip", json: "JSON" }[kind]));
    return h("div", { class: "nv-exports" }, h("span", {}, "Save this clip"), links);
  }

  function exportURL(kind) {
    const path = `/neurovis/runs/${encodeURIComponent(state.run.name)}/clips/${encodeURIComponent(state.clip)}/export.${kind}`;
    if (!columns.length || kind === "json") return path;
    const asked = [...state.run.streams.map((stream) => `${stream.key}:${state.run.base}`), ...columns.filter((one) => one.run).map((one) => `reconstruction:${one.run.base}:${one.name}`)];
    return `${path}?${asked.map((one) => `column=${encodeURIComponent(one)}`).join("&")}`;
  }

  function fail() {
    empty(root);
  }
  on("run", openRun);
  on("clip", showClip);
  on("tab", () => { if (stale && state.tab === "explore") showClip(); });
  on("beside", () => { drawBeside(); showPlayers(); });
  on("scores", () => { if (current()) drawScores(current()); });
  on("error", fail);
  on("runs", () => { if (hopeless()) fail(); });
  listenToKeys();
  if (state.run) openRun();
  else if (hopeless()) fail();
  else start();
}

function flatten(config, prefix = "") {
  return Object.entries(config).flatMap(([key, value]) => {
    const name = prefix ? `${prefix}.${key}` : key;
    return value !== null && typeof value === "object" && !Array.isArray(value) ? flatten(value, name) : [[name, Array.isArray(value) ? value.join(", ") : value]];
  });
}

async function copy(event, text) {
  const target = event.currentTarget;
  await navigator.clipboard?.writeText(text).catch(() => {});
  target.dataset.done = "yes";
  setTimeout(() => delete target.dataset.done, 1200);
}
