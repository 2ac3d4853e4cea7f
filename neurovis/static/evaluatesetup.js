// What is to be scored: runs, convention, judges; how long it would take; the evaluation at work; the same as a command.

import { button, h, icon, panel, replace } from "./dom.js";
import { choice, remember, request, scored } from "./evaluatestate.js";
import { state } from "./state.js";

const ABOUT = { corrected: "what a metric's name means", paper: "what released code computes", both: "the two side by side" };
const CHOICES = ".nv-evalgrid input, .nv-evalgrid button";
const WORKING = ["running"];

export const pace = (seconds) => (seconds < 1.5 ? "about a second" : seconds < 90 ? `about ${Math.round(seconds)} s` : seconds < 5400 ? `about ${Math.round(seconds / 60)} min` : `about ${(seconds / 3600).toFixed(1)} h`);

const spoken = (conventions) => `${conventions.join(" and ")} ${conventions.length > 1 ? "conventions" : "convention"}`;

// Whether an evaluation is of what is chosen here; runs that were scored before are not part of it.
function sameJob(job) {
  const chosen = choice.convention === "both" ? ["corrected", "paper"] : [choice.convention];
  return job.runs.every((name) => choice.runs.includes(name)) && chosen.length === job.conventions.length && chosen.every((one) => job.conventions.includes(one));
}

export function setup(server, changed, ended) {
  const runs = h("div", { class: "nv-evalruns" });
  const options = h("div", { class: "nv-evaloptions" });
  const bar = h("div", { class: "nv-job", role: "status" });
  const lines = h("div", { class: "nv-evalcommands" });
  const node = panel("What is scored", "results are kept; a stopped evaluation goes on where it was", h("div", { class: "nv-evalgrid" }, runs, options), bar, lines);
  let known = null; // what there is to choose from
  let overview = null;
  let estimate = null;
  let job = null;
  let trouble = "";
  let watching = 0;
  let turn = 0;
  let settled = []; // runs that were chosen when the tab was opened: a tick does not move its own row

  function open(choices) {
    known = choices;
    settled = [...choice.runs];
    draw();
    find();
  }

  // An evaluation that is at work on the server is found again when the page is loaded.
  async function find() {
    const mine = ++watching;
    const found = await server?.progress({}).catch(() => null);
    if (mine === watching && found && WORKING.includes(found.state)) watch(found, mine);
  }

  function show(fresh) {
    overview = fresh;
    trouble = "";
    estimate = null;
    draw();
    ask();
  }

  function fail(message) {
    overview = null;
    trouble = message;
    draw();
  }

  async function ask() {
    const mine = ++turn;
    if (!server || !choice.runs.length) return;
    const found = await server.estimate(request()).catch(() => null);
    if (mine !== turn) return;
    estimate = found;
    drawBar();
  }

  async function begin(more = {}) {
    const mine = ++watching;
    trouble = "";
    job = { state: "running", message: "asking the server", done: 0, total: 0, seconds: 0 };
    drawBar();
    const found = await server.score(request(more)).catch((error) => ({ state: "failed", message: `The server did not answer: ${error.message}` }));
    if (mine === watching) watch(found, mine);
  }

  async function watch(first, mine) {
    let found = first;
    let lost = 0;
    while (WORKING.includes(found.state)) {
      if (job?.run && found.run !== job.run && !found.trial) ended();
      job = found;
      drawBar();
      await new Promise((resolve) => setTimeout(resolve, 500));
      if (mine !== watching) return;
      const answer = await server.progress({}).catch(() => null);
      lost = answer ? 0 : lost + 1;
      found = answer ?? (lost < 10 ? found : { state: "failed", message: "The server does not answer; reload the page when it is there again." });
    }
    job = null;
    if (mine !== watching) return;
    await ended();
    const told = [...(found.notes ?? []), ...Object.values(found.errors ?? {})];
    if (found.state !== "done") told.unshift(found.message);
    trouble = [...new Set(told)].filter((text, i, all) => !all.some((other, j) => j !== i && other.includes(text))).join(" · ");
    drawBar();
    ask();
  }

  const stateOf = (name) => overview?.runs.find((one) => one.run === name);

  function draw() {
    if (!known) return;
    const held = [...node.querySelectorAll(CHOICES)].indexOf(document.activeElement); // choices are made anew, in one order
    const ordered = [...known.runs].sort((a, b) => rank(a) - rank(b));
    replace(runs, h("h3", { class: "nv-sub" }, "Runs ", h("span", {}, `${choice.runs.length} of ${ordered.length} chosen`)),
      h("div", { class: "nv-evallist", role: "group", "aria-label": "Runs to score" }, ordered.map(runRow)));
    replace(options, h("h3", { class: "nv-sub" }, "Convention"),
      h("div", { class: "nv-segments", role: "group", "aria-label": "Convention" }, known.conventions.map((key) =>
        button(`${key}: ${ABOUT[key]}`, key, () => { choice.convention = key; change(); }, { "aria-pressed": String(choice.convention === key) }))),
      h("p", { class: "nv-note" }, ABOUT[choice.convention]),
      h("h3", { class: "nv-sub" }, "Judges"), known.judges.map(judgeRow),
      h("h3", { class: "nv-sub" }, "And"),
      tick("Five controls", "the truth itself, blurred, grey, reversed, and another clip: what a score is worth", choice.controls, (on) => { choice.controls = on; change(); }),
      tick("Shuffle test", "100 orders of each clip's frames, for the chance also against another clip's truth: most of the time that scoring takes", choice.shuffle, (on) => { choice.shuffle = on; change(); }));
    if (held >= 0) node.querySelectorAll(CHOICES)[held]?.focus();
    drawBar();
    replace(lines, (overview?.commands ?? []).map((line) => h("div", { class: "nv-command" }, h("code", {}, line), button("Copy the command", icon("copy"), (event) => copy(event, line)))));
  }

  // The open run first, then the chosen ones.
  const rank = (run) => (run.name === state.run?.name ? 0 : choice.runs.includes(run.name) && settled.includes(run.name) ? 1 : 2);

  function change() {
    remember();
    draw();
    changed();
  }

  function runRow(run) {
    const one = choice.runs.includes(run.name) ? stateOf(run.name) : null;
    const reason = run.reason ?? (["impossible", "damaged"].includes(one?.state) ? one.reason : null);
    const told = { scored: "scored", partial: `${one?.done} of ${one?.total} clips`, none: "not scored yet", damaged: "damaged", impossible: "" }[one?.state];
    return h("label", { class: "nv-tick", "data-run": run.name },
      h("input", { type: "checkbox", checked: choice.runs.includes(run.name), disabled: Boolean(run.reason), onchange: (event) => toggle(run.name, event.target.checked) }),
      h("span", {}, h("b", {}, run.title ?? run.name), h("small", {}, [run.name, run.dataset, run.subject, run.n_clips && `${run.n_clips} clips`].filter(Boolean).join(" · ")),
        reason ? h("small", { class: "nv-broken" }, reason) : null),
      run.simulated ? h("i", { class: "nv-badge nv-warn" }, "Simulated") : null, told ? h("i", { class: "nv-chip" }, told) : null);
  }

  function toggle(name, on) {
    choice.runs = on ? [...choice.runs, name] : choice.runs.filter((one) => one !== name);
    change();
  }

  function judgeRow(judge) {
    const real = judge.only_simulated && choice.runs.some((name) => !known.runs.find((run) => run.name === name)?.simulated);
    const about = judge.reason ?? [judge.names.join(", "), judge.note, real ? "they know only simulated data, so other runs are scored without them" : null].filter(Boolean).join(" · ");
    return tick(judge.key, about, (choice.judges ?? []).includes(judge.key), (on) => {
      choice.judges = on ? [...(choice.judges ?? []), judge.key] : choice.judges.filter((key) => key !== judge.key);
      change();
    }, Boolean(judge.reason));
  }

  function tick(title, about, checked, onchange, disabled = false) {
    return h("label", { class: "nv-tick" }, h("input", { type: "checkbox", checked, disabled, onchange: (event) => onchange(event.target.checked) }), h("span", {}, h("b", {}, title), h("small", {}, about)));
  }

  function drawBar() {
    if (job) return drawJob();
    const open = (overview?.runs ?? []).filter((one) => ["none", "partial", "damaged"].includes(one.state));
    const nothing = !choice.runs.length ? "Tick a run to score it." : !server ? "The server's functions are not at hand." : "";
    const done = scored(overview).length;
    const seconds = estimate?.seconds;
    const told = seconds ? `${pace(seconds)} for ${estimate.clips} clips, by ${estimate.told} measured here` : open.length && estimate ? `${estimate.clips} clips; how long it takes was not measured here yet` : "";
    replace(bar, open.length ? button("Score", open.some((one) => one.state === "partial") ? "Go on scoring" : "Score", () => begin(), { class: "nv-primary", disabled: Boolean(nothing) }) : null,
      open.length && estimate && seconds === null ? button("Measure how long it takes", "Time two clips", () => begin({ trial: true }), { class: "nv-small" }) : null,
      h("span", { class: "nv-note" }, nothing || told || (done ? `${done === 1 ? "This run is" : `All ${done} runs are`} scored under these settings.` : "")),
      !open.length && done ? button("Throw these results away and score from the start", "Score again", () => begin({ again: true }), { class: "nv-small" }) : null,
      trouble ? h("span", { class: "nv-note nv-broken", role: "alert" }, trouble) : null);
    return undefined;
  }

  // Made once and told anew: a button that is replaced twice a second can be neither clicked nor kept in focus.
  const progress = h("progress", { "aria-label": "Clips scored" });
  const counted = h("span", { class: "nv-mono nv-evalcount" });
  const message = h("span", { class: "nv-note" });
  const atWork = h("span", { class: "nv-note nv-atwork" });
  const halt = button("Stop; finished clips are kept", "Stop", () => server.stop({}).catch(() => {}), { class: "nv-small" });

  function drawJob() {
    const left = job.left ? ` · ${pace(job.left)} left` : "";
    const share = job.total && !job.trial ? { max: job.total, value: job.done } : null;
    if (share) Object.assign(progress, share);
    else progress.removeAttribute("value");
    counted.textContent = `${job.trial || !job.total ? "" : `${job.done} of ${job.total} clips · `}${Math.round(job.seconds)} s${left}`;
    message.textContent = [job.run, job.message].filter(Boolean).join(": ");
    // Another page may have started it, of other runs than the ones that are ticked on this one.
    const what = job.runs?.length ? `${job.runs.join(", ")}; ${spoken(job.conventions)}` : "";
    const other = what && !sameJob(job) ? " Not what is chosen here: one evaluation is at work at a time." : "";
    replace(atWork, what ? [`${job.trial ? "Timing" : "Scoring"} now: `, h("b", {}, what), `.${other}`] : null);
    const label = what ? `Stop scoring ${what}; finished clips are kept` : "Stop; finished clips are kept";
    halt.setAttribute("aria-label", label);
    halt.title = label;
    if (halt.parentNode !== bar) replace(bar, atWork, progress, counted, halt, message);
    return undefined;
  }

  return { node, open, show, fail, draw };
}

async function copy(event, text) {
  const target = event.currentTarget;
  await navigator.clipboard?.writeText(text).catch(() => {});
  target.dataset.done = "yes";
  setTimeout(() => delete target.dataset.done, 1200);
}
