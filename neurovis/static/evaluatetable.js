// Runs beside metrics: value, interval, chance and clips; controls and published rows apart; sorting and exports.

import { button, h, number, panel, replace } from "./dom.js";
import { choice, isControl, keyOf, query, remember, scored } from "./evaluatestate.js";

const KINDS = [["published", "published", "Show published figures"]];

export function scoretable() {
  const body = h("div", { class: "nv-evaltable" });
  const node = panel("Runs and metrics", "mean, 95 % interval, chance, clips", body);
  let overview = null;

  function show(fresh) {
    overview = fresh;
    draw();
  }

  function draw() {
    const runs = scored(overview);
    if (!runs.length) return void replace(body, h("p", { class: "nv-note" }, "Nothing is scored yet under these settings. Press Score above; figures appear here as each run is finished."));
    const controls = runs.some((run) => run.scores.some(isControl));
    const conventions = [...new Set(runs.flatMap((run) => run.scores.map((score) => score.convention)))];
    const kinds = [...(controls ? [["controls", "controls", "Show the five controls"]] : []), ...KINDS.filter(() => Object.keys(overview.published).length)];
    replace(body, h("div", { class: "nv-endbar" }, kinds.length ? h("span", { class: "nv-note" }, "Rows shown: runs") : null, kinds.map(([key, title, label]) =>
      button(label, title, () => { choice.hide.has(key) ? choice.hide.delete(key) : choice.hide.add(key); remember(); draw(); }, { class: "nv-small nv-rowswitch", "aria-pressed": String(!choice.hide.has(key)) }))),
    conventions.map((convention) => tableOf(convention, runs)),
    notes(runs), h("div", { class: "nv-exports" }, h("span", {}, "Save"), ["csv", "md", "tex", "parquet", "json"].map((kind) =>
      h("a", { class: "nv-small", download: "", "data-kind": kind, href: `/neurovis/evaluations/export.${kind}?${query(choice.runs, { hide: choice.hide.has("controls") ? "1" : "0" })}` },
        { csv: "CSV", md: "Markdown", tex: "LaTeX", parquet: "Clip by clip (Parquet)", json: "JSON" }[kind]))));
    return undefined;
  }

  function tableOf(convention, runs) {
    const columns = [...new Map(runs.flatMap((run) => run.scores).filter((score) => score.convention === convention).map((score) => [keyOf(score), score])).entries()];
    const rows = runs.map((run) => rowOf(run, "full", convention));
    const others = choice.hide.has("controls") ? [] : controlRows(runs, convention);
    const printed = choice.hide.has("published") ? [] : publishedRows(columns);
    const sorted = (list) => inOrder(list, columns);
    return h("div", {}, h("h3", { class: "nv-sub" }, `Convention ${convention}`, h("span", {}, "a click on a metric sorts")),
      h("div", { class: "nv-tablebox nv-scroll", tabindex: 0, role: "region", "aria-label": `Scores, convention ${convention}` }, h("table", { "data-convention": convention },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Run"), columns.map(([key, score]) => head(key, score)))),
        h("tbody", {}, sorted(rows).map((row) => line(row, columns)), sorted(others).map((row) => line(row, columns)),
          printed.length ? h("tr", { class: "nv-divider" }, h("th", { scope: "row", colspan: columns.length + 1 }, "As published: of other, mixed conventions and other test conditions; for orientation only")) : null,
          sorted(printed).map((row) => line(row, columns))))));
  }

  function rowOf(run, variant, convention) {
    const own = run.scores.filter((score) => score.variant === variant && score.convention === convention);
    return { kind: "run", title: run.run, about: run.source ? `${run.source.method} · ${run.source.subject}` : "", simulated: run.simulated, cells: new Map(own.map((score) => [keyOf(score), score])) };
  }

  // Controls are made from the truth: runs on the same clips have the same ones, which are shown once.
  function controlRows(runs, convention) {
    const found = new Map();
    for (const run of runs) {
      for (const variant of new Set(run.scores.filter(isControl).map((score) => score.variant))) {
        const row = { ...rowOf(run, variant, convention), kind: "control", title: `Control: ${variant.replace("control-", "")}`, about: `clips of ${run.run}` };
        const key = variant + JSON.stringify([...row.cells.values()].map((score) => [score.metric, score.value]));
        if (found.has(key)) found.get(key).about += `, ${run.run}`;
        else found.set(key, row);
      }
    }
    return [...found.values()];
  }

  function publishedRows(columns) {
    const names = [...new Set(columns.flatMap(([, score]) => Object.keys(overview.published[score.metric] ?? {})))];
    return names.map((name) => ({ kind: "published", title: name, about: "as published", cells: new Map(columns.filter(([, score]) => overview.published[score.metric]?.[name] !== undefined)
      .map(([key, score]) => [key, { value: overview.published[score.metric][name] }])) }));
  }

  function inOrder(rows, columns) {
    const key = choice.sort.replace(/^-/, "");
    const score = columns.find(([name]) => name === key)?.[1];
    if (!score) return rows;
    const way = (score.higher_is_better ? -1 : 1) * (choice.sort.startsWith("-") ? -1 : 1);
    const valueOf = (row) => row.cells.get(key)?.value ?? null;
    return [...rows].sort((a, b) => (valueOf(a) === null) - (valueOf(b) === null) || way * (valueOf(a) - valueOf(b)));
  }

  function head(key, score) {
    const [better, worse] = [choice.sort === key, choice.sort === `-${key}`];
    const next = better ? `-${key}` : worse ? "" : key;
    const rising = score.higher_is_better === worse;
    return h("th", { scope: "col", "data-figure": key, "aria-sort": better || worse ? (rising ? "ascending" : "descending") : "none" },
      h("button", { type: "button", title: `Sort by ${score.label}`, onclick: () => { choice.sort = next; remember(); draw(); document.querySelector(`.nv-evaltable [data-figure="${CSS.escape(key)}"] button`)?.focus(); } }, score.label, better || worse ? (rising ? " ▲" : " ▼") : ""),
      score.judge ? h("small", {}, score.judge) : null, h("small", {}, score.higher_is_better ? "higher is better" : "lower is better"));
  }

  function line(row, columns) {
    return h("tr", { "data-kind": row.kind }, h("th", { scope: "row" }, row.title, row.simulated && row.kind === "run" ? h("i", { class: "nv-badge nv-warn" }, "Simulated") : null, h("small", {}, row.about)),
      columns.map(([key]) => cell(row, key)));
  }

  function cell(row, key) {
    const score = row.cells.get(key);
    if (!score) return h("td", {}, "–");
    if (row.kind === "published") return h("td", { title: overview.published_note }, number(score.value));
    const best = row.kind === "run" && overview.best[key] === row.title;
    if (score.value === null) return h("td", { title: score.frames }, "not defined", h("small", {}, `${score.n_undefined} clips`));
    const counted = `${score.n} clips${score.n_undefined ? `, ${score.n_undefined} not defined` : ""}`;
    return h("td", { title: `${counted} · ${score.frames}${score.judge ? ` · ${score.judge}` : ""} · chance over ${score.n_chance} clips${score.n_blocks ? ` · interval over ${score.n_blocks} blocks of neighbouring clips` : ""}`, "data-best": best ? "yes" : null },
      h("b", {}, number(score.value)), best ? h("em", {}, " best") : null, score.interval ? h("small", {}, `${number(score.interval[0])} … ${number(score.interval[1])}`) : null,
      h("small", { class: "nv-chancetold" }, `chance ${score.chance === null ? "not measured" : number(score.chance)}`), h("small", {}, counted));
  }

  function notes(runs) {
    const frames = [...new Set(runs.flatMap((run) => run.scores.map((score) => score.frames)))];
    const said = runs.flatMap((run) => run.notes.map((note) => `${run.run}: ${note}`));
    return h("div", { class: "nv-evalnotes" }, h("p", { class: "nv-note" }, `Frames compared: ${frames.join("; ")}. Intervals: 95 %, bootstrap over clips${runs.some((run) => run.scores.some((score) => score.n_blocks)) ? ", drawn in blocks of neighbours where they follow one another in a film" : ""}. Chance: the same scores for mispaired clips, or the level that the rule has.`),
      overview.best_note ? h("p", { class: "nv-note" }, overview.best_note) : null,
      said.length ? h("details", {}, h("summary", {}, `${said.length} notes on how these runs were scored`), h("ul", {}, said.map((note) => h("li", {}, note)))) : null);
  }

  return { node, show };
}
