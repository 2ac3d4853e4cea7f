// The error budget of the open run: what each step between the truth and the reconstruction costs, measured on request.

import { button, getJSON, h, icon, number, panel, replace, signed } from "./dom.js";
import { csv, download } from "./charts.js";
import { boxed, intervalplot, saver } from "./evaluatecharts.js";
import { pace } from "./evaluatesetup.js";
import { jobbar } from "./jobbar.js";
import { state } from "./state.js";

const COLUMNS = ["step", "label", "metric", "value", "low", "high", "change", "chance", "n", "convention", "judge", "frames", "origin", "meaning"];
const working = (job) => job && ["queued", "running"].includes(job.state);
const capital = (text) => text[0].toUpperCase() + text.slice(1);

export function errorbudget(server) {
  const bar = h("div", { class: "nv-job nv-budgetbar", role: "status" });
  const body = h("div", { class: "nv-budget" });
  const node = panel("Error budget", "what each step between the truth and the reconstruction costs", bar, body);
  const under = jobbar("Clips rendered from true cues", "Stop; nothing half-measured is kept", () => server.stop_budget({}).then((found) => { job = found; drawBar(); }).catch(() => {}));
  let found = null; // what is known of the open run's budget
  let job = null;
  let trouble = "";
  let chosen = null; // number of clips; null for all
  let watching = false;

  async function draw() {
    const { run } = state;
    if (!run) return;
    const answer = await getJSON(`/neurovis/evaluations/budget/${encodeURIComponent(run.name)}`).catch((error) => ({ rows: [], offers: [], note: error.message, reason: "It could not be asked for." }));
    if (run !== state.run) return;
    found = { ...answer, run };
    if (!found.offers.includes(chosen)) chosen = null;
    drawBar();
    drawBody();
    if (!job) follow(await server?.budget_progress({}).catch(() => null));
  }

  function drawBar() {
    if (!found) return;
    if (working(job)) return void under(bar, job.state === "running" && job.done < job.total ? job.done / job.total : null, told(job), job.stopping);
    const sizes = h("select", { "aria-label": "Clips to measure on", disabled: Boolean(found.reason), onchange: () => { chosen = Number(sizes.value) || null; drawBar(); } },
      h("option", { value: "", selected: chosen === null }, `all ${found.n_clips} clips`), found.offers.map((few) => h("option", { value: few, selected: few === chosen }, `the first ${few} clips`)));
    const n = chosen ?? found.n_clips;
    const length = found.per_clip ? `${capital(pace(found.per_clip * n))}, by what was measured here` : "How long it takes was not measured here yet";
    replace(bar, button("Measure the error budget", found.rows.length ? "Measure again" : "Measure", () => begin(n), { class: found.rows.length ? "nv-small" : "nv-primary", disabled: Boolean(found.reason) || !server }),
      found.offers.length && !found.reason ? sizes : null,
      h("span", { class: found.reason ? "nv-note nv-broken" : "nv-note" }, found.reason ?? `${length}; every clip is rendered once from its true cues.`),
      trouble ? h("span", { class: "nv-note nv-broken", role: "alert" }, trouble) : null);
  }

  function told(now) {
    const of = now.run === found.run.name ? "" : `${now.run}: `;
    const left = now.left ? ` · ${pace(now.left)} of rendering left` : "";
    const count = now.total && now.done < now.total ? `${now.done} of ${now.total} clips · ` : "";
    return `${of}${now.stopping ? "stopping" : now.message} · ${count}${Math.round(now.seconds)} s${left}`;
  }

  async function begin(n) {
    trouble = "";
    follow(await server.measure_budget({ run: found.run.name, clips: n }).catch((error) => ({ state: "failed", message: `The server did not answer: ${error.message}` })));
  }

  // Watch a measurement to its end, whichever page started it.
  async function follow(first) {
    if (watching || !first) return;
    if (!working(first)) {
      if (first.state === "failed" && !first.seconds) trouble = first.message;
      return void drawBar();
    }
    watching = true;
    let lost = 0;
    for (job = first; working(job);) {
      drawBar();
      await new Promise((resolve) => setTimeout(resolve, 500));
      const answer = await server.budget_progress({}).catch(() => null);
      lost = answer ? 0 : lost + 1;
      job = answer ?? (lost < 10 ? job : { state: "failed", message: "The server does not answer; reload the page when it is there again." });
    }
    watching = false;
    trouble = job.state === "done" ? "" : [job.run && job.run !== state.run?.name ? `${job.run}: ` : "", job.message].join("");
    await draw();
  }

  function drawBody() {
    const { rows, run, note, command } = found;
    const line = command ? h("div", { class: "nv-command" }, h("code", {}, command), button("Copy the command", icon("copy"), (event) => copy(event, command))) : null;
    const said = note ? h("p", { class: "nv-note" }, note) : null;
    if (!rows.length) return void replace(body, found.reason ? null : h("p", { class: "nv-note" }, `${run.name}: not measured yet.`), said, line);
    const mark = run.simulated ? "Simulated data. " : "";
    const facts = (key) => [...new Set(rows.map((row) => row[key]))].join("; ");
    replace(body, table(rows),
      h("p", { class: "nv-note" }, `${mark}${run.name}, ${rows[0].n} clips. Mean, 95 % interval by bootstrap over clips, change since the step above (ablations: since the full model), and chance: the same answers for other clips. Figures: ${facts("origin")}. Frames: ${facts("frames")}.`), said,
      h("div", { class: "nv-exports" }, h("span", {}, "Save"), button("Save the error budget as CSV", "CSV", () => save(rows, run), { class: "nv-small" })), line,
      h("details", { open: true }, h("summary", {}, "One plot a figure"), h("div", { class: "nv-smallplots" }, plots(rows, run))));
  }

  function table(rows) {
    const metrics = [...new Map(rows.map((row) => [row.metric, row])).values()];
    const steps = [...new Map(rows.map((row) => [row.step, row])).values()];
    const cell = (step, metric) => rows.find((row) => row.step === step.step && row.metric === metric.metric);
    return h("div", { class: "nv-tablebox nv-scroll", tabindex: 0, role: "region", "aria-label": "Error budget" }, h("table", { class: "nv-budgettable" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Step"), metrics.map((one) => h("th", { scope: "col", title: one.frames }, one.label_of_metric ?? one.metric, one.judge ? h("small", {}, one.judge) : null, h("small", {}, one.higher_is_better ? "higher is better" : "lower is better"))))),
      h("tbody", {}, steps.map((step) => h("tr", { "data-step": step.step }, h("th", { scope: "row" }, capital(step.label), h("small", {}, `${capital(step.meaning)}.`)), metrics.map((metric) => figure(cell(step, metric))))))));
  }

  function figure(row) {
    if (!row) return h("td", {}, "–");
    if (row.value === null) return h("td", { title: row.frames }, "not defined");
    const better = row.change === null || row.change === 0 ? null : (row.change > 0) === row.higher_is_better ? "better" : "worse";
    return h("td", { title: `${row.n} clips · ${row.frames}` }, h("b", {}, number(row.value)), row.interval ? h("small", {}, `${number(row.interval[0])} … ${number(row.interval[1])}`) : null,
      h("small", { class: "nv-lost", "data-way": better }, row.change === null ? "" : row.change === 0 ? "no change" : `${signed(row.change)} ${better}`),
      h("small", { class: "nv-chancetold" }, `chance ${number(row.chance)}`));
  }

  function plots(rows, run) {
    return [...new Set(rows.map((row) => row.metric))].map((metric) => {
      const own = rows.filter((row) => row.metric === metric);
      const { label_of_metric: label = metric, convention, judge, higher_is_better: up, frames } = own[0];
      const plot = intervalplot(own.map((row) => ({ ...row, title: row.label, kind: row.step })), label);
      return h("figure", { "data-metric": metric }, h("figcaption", {}, h("b", {}, label), h("small", { title: frames }, [convention, judge, up ? "higher is better" : "lower is better"].filter(Boolean).join(" · "))),
        boxed(plot, `Error budget, ${label}`), saver(plot, `${run.name}_budget_${metric}${run.simulated ? "_simulated" : ""}`));
    });
  }

  return { node, draw };
}

function save(rows, run) {
  const lines = rows.map((row) => ({ ...row, low: row.interval?.[0], high: row.interval?.[1] }));
  download(`${run.name}_budget${run.simulated ? "_simulated" : ""}.csv`, csv([["simulated", ...COLUMNS], ...lines.map((row) => [Number(run.simulated), ...COLUMNS.map((key) => row[key] ?? "")])]));
}

async function copy(event, text) {
  const target = event.currentTarget;
  await navigator.clipboard?.writeText(text).catch(() => {});
  target.dataset.done = "yes";
  setTimeout(() => delete target.dataset.done, 1200);
}
