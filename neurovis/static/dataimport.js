// Import: a folder is examined, the doctor's report is read, a name and options are chosen, and it is brought in.

import { button, h, panel, replace } from "./dom.js";
import { csv, download } from "./charts.js";
import { commandLine } from "./datacommand.js";
import { optionForm } from "./dataform.js";
import { LAYOUTS, choice, many, remember } from "./datastate.js";

const LEVELS = { error: "error", warning: "warning", info: "note" };

export function importing(server, work) {
  const path = h("input", { type: "text", id: "nv-data-path", placeholder: "/data/study", spellcheck: "false", autocomplete: "off", value: choice.path, "aria-describedby": "nv-data-about" });
  const go = button("Examine this folder", "Examine", () => {}, { type: "submit", class: "nv-primary" });
  const line = h("form", { class: "nv-pathline", onsubmit: (event) => { event.preventDefault(); examine(); } },
    h("label", { for: "nv-data-path" }, "Folder on this machine"), path, go);
  const trouble = h("p", { class: "nv-broken", role: "alert", hidden: true });
  const about = h("p", { class: "nv-note", id: "nv-data-about" }, "CC2017 (raw or preprocessed), the HCP's 7T movies, or BIDS. The folder is read and not changed, and no other is looked at.");
  const found = h("div", { class: "nv-report", hidden: true });
  const bringing = h("div", { class: "nv-bring", hidden: true });
  const node = panel("Import", "examined first, then read into the working folder, whole or not at all", line, trouble, about, found, bringing);
  const form = optionForm(check);
  const name = h("input", { type: "text", id: "nv-data-name", spellcheck: "false", autocomplete: "off", oninput: check });
  const start = button("Import", "Import", bring, { class: "nv-primary" });
  const told = h("p", { class: "nv-note nv-broken", hidden: true });
  const lines = h("div", {});
  let report = null;
  let turn = 0;
  let waiting = 0;

  function open(known) {
    form.open(known.fields);
    for (const part of [path, go]) part.disabled = !known.local;
    if (!known.local) about.textContent = "The server can be reached from other machines, so it reads no folders by path: use python -m pipeline import, or start the app without --host.";
    else if (choice.path) look();
  }

  // A folder that was examined before the page was loaded keeps its report.
  async function look() {
    const kept = await server?.report(choice.path).catch(() => null);
    if (kept) show(kept);
  }

  function fail(message) {
    trouble.hidden = !message;
    trouble.textContent = message;
  }

  async function examine() {
    choice.path = path.value.trim();
    remember();
    found.hidden = bringing.hidden = true;
    report = null;
    fail("");
    fail(await work.begin({ kind: "doctor", path: choice.path }));
  }

  function show(one) {
    report = one;
    found.hidden = false;
    const errors = one.findings.filter((finding) => finding.level === "error").length;
    const warnings = one.findings.filter((finding) => finding.level === "warning").length;
    const simulated = one.facts.simulated;
    replace(found,
      h("h3", { class: "nv-sub" }, "The doctor's report ", simulated ? h("i", { class: "nv-badge nv-warn" }, "Simulated") : null, h("span", {}, `${LAYOUTS[one.layout] ?? one.layout} · ${one.path}`)),
      h("p", { class: "nv-verdict", "data-ok": String(one.ok) }, `${many(errors, "error")}, ${many(warnings, "warning")}: ${one.ok ? "this can be imported." : "mend the errors, or leave out the subjects that they are about."}`),
      general(one.facts), table(one.facts.subjects ?? {}),
      one.findings.length ? h("ul", { class: "nv-findings" }, one.findings.map((finding) => h("li", { "data-level": finding.level },
        h("i", { class: "nv-chip" }, LEVELS[finding.level]), h("span", {}, h("b", {}, finding.where), h("br"), finding.message)))) : null,
      one.findings.length ? h("p", { class: "nv-exports" }, button("Save the findings as CSV", "Findings, CSV", save, { class: "nv-small" })) : null,
      commandLine(one.command));
    const nothing = !Object.keys(one.facts.subjects ?? {}).length;
    bringing.hidden = nothing;
    if (nothing) return;
    if (!name.value) name.value = suggest(one.path);
    form.show(one.layout);
    replace(bringing, h("h3", { class: "nv-sub" }, "Import it"),
      h("div", { class: "nv-nameline" }, h("label", { for: "nv-data-name" }, "Name of the data set"), name), form.node, h("div", { class: "nv-job" }, start, told), lines);
    check();
  }

  const suggest = (text) => text.split("/").pop().toLowerCase().replace(/[^a-z0-9._-]+/g, "-").replace(/^[^a-z0-9]+/, "").slice(0, 64);

  function general(facts) {
    const word = (value) => (value === true ? "yes" : value === false ? "no" : value && typeof value === "object" ? Object.entries(value).map(([key, n]) => `${key} ${n}`).join(", ") : String(value));
    const rows = Object.entries(facts).filter(([key]) => key !== "subjects");
    return h("dl", { class: "nv-datafacts" }, rows.map(([key, value]) => [h("dt", {}, key), h("dd", {}, word(value) || "none")]));
  }

  function table(subjects) {
    const names = Object.keys(subjects);
    if (!names.length) return null;
    const keys = [...new Set(names.flatMap((who) => Object.keys(subjects[who])))];
    const word = (value) => (value === null || value === undefined ? "–" : Array.isArray(value) ? value.join(" × ") : typeof value === "object" ? Object.entries(value).map(([key, n]) => `${n} of ${key}`).join(", ") : typeof value === "number" ? value.toLocaleString("en") : String(value));
    return h("div", { class: "nv-scroll nv-tablebox", tabindex: 0, role: "group", "aria-label": "Subjects found" }, h("table", {},
      h("thead", {}, h("tr", {}, ["subject", ...keys].map((key) => h("th", { scope: "col" }, key.replaceAll("_", " "))))),
      h("tbody", {}, names.map((who) => h("tr", {}, h("th", { scope: "row" }, who), keys.map((key) => h("td", {}, word(subjects[who][key]))))))));
  }

  function save() {
    const rows = [["severity", "where", "finding"], ...report.findings.map((finding) => [LEVELS[finding.level], finding.where, finding.message])];
    download(`doctor_${suggest(report.path)}.csv`, csv(rows));
  }

  const request = () => ({ kind: "import", path: report.path, name: name.value.trim(), options: form.values() });

  // What the import would be is asked of the server while one types.
  function check() {
    clearTimeout(waiting);
    waiting = setTimeout(async () => {
      const mine = ++turn;
      const plan = await server.plan(request()).catch((error) => ({ command: "", fault: `The server did not answer: ${error.message ?? error}` }));
      if (mine !== turn) return;
      told.hidden = !plan.fault;
      told.textContent = plan.fault;
      start.disabled = Boolean(plan.fault);
      replace(lines, plan.command ? commandLine(plan.command) : null);
    }, 120);
  }

  async function bring() {
    const message = await work.begin(request());
    told.hidden = !message;
    told.textContent = message;
  }

  // Brought in: the form is ready for another folder.
  function clear() {
    report = null;
    choice.path = path.value = name.value = "";
    found.hidden = bringing.hidden = true;
    remember();
  }

  return { node, open, show, look, clear, recheck: () => { if (report) check(); } };
}
