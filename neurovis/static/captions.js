// Captions: the texts of a clip beside its film, what was decoded of them, what the words alone give, and the set.

import { button, getJSON, h, number, panel, replace } from "./dom.js";
import { clock } from "./clock.js";
import { listenToKeys, screen, swap, transport } from "./player.js";
import { current, hopeless, marks, on, start, state, step, stripURL, timing } from "./state.js";
import { captionTables } from "./captiontables.js";
import { whatIf } from "./whatif.js";
import { empty } from "./empty.js";

export const LEVELS = [
  ["basic", "C_basic", "the event in one sentence"],
  ["anchor", "C_anchor", "appearance and layout of the first frame"],
  ["motion", "C_motion", "what moves, and how"],
  ["holi", "C_holi", "both in one story"],
];

export const countWords = (text) => text.split(/\s+/).filter(Boolean).length;

export function mount(root, server) {
  const heading = h("div", { class: "nv-heading" });
  const turner = h("div", { class: "nv-turner" }, button("Previous clip (left arrow)", "←", () => step(-1), { class: "nv-small" }), button("Next clip (right arrow)", "→", () => step(1), { class: "nv-small" }));
  const film = h("div", { class: "nv-film" });
  const texts = h("div", { class: "nv-texts" });
  const decoded = h("div", { class: "nv-decoded" });
  const prompts = h("div", { class: "nv-prompts" });
  const telling = h("p", { class: "nv-note nv-counting", "aria-live": "polite" });
  const words = whatIf(server);
  const tables = captionTables();
  const view = h("div", { class: "nv-captionview" },
    h("section", { class: "nv-panel nv-stage" }, h("div", { class: "nv-topline" }, heading, turner), h("div", { class: "nv-textgrid" }, film, texts), telling, transport()),
    words.node,
    h("div", { class: "nv-columns" },
      h("div", { class: "nv-stack" }, panel("What was decoded", "nearest captions of the training set", decoded)),
      h("div", { class: "nv-stack" }, tables.node, panel("The prompts that asked for them", "SemMiner's templates", prompts))));

  let player = null;
  let shown = null; // the run that the view stands for
  let facts = null; // token counts, once the server has counted
  let ranks = null; // of the true captions
  let turn = 0;

  function openRun() {
    if (state.tab !== "captions" || !state.run) return;
    if (shown !== state.run) {
      shown = state.run;
      facts = ranks = null;
      replace(root, view);
      player?.stop();
      player = screen("Truth", null, "truth");
      replace(film, player.node);
      words.open();
      tables.open();
      count();
    }
    showClip();
  }

  async function count() {
    const run = state.run;
    if (!run.clips.some((clip) => Object.keys(clip.captions).length)) return void (telling.textContent = "");
    telling.textContent = "Counting tokens …";
    try {
      const found = await getJSON(`/neurovis/runs/${encodeURIComponent(run.name)}/captions`);
      if (run !== state.run) return;
      facts = found;
      telling.textContent = found.trouble ? `Tokens were not counted: ${found.trouble}` : "";
      tables.refuse(found.trouble);
      if (found.has_tables) tables.compute();
    } catch (error) {
      if (run === state.run) telling.textContent = `Tokens were not counted: ${error.message}`;
      return;
    }
    drawTexts(current());
    if (!run.clips.some((clip) => Object.keys(clip.nearest).length)) return;
    try {
      const found = await getJSON(`/neurovis/runs/${encodeURIComponent(run.name)}/captions/ranks`);
      if (run !== state.run) return;
      ranks = found;
    } catch (error) {
      if (run === state.run) ranks = { levels: {}, trouble: error.message };
    }
    drawDecoded(current());
  }

  function showClip() {
    const clip = current();
    if (state.tab !== "captions" || !clip || !shown) return;
    const mine = ++turn;
    replace(heading, h("div", {}, h("span", { class: "nv-mono nv-id" }, clip.id), marks().map((mark) => h("span", { class: "nv-badge nv-warn" }, mark))),
      h("h2", {}, clip.captions.basic || clip.captions.anchor || String(clip.labels.trial_type || clip.id)));
    clock.fit(state.run.streams.map((stream) => timing(clip, stream)));
    const stream = state.run.streams.find((one) => one.key === "truth");
    if (stream) {
      player.uncover();
      swap(() => mine === turn, [{ player, timing: timing(clip, stream), url: stripURL(clip.id, state.run.base, "truth") }], clip.id);
    } else {
      player.show(null, { n: 1, seconds: 1 }, clip.id);
      player.coverWith("The data set comes without its pictures.");
    }
    drawTexts(clip);
    drawDecoded(clip);
    words.show();
  }

  function drawTexts(clip) {
    if (!clip) return;
    const missing = state.run.source === "videos" ? "This run was imported from videos without captions. Import it again with --captions to have them here." : "This run keeps no captions.";
    if (!Object.keys(clip.captions).length) return void replace(texts, h("p", { class: "nv-note" }, missing));
    replace(texts, LEVELS.map(([key, title, about]) => {
      const text = clip.captions[key];
      const n = facts?.tokens[clip.id]?.[key];
      const cut = n !== undefined && n > facts.room;
      return h("article", { class: "nv-text", "data-part": key }, h("h3", {}, title, " ", h("span", {}, about)),
        h("p", text ? {} : { class: "nv-note" }, text || "not written for this clip"),
        text ? h("footer", {}, h("span", { class: "nv-mono" }, `${countWords(text)} words`), h("span", { class: "nv-mono nv-tokens", title: "without the start and end tokens, by the renderer's own tokenizer" }, n === undefined ? "– tokens" : `${n} of ${facts.room} tokens`),
          cut ? h("span", { class: "nv-badge nv-warn nv-cutmark", title: `The text encoder reads ${facts.room} tokens; the last ${n - facts.room} are lost` }, `cut: last ${n - facts.room} not read`) : null) : null);
    }));
    return undefined;
  }

  function drawDecoded(clip) {
    if (!clip) return;
    const levels = LEVELS.filter(([key]) => clip.nearest[key]?.length);
    if (!levels.length) return void replace(decoded, h("p", { class: "nv-note" }, state.run.source === "videos" ? "This run was imported from videos: no text was decoded here." : "This run keeps no nearest captions."));
    replace(decoded, levels.map(([key, title, about]) => h("article", { class: "nv-level", "data-part": key }, h("h3", {}, title, " ", h("span", {}, about)),
      h("ol", {}, clip.nearest[key].map((near, i) => h("li", { class: "nv-near" }, h("b", { class: "nv-mono" }, number(near.similarity, 2)),
        h("span", {}, near.text, near.text === clip.captions[key] ? h("i", { class: "nv-chip" }, "the true caption") : null),
        h("i", { class: "nv-simbar", role: "img", "aria-label": `similarity ${number(near.similarity, 2)}, place ${i + 1}`, style: `--share:${Math.max(0, Math.min(1, near.similarity))}` })))),
      rankLine(clip, key))),
      h("p", { class: "nv-note" }, "Bars: cosine of the decoded Z and the caption's, after the mean of the training captions is taken from both (0 to 1)."),
      ranks?.trouble ? h("p", { class: "nv-note nv-broken" }, `The true captions were not ranked: ${ranks.trouble}`) : null);
    return undefined;
  }

  // Where the clip's own caption stands among those of all clips, by likeness to what was decoded.
  function rankLine(clip, key) {
    const found = ranks?.levels[key];
    if (!clip.captions[key]) return null;
    if (!found) return ranks ? null : h("p", { class: "nv-rank" }, h("small", {}, "ranking the true caption …"));
    const rank = found.rank[clip.id];
    const place = found.of > 1 ? (rank - 1) / (found.of - 1) : 0;
    return h("p", { class: "nv-rank", title: `Likeness of the decoded Z to the ${found.of} different captions of this run's clips, their mean taken away; by chance the rank is ${number((found.of + 1) / 2, 1)} on average` },
      h("span", {}, "the true caption is ", h("b", {}, `no. ${rank} of ${found.of}`), " of this run's captions"), h("i", { class: "nv-place", style: `--at:${place}`, role: "img", "aria-label": `rank ${rank} of ${found.of}` }));
  }

  async function drawPrompts() {
    try {
      const found = await getJSON("/neurovis/prompts");
      const rows = [...LEVELS, ["shorter", "C_basic, second try", "where the first was too long"]];
      replace(prompts, h("p", { class: "nv-note" }, "Slots in braces are filled for each clip; {basic} is the clip's own C_basic. Edit them in assets/prompts/."),
        state.run?.simulated ? h("p", { class: "nv-note" }, "The phantom's captions are written from its scene descriptions, not by a model; these prompts ask for the like of real films.") : null,
        rows.map(([key, title, about]) => h("details", { "data-part": key }, h("summary", {}, h("b", {}, title), ` ${about}`), h("pre", {}, found[key]))));
    } catch (error) {
      replace(prompts, h("p", { class: "nv-note nv-broken" }, error.message));
    }
  }

  function openTab() {
    if (state.tab !== "captions") return;
    if (!prompts.childNodes.length || shown !== state.run) drawPrompts();
    openRun();
  }
  on("run", openTab);
  on("tab", openTab);
  on("clip", showClip);
  on("error", () => { shown = null; empty(root); });
  on("runs", () => { if (hopeless()) empty(root); });
  listenToKeys();
  if (state.run) openTab();
  else if (hopeless()) empty(root);
  else start();
}
