// The table over all clips of the run, and the job on the server that completes it: started, followed and stopped here.

import { button, getJSON, h, number, replace, signed } from "./dom.js";
import { higherIsBetter, scoreLabel, scoredFrom, withUnit } from "./browser.js";
import { csv, download } from "./charts.js";
import { PARTS, fullSummary, refresh, state, variantOrder, variantTitle } from "./state.js";

const ALL = ["full", "anchor", "motion", "holi", "mad", "anchor+motion", "anchor+holi", "anchor+mad", "motion+holi", "holi+mad", "anchor+motion+holi", "anchor+holi+mad"];
const PACE = 700; // ms between two looks at the job

export function testset(server, variant) {
  const table = h("div", { class: "nv-tablebox" });
  const bar = h("div", { class: "nv-job", role: "status" });
  const meter = h("progress", { "aria-label": "Clips rendered and scored" });
  const count = h("span", { class: "nv-mono" });
  const step = h("span", { class: "nv-note" });
  const halt = button("Stop after this clip", "Stop", () => { if (job?.key) server.stop(job.key); }, { class: "nv-small" });
  let everything = false;
  let job = null;
  let trouble = "";
  let watching = 0;

  // A run is opened: a job that is still at work on the server is found again.
  async function open() {
    job = null;
    trouble = "";
    const mine = ++watching;
    drawTable();
    draw();
    const found = await getJSON(`/neurovis/runs/${encodeURIComponent(state.run.name)}/job`).catch(() => null);
    if (mine === watching && found && ["queued", "running"].includes(found.state)) watch(found, mine);
  }

  // Of all clips, or of one; returns what went wrong, or "".
  async function begin(variants, clip = null) {
    const mine = ++watching;
    trouble = "";
    job = { state: "queued", message: "asking the server", done: 0, total: 0 };
    draw();
    const found = await server.render_set({ run: state.run.name, variants, clip }).catch((error) => ({ state: "failed", message: `The server did not answer: ${error.message}` }));
    if (mine === watching) await watch(found, mine);
    return trouble;
  }

  async function watch(found, mine) {
    const name = state.run.name;
    while (["queued", "running"].includes(found.state)) {
      job = found;
      draw();
      await new Promise((resolve) => setTimeout(resolve, PACE));
      const next = await getJSON(`/neurovis/runs/${encodeURIComponent(name)}/job`).catch(() => found);
      if (mine !== watching) return;
      found = next ?? { state: "failed", message: "This job is not known any more; start it again, what was finished is kept." };
    }
    job = null;
    trouble = found.state === "done" ? "" : found.message;
    await refresh().catch(() => {});
    drawTable();
    draw();
  }

  // How many clips of the run have no score for a combination.
  function missing(name) {
    return state.run.scores[name] ? 0 : state.run.clips.filter((clip) => !(clip.kept || []).includes(name)).length;
  }

  function draw() {
    const run = state.run;
    bar.hidden = run.source === "videos"; // the line beside the switches says why
    if (bar.hidden) return undefined;
    if (job) {
      const left = typeof job.left === "number" ? `about ${job.left >= 90 ? `${Math.round(job.left / 60)} min` : `${job.left} s`} left` : job.state === "queued" ? "waiting for its turn" : "estimating the time left";
      if (job.total) Object.assign(meter, { max: job.total, value: job.done });
      else meter.removeAttribute("value");
      count.textContent = `${job.done}/${job.total} clips · ${left}`;
      step.textContent = job.message;
      // The same nodes throughout, so that a button keeps its place and its focus while figures change.
      if (halt.parentNode !== bar) replace(bar, halt, meter, count, step);
      return undefined;
    }
    const reason = run.cannot_render || run.cannot_score;
    const now = variant();
    const ask = (title, names) => {
      const parts = names.filter((name) => name !== "full").reduce((sum, name) => sum + missing(name), 0);
      // The full model is scored beside them, from the same pictures.
      const lacking = parts || missing("full") ? parts + run.clips.filter((clip) => !clip.kept_full).length : 0;
      return lacking ? button(`${title}: render and score ${lacking} clips`, `${title} (${lacking})`, () => begin(names), { class: "nv-small", disabled: Boolean(reason) || !server }) : null;
    };
    const singles = ["full", ...PARTS];
    const single = singles.includes(now) ? null : ask(variantTitle(now), [now]);
    const buttons = [single, ask("Full model and each part alone", singles), everything || single ? ask("All twelve combinations", ALL) : null].filter(Boolean);
    const told = buttons.length ? h("span", { class: "nv-note" }, "Render and score what is missing:") : h("span", { class: "nv-note" }, singles.includes(now) ? "The full model and each part alone are complete." : `${variantTitle(now)}: complete.`);
    replace(bar, told, buttons, reason ? h("span", { class: "nv-note nv-broken" }, reason) : trouble ? h("span", { class: "nv-note nv-broken", role: "alert" }, trouble) : null);
    return undefined;
  }

  function drawTable() {
    const { scores } = state.run;
    const names = variantOrder();
    const rows = everything ? names : names.filter((name, i) => i < 5 || name === variant());
    const columns = [...new Set(rows.flatMap((name) => Object.keys(scores[name])))];
    if (!columns.length) return void replace(table, h("p", { class: "nv-note" }, "This run has no summary scores yet."));
    const chance = (key) => rows.map((name) => scores[name][key]?.chance).find((v) => typeof v === "number");
    const counts = (key) => rows.map((name) => scores[name][key]?.n).find((v) => v !== undefined);
    const facts = (key) => { const one = scores[rows.find((name) => scores[name][key])][key]; return [one.judge && `judge ${one.judge}`, one.convention, one.frames].filter(Boolean).join(" · "); };
    replace(table, h("div", { class: "nv-scroll", tabindex: 0, role: "region", "aria-label": "Scores over all clips" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", {}, "Model"), columns.map((key) => h("th", { title: facts(key) }, scoreLabel(state.run, key), h("small", {}, higherIsBetter(state.run, key) ? "↑" : "↓"))))),
      h("tbody", {}, rows.map((name) => h("tr", { "data-variant": name }, h("th", {}, variantTitle(name), state.run.kept.includes(name) ? h("small", { title: "Scored here, from the pictures as the run keeps them" }, " scored here") : null), columns.map((key) => cell(name, key)))),
        h("tr", { class: "nv-chancerow" }, h("th", {}, "Chance"), columns.map((key) => h("td", {}, typeof chance(key) === "number" ? number(chance(key)) : "not measured"))),
        h("tr", { class: "nv-chancerow" }, h("th", {}, "Clips"), columns.map((key) => h("td", {}, counts(key) ?? "–")))))),
      h("p", { class: "nv-note nv-origin" }, origin(rows)),
      rows.some((name) => name !== "full" && state.run.kept.includes(name)) && !state.run.kept.includes("full") ? h("p", { class: "nv-note" }, "“Scored here”: from the pictures as this run keeps them, and the change is from the full model scored from the same pictures, not from the row above.") : null,
      h("div", { class: "nv-exports" }, names.length > 5 ? button("More or fewer rows", everything ? "Single parts only" : `All ${names.length} combinations`, () => { everything = !everything; drawTable(); draw(); }, { class: "nv-small" }) : null,
        button("Save the table as CSV", "CSV", () => download(`${state.run.name}_ablations${state.run.simulated ? "_simulated" : ""}.csv`, sheet(rows, columns)), { class: "nv-small" })));
    return undefined;
  }

  // Once for the table: which pictures its rows were scored from.
  function origin(rows) {
    const here = rows.some((name) => state.run.kept.includes(name));
    const own = rows.some((name) => !state.run.kept.includes(name));
    if (!here || !own) return `Scored ${scoredFrom(state.run, here)}.`;
    return `Scored ${scoredFrom(state.run, false)}; rows “scored here” ${scoredFrom(state.run, true)}.`;
  }

  function cell(name, key) {
    const one = state.run.scores[name][key];
    if (!one) return h("td", {}, "–");
    const base = fullSummary(name)?.[key]?.value;
    const delta = name === "full" || base === undefined ? null : one.value - base;
    const verdict = !delta ? "same" : delta > 0 === higherIsBetter(state.run, key) ? "good" : "bad";
    const [low, high] = one.interval ?? [];
    return h("td", { title: [one.frames, typeof one.chance === "number" ? `chance ${number(one.chance)}` : "", `${one.n} clips`].filter(Boolean).join(" · ") },
      number(one.value), delta === null ? null : h("small", { "data-change": verdict }, signed(delta)), one.interval ? h("small", { class: "nv-interval", title: "95 % bootstrap interval over clips" }, `${number(low)} … ${number(high)}`) : null);
  }

  function sheet(rows, columns) {
    const { scores } = state.run;
    const head = columns.flatMap((key) => [...["", " low", " high", " change", " chance"].map((of) => withUnit(key + of, key)), `${key} n`]);
    return csv([["model", ...head, "scored", "pictures"], ...rows.map((name) => [name, ...columns.flatMap((key) => {
      const one = scores[name][key];
      const base = fullSummary(name)?.[key]?.value;
      return one ? [one.value, ...(one.interval ?? ["", ""]), base === undefined ? "" : one.value - base, one.chance ?? "", one.n] : ["", "", "", "", "", ""];
    }), state.run.kept.includes(name) ? "scored here" : "as the run came", scoredFrom(state.run, state.run.kept.includes(name))])]);
  }

  return { node: h("div", {}, bar, table), open, begin, busy: () => job !== null, draw: () => { drawTable(); draw(); } };
}
