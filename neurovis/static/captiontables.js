// Lengths and similarity of captions over all clips of the run, beside the published values; computed when asked for.

import { button, getJSON, h, number, panel, replace } from "./dom.js";
import { csv, download } from "./charts.js";
import { state } from "./state.js";

const TITLES = { basic: "C_basic", anchor: "C_anchor", motion: "C_motion", holi: "C_holi" };
const MEASURES = ["bleu1", "bleu4", "meteor", "rouge1", "rougeL", "clip_s"];
const SHORT = { bleu1: "BLEU-1", bleu4: "BLEU-4", meteor: "METEOR", rouge1: "ROUGE-1", rougeL: "ROUGE-L", clip_s: "CLIP-S" };

const settingsOf = (one) => Object.entries(one.settings).map(([key, value]) => `${key.replaceAll("_", " ")} ${Array.isArray(value) ? value.join(", ") : value}`).join(" · ");
const told = (one) => `${one.name} · n = ${one.n} clips${one.spread === null ? " together" : ` · standard deviation ${number(one.spread)}`} · ${one.library} ${one.version} · ${settingsOf(one)}`;

export function captionTables() {
  const body = h("div", { class: "nv-settables" });
  const node = panel("Over all clips of the run", "how long the texts are, and how alike", body);
  let found = null;
  let turn = 0;

  function open() {
    turn++;
    found = null;
    const n = state.run.clips.filter((clip) => Object.keys(clip.captions).length).length;
    if (!n) return void replace(body, h("p", { class: "nv-note" }, "No clip of this run has captions, so there is nothing to count or compare."));
    replace(body, h("p", { class: "nv-note" }, `Token counts and the likeness of each pair of texts over ${n} clips, beside the paper's Tables 4 and 5. It takes a few seconds the first time.`),
      h("div", { class: "nv-exports" }, button("Compute the tables", "Compute the tables", compute, { class: "nv-primary" })));
    return undefined;
  }

  // Without a tokenizer there is nothing to count with.
  function refuse(reason) {
    const start = body.querySelector(".nv-primary");
    if (!reason || !start) return;
    start.disabled = true;
    start.after(h("span", { class: "nv-note nv-broken" }, reason));
  }

  async function compute() {
    const mine = ++turn;
    const run = state.run;
    const clockwork = h("span", { class: "nv-mono" }, "0 s");
    const began = performance.now();
    replace(body, h("div", { class: "nv-live", role: "status" }, h("progress", {}), h("span", { class: "nv-note" }, "comparing the texts"), clockwork));
    const timer = setInterval(() => { clockwork.textContent = `${Math.round((performance.now() - began) / 1000)} s`; }, 500);
    try {
      const answer = await getJSON(`/neurovis/runs/${encodeURIComponent(run.name)}/captions/tables`);
      if (mine !== turn) return;
      found = answer;
      draw();
    } catch (error) {
      if (mine === turn) replace(body, h("p", { class: "nv-note nv-broken", role: "alert" }, `The tables could not be computed: ${error.message}`), h("div", { class: "nv-exports" }, button("Try again", "Try again", compute, { class: "nv-small" })));
    } finally {
      clearInterval(timer);
    }
  }

  const ours = (key, levels) => [...found.lengths, ...found.similarity].find((one) => one.key === key && one.levels.join() === levels.join());
  const published = (key, levels) => found.published_similarity.find((one) => one.levels.join() === levels.join())?.[key];

  function draw() {
    const partial = found.n < found.n_clips ? `${found.n} of ${found.n_clips} clips have them all` : `${found.n} clips`;
    replace(body, h("h3", { class: "nv-sub" }, "Lengths ", h("span", {}, `Table 4 · ${partial}`)), h("div", { class: "nv-tablebox nv-scroll", tabindex: 0, role: "region", "aria-label": "Lengths" }, lengths()),
      h("h3", { class: "nv-sub" }, "Likeness of each pair ", h("span", {}, `Table 5 · ${partial}`)), found.similarity.length ? h("div", { class: "nv-tablebox nv-scroll", tabindex: 0, role: "region", "aria-label": "Similarity" }, similarity()) : h("p", { class: "nv-note" }, "This run's clips have one text each, so there is no pair to compare."),
      h("p", { class: "nv-note nv-settold" }, `METEOR matches words and stems, not synonyms. CLIP-S is by the text encoder in use (the phantom's is small, and knows only its own captions). Published: CC2017, other captions, settings not stated; for orientation only. `, state.run.simulated ? "The phantom's texts come from templates, so their likeness is that of the templates." : ""),
      h("div", { class: "nv-exports" }, button("Save both tables as CSV", "CSV", save, { class: "nv-small" })));
  }

  function lengths() {
    const levels = Object.keys(found.distinct);
    const cell = (one, digits) => h("td", one ? { title: told(one) } : {}, one ? number(one.value, digits) : "–", one ? h("small", {}, `± ${one.spread.toFixed(digits)}`) : null);
    return h("table", {}, h("thead", {}, h("tr", {}, ["Text", "words", "tokens", "longest", "cut", "different", "published"].map((name) => h("th", {}, name)))),
      h("tbody", {}, levels.map((level) => {
        const tokens = ours("tokens", [level]);
        return h("tr", { "data-part": level }, h("th", {}, h("b", { class: "nv-leveled" }, TITLES[level])), cell(ours("words", [level]), 1), cell(tokens, 1),
          h("td", {}, tokens?.settings.longest ?? "–"), h("td", { title: tokens ? `longer than the ${tokens.settings.room} tokens that the text encoder reads; n = ${tokens.n} clips` : null }, tokens?.settings.n_truncated ?? "–"),
          h("td", { title: `different texts among n = ${found.n} clips` }, found.distinct[level]),
          h("td", { class: "nv-published", title: level === "basic" ? "tokens of BLIP-2's captions, which the paper compares with; CC2017" : "tokens, Table 4 of the paper; CC2017, tokenizer not stated" }, level === "basic" ? ["10.6", h("small", {}, "BLIP-2")] : number(found.published_tokens[level], 1)));
      })));
  }

  function similarity() {
    const pairs = [...new Map(found.similarity.map((one) => [one.levels.join(), one.levels])).values()];
    return h("table", {}, h("thead", {}, h("tr", {}, h("th", {}, "Pair"), MEASURES.map((key) => h("th", { title: key === "meteor" ? "exact and stem matches" : null }, SHORT[key])))),
      h("tbody", {}, pairs.map((levels) => h("tr", {}, h("th", {}, levels.map((level, i) => [i ? " – " : "", h("b", { class: "nv-leveled", "data-part": level }, TITLES[level])])),
        MEASURES.map((key) => {
          const one = ours(key, levels);
          const theirs = published(key, levels);
          return h("td", one ? { title: told(one) } : {}, one ? number(one.value) : "–", h("small", { class: "nv-published", title: "Table 5 of the paper; CC2017, settings not stated" }, theirs === undefined ? "–" : number(theirs)));
        })))),
      h("caption", {}, "large: this run; small: published"));
  }

  function save() {
    const rows = [["table", "levels", "measure", "value", "standard_deviation", "n", "published", "library", "version", "settings"]];
    for (const one of [...found.lengths, ...found.similarity]) {
      const theirs = one.levels.length === 2 ? published(one.key, one.levels) : one.key === "tokens" ? found.published_tokens[one.levels[0]] : undefined;
      rows.push([one.levels.length === 2 ? "similarity" : "lengths", one.levels.join("+"), one.name, one.value, one.spread ?? "", one.n, theirs ?? "", one.library, one.version, JSON.stringify(one.settings)]);
    }
    download(`${state.run.name}_captions${state.run.simulated ? "_simulated" : ""}.csv`, csv(rows));
  }

  return { node, open, compute, refuse };
}
