// The table of jobs: newest first, with what can be done to each; two can be ticked to be compared.

import { button, h, number, replace } from "./dom.js";

const ended = (job) => ["cancelled", "failed", "lost"].includes(job.state);
const hasCortex = () => Boolean(document.querySelector("#nv-view-cortex, #nv-tab-cortex"));

// How far a job is, in words.
export function told(job) {
  const p = job.progress;
  if (job.state === "queued") return job.message || "waits for its turn";
  if (p.stage) return `${p.stage} · stage ${p.number} of ${p.count} · epoch ${p.epoch} of ${p.total}`;
  return p.what || job.message || "starting";
}

export function jobTable({ choose, act, compare }) {
  const body = h("tbody", {});
  const said = h("p", { class: "nv-note nv-broken", role: "alert" });
  const hint = h("p", { class: "nv-note" }, "Tick two trainings to see which of their settings differ.");
  const node = h("div", { class: "nv-tablebox nv-jobs" }, h("div", { class: "nv-scroll", tabindex: 0, role: "region", "aria-label": "Jobs" }, h("table", {},
    h("thead", {}, h("tr", {}, ["Job", "State", "Data", "Preset", "How far", "Held-out score"].map((name) => h("th", {}, name)))), body)), hint, said);
  const rows = new Map();
  let ticked = [];

  function row(job) {
    const tick = h("input", { type: "checkbox", "aria-label": `Compare job ${job.id}`, hidden: job.kind !== "train", onchange: () => pick(job.id, tick.checked) });
    const open = button(`Show job ${job.id}`, `${job.id}. ${job.title}`, () => choose(job.id), { class: "nv-link" });
    const cells = { state: h("td"), data: h("td"), preset: h("td"), far: h("td"), score: h("td") };
    const word = (name, label, wanted) => Object.assign(button(`${label} job ${job.id}`, label, (event) => run(event.currentTarget, name), { class: "nv-small" }), { wanted });
    const actions = [word("cancel", "Cancel", (one) => one.state === "queued" || one.state === "running"), word("resume", "Resume", ended)];
    const links = h("span", { class: "nv-joblinks" });
    const line = h("tr", { "data-job": job.id }, h("th", {}, h("div", {}, tick, open), h("div", { class: "nv-joblinks" }, actions, links)), Object.values(cells));
    let now = job;
    async function run(target, name) {
      target.disabled = true;
      await act(name, now);
      target.disabled = false;
    }
    let drawn = "";
    function draw(one, children, simulated) {
      now = one;
      const key = JSON.stringify([one, children, simulated, hasCortex()]);
      if (key === drawn) return;
      drawn = key;
      line.dataset.state = one.state;
      replace(cells.state, h("span", { class: "nv-badge nv-state", "data-state": one.state }, one.state));
      replace(cells.data, one.config.dataset, simulated ? h("small", {}, "simulated") : null);
      replace(cells.preset, one.kind === "train" ? one.config.method : h("span", {}, "rendering of job ", one.parent));
      replace(cells.far, one.state === "done" ? "finished" : one.state === "queued" || one.state === "running" ? told(one) : h("span", { title: one.message }, told({ ...one, state: "running" })));
      const best = Object.entries(one.scores).filter(([, value]) => typeof value === "number");
      replace(cells.score, best.length ? best.map(([name, value]) => h("small", { title: "Best score on held-out training runs; chosen on them, so not a test result" }, `${name.replace("-all", "")} ${number(value)}`)) : "–");
      for (const action of actions) action.hidden = !action.wanted(one);
      replace(links, made(one, children));
    }
    return { line, draw, tick };
  }

  // What can be done with a result: render it, look at it.
  function made(job, children) {
    const view = (name, tab) => `/?run=${encodeURIComponent(name)}${tab ? `&tab=${tab}` : ""}`;
    if (job.kind === "reconstruct") return job.state === "done" ? looks(job.title, view) : null;
    if (job.state !== "done") return null;
    return job.subjects.map((subject) => {
      const child = children.find((one) => one.config.subject === subject && one.state === "done");
      if (child) return looks(child.title, view, subject);
      const busy = children.some((one) => one.config.subject === subject && ["queued", "running"].includes(one.state));
      return button(`Decode and render 4 test clips of ${subject} with the decoders of job ${job.id}`, busy ? `Rendering ${subject} …` : `Render ${subject}`, () => act("render", job, subject), { class: "nv-small", disabled: busy });
    });
  }
  const looks = (name, view, subject = "") => [
    h("a", { class: "nv-small", href: view(name), "aria-label": `Open ${name} in Explore` }, `Open ${subject} in Explore`.replace("  ", " ")),
    hasCortex() ? h("a", { class: "nv-small", href: view(name, "cortex"), "aria-label": `Show ${name} on the Cortex` }, "Show on Cortex") : null];

  function pick(id, isOn) {
    ticked = isOn ? [...ticked, id].slice(-2) : ticked.filter((one) => one !== id);
    for (const [number_, one] of rows) one.tick.checked = ticked.includes(number_);
    compare([...ticked].sort((a, b) => a - b));
  }

  return {
    node,
    draw(jobs, simulated) {
      node.hidden = !jobs.length;
      hint.hidden = jobs.filter((job) => job.kind === "train").length < 2;
      for (const job of jobs) if (!rows.has(job.id)) rows.set(job.id, row(job));
      const order = jobs.map((job) => rows.get(job.id).line);
      if (order.length !== body.children.length || order.some((line, i) => line !== body.children[i])) replace(body, order);
      for (const job of jobs) rows.get(job.id).draw(job, jobs.filter((one) => one.parent === job.id), simulated(job));
    },
    mark(id) { for (const [one, { line }] of rows) line.setAttribute("aria-selected", one === id); },
    say(text) { said.textContent = text; },
  };
}
