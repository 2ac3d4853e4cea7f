// Train: the form, the queue, one job with its curves and log, and what sets two trainings apart. Jobs live in processes
// of their own; this page only looks at them, so it may be closed and opened again.

import { reading, write } from "./address.js";
import { button, getJSON, h, number, panel, replace } from "./dom.js";
import { on, start, state } from "./state.js";
import { curves } from "./traincurves.js";
import { trainForm } from "./trainform.js";
import { jobTable, told } from "./traintable.js";

const PACE = 1000; // ms between two looks at the jobs

const clockTime = (seconds) => (seconds >= 5400 ? `${(seconds / 3600).toFixed(1)} h` : seconds >= 90 ? `${Math.round(seconds / 60)} min` : `${Math.round(seconds)} s`);
const bytes = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : `${Math.max(1, Math.round(n / 1e6))} MB`);

export function mount(root, server) {
  const trouble = h("p", { class: "nv-note nv-broken", role: "alert" });
  const expected = h("p", { class: "nv-note", role: "status" });
  const begin = button("Start training", "Start training", () => send(), { class: "nv-primary", disabled: true });
  const measure = button("Estimate time, memory and disk", "Estimate", () => estimate(), { class: "nv-small", disabled: true });
  const formBox = h("div", {}, h("p", { class: "nv-note" }, "Reading the config's fields …"));
  const head = h("div", { class: "nv-jobhead" });
  const meter = h("progress", { "aria-label": "Epochs done" });
  const where = h("span", { class: "nv-mono nv-jobtold" });
  const said = h("p", { class: "nv-note" });
  const plot = curves();
  const log = h("pre", { class: "nv-joblog", tabindex: 0, role: "log", "aria-label": "End of the log" });
  const command = h("code", {});
  const jobBody = h("div", { class: "nv-jobbody" }, head, h("div", { class: "nv-job", role: "status" }, meter, where), said, plot.node,
    h("details", { open: true }, h("summary", {}, "Log"), log), h("details", {}, h("summary", {}, "The same as a command"), h("div", { class: "nv-command" }, command)));
  const nothing = h("p", { class: "nv-note" }, "No job yet. Fill in the form and press Start training; it goes on when this page is closed.");
  const jobPanel = panel("This job", "read from its logs every second", nothing, jobBody);
  const table = jobTable({ choose, act, compare });
  const diff = h("div");
  const jobsPanel = panel("Jobs", "one at a time per device, first come, first served", table.node, diff);
  jobsPanel.hidden = true;
  const view = h("div", { class: "nv-trainview" },
    panel("New training", "every field is the config's own", formBox, h("div", { class: "nv-formfoot" }, begin, measure), expected, trouble),
    h("div", { class: "nv-stack" }, jobPanel, jobsPanel));

  let form = null;
  let facts = null;
  let jobs = [];
  let chosen = null;
  let looking = false;
  let timer = 0;
  const busy = new Set(); // buttons whose answer is awaited
  let changes = 0; // that the user made to the form
  jobBody.hidden = true;

  async function open() {
    if (state.tab !== "train") return;
    if (view.parentNode !== root) replace(root, view);
    if (!facts) {
      try {
        facts = await getJSON("/neurovis/train/form");
        form = trainForm(facts, formTold);
        form.setTaken(jobs.map((job) => job.title));
        replace(formBox, form.node);
      } catch (error) {
        replace(formBox, h("p", { class: "nv-note nv-broken" }, error.message));
      }
    }
    look();
  }

  // An estimate holds until the user changes the form; that a job came or went is no such change.
  function formTold(wrong, changed) {
    for (const one of [begin, measure]) one.disabled = busy.has(one) || Boolean(wrong) || !server;
    if (!changed) return;
    changes += 1;
    expected.textContent = "";
  }

  async function look() {
    clearTimeout(timer);
    if (looking || state.tab !== "train") return;
    looking = true;
    try {
      if (!document.hidden) await refresh();
    } catch (error) {
      said.textContent = `The server does not answer (${error.message}); jobs go on without it.`;
    } finally {
      looking = false;
      timer = setTimeout(look, PACE);
    }
  }

  async function refresh() {
    jobs = await getJSON("/neurovis/train/jobs");
    if (!busy.has(begin)) form?.setTaken(jobs.map((job) => job.title));
    const simulated = (job) => facts?.datasets.find((one) => one.name === job.config.dataset)?.simulated;
    table.draw(jobs, simulated);
    const wanted = jobs.find((job) => job.id === chosen) ?? jobs.find((job) => job.state === "running") ?? jobs[0];
    nothing.hidden = Boolean(wanted);
    jobBody.hidden = jobsPanel.hidden = !wanted;
    if (!wanted) return;
    table.mark(wanted.id);
    drawJob(await getJSON(`/neurovis/train/jobs/${wanted.id}`), simulated(wanted));
  }

  function drawJob(job, simulated) {
    const p = job.progress;
    const key = JSON.stringify([job.id, job.state, simulated, job.attempt]);
    if (head.dataset.key !== key) {
      head.dataset.key = key;
      replace(head, h("b", {}, `${job.id}. ${job.title}`), h("span", { class: "nv-badge nv-state", "data-state": job.state }, job.state), simulated ? h("span", { class: "nv-badge nv-warn" }, "Simulated data") : null, h("span", { class: "nv-note" }, `${job.device}${job.attempt > 1 ? ` · attempt ${job.attempt}` : ""}`));
    }
    const [done, all] = job.kind === "train" ? [p.done, p.all] : [p.told_done, p.told_total];
    meter.hidden = !all || job.state === "queued";
    if (all) Object.assign(meter, { max: all, value: job.state === "done" ? all : done });
    const since = job.started ? clockTime((job.ended ?? Date.now() / 1000) - job.started) : "";
    const losses = [typeof p.loss === "number" ? `loss ${number(p.loss)}` : "", typeof p.score === "number" ? `held-out ${number(p.score)}` : ""].filter(Boolean);
    where.textContent = [job.state === "done" ? "finished" : told(job), ...(job.kind === "train" ? losses : []), since].filter(Boolean).join(" · ");
    said.textContent = job.state === "running" || job.state === "queued" ? "" : job.message;
    said.classList.toggle("nv-broken", ["failed", "lost"].includes(job.state));
    plot.draw(job);
    const text = job.log.map((line) => `${line.time ? new Date(line.time * 1000).toTimeString().slice(0, 8) : "        "}  ${line.text}`).join("\n");
    if (log.textContent !== text) {
      const follow = log.scrollTop + log.clientHeight >= log.scrollHeight - 20;
      log.textContent = text;
      if (follow) log.scrollTop = log.scrollHeight;
    }
    command.textContent = job.command;
  }

  function choose(id) {
    chosen = id;
    write({ job: id });
    refresh().catch(() => {});
  }

  async function ask(work) {
    trouble.textContent = "";
    try {
      const found = await work();
      if (found.error) trouble.textContent = found.error;
      return found.error ? null : found;
    } catch (error) {
      trouble.textContent = `The server did not answer: ${error.message}`;
      return null;
    }
  }

  // Ask about what the form holds; the button rests until the answer is there.
  async function askForm(node, call) {
    busy.add(node);
    node.disabled = true;
    const found = await ask(() => call(form.values()));
    busy.delete(node);
    formTold(form.problems(), false);
    return found;
  }

  async function send() {
    const job = await askForm(begin, (values) => server.start(values));
    if (!job) return;
    form.used([...jobs.map((one) => one.title), job.title]);
    choose(job.id);
  }

  async function estimate() {
    const before = changes;
    expected.textContent = "Some steps are tried on some of the clips; this takes up to a minute …";
    const found = await askForm(measure, (values) => server.estimate(values));
    if (before !== changes) return void (expected.textContent = "The form was changed while this was measured; estimate again.");
    if (!found) return void (expected.textContent = "");
    const steps = Object.entries(found.steps).filter(([, s]) => s).map(([kind, s]) => `${kind.toUpperCase()} ${number(s * 1000, 0)} ms a step`).join(", ");
    replace(expected, h("b", {}, `About ${clockTime(found.seconds)}`), `, ${bytes(found.memory)} of memory (${bytes(found.free_memory)} free), ${bytes(found.disk)} on disk (${bytes(found.free_disk)} free). `,
      `Measured now: ${steps}; a ridge start comes on top.`);
    return undefined;
  }

  async function act(word, job, subject) {
    const calls = { cancel: () => server.cancel(job.id), resume: () => server.resume(job.id), render: () => server.render({ id: job.id, subject }) };
    const found = await ask(calls[word]);
    if (found) choose(found.id);
    table.say(trouble.textContent);
  }

  async function compare(pair) {
    if (pair.length !== 2) return void replace(diff);
    const [first, second] = pair.map((id) => jobs.find((job) => job.id === id));
    const rows = await getJSON(`/neurovis/train/compare/${first.id}/${second.id}`).catch(() => null);
    if (!rows) return void replace(diff, h("p", { class: "nv-note nv-broken" }, "The two jobs could not be compared."));
    const show = (value) => h("td", {}, value === undefined || value === null ? "–" : Array.isArray(value) && !value.length ? "all" : typeof value === "string" ? value : JSON.stringify(value));
    replace(diff, h("h3", { class: "nv-sub" }, `What sets ${first.id} and ${second.id} apart`), rows.length ? h("div", { class: "nv-tablebox nv-diff" }, h("div", { class: "nv-scroll", tabindex: 0, role: "region", "aria-label": "Settings that differ" }, h("table", {},
      h("thead", {}, h("tr", {}, h("th", {}, "setting"), h("th", {}, `${first.id}. ${first.title}`), h("th", {}, `${second.id}. ${second.title}`))),
      h("tbody", {}, rows.map((row) => h("tr", {}, h("th", {}, row.name), row.values.map(show))))))) : h("p", { class: "nv-note" }, "Nothing: both have the same settings."));
    return undefined;
  }

  reading((query) => { chosen = Number(query.get("job")) || null; });
  on("tab", open);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  start();
  open();
}
