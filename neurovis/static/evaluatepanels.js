// Below the table of Evaluate: shuffle test and retrieval, clips one by one, and paired tests.

import { getJSON, h, number, panel, replace, signed } from "./dom.js";
import { boxed, intervalplot, saver, scatterplot, stripplot } from "./evaluatecharts.js";
import { choice, figures, isControl, keyOf, marked, nameOf, query, remember, scored } from "./evaluatestate.js";

const note = (text, broken = false) => h("p", { class: `nv-note${broken ? " nv-broken" : ""}` }, text);
const told = (runs) => (runs.every((run) => run.simulated) ? "Simulated data. " : runs.some((run) => run.simulated) ? `Simulated data: ${runs.filter((run) => run.simulated).map((run) => run.run).join(", ")}. ` : "");
const cache = new Map(); // answers of this view, by address; emptied when runs were scored again

export const forget = () => cache.clear();

function ask(path) {
  if (!cache.has(path)) {
    const found = getJSON(path);
    found.catch(() => cache.delete(path));
    cache.set(path, found);
  }
  return cache.get(path);
}

// The figures of one kind over all scored runs and controls: the shuffle test, retrieval.
export function families() {
  const body = h("div", { class: "nv-smallplots" });
  const node = panel("Shuffle test and retrieval", "do random orders of the frames fit the motion better, and is a clip found among others?", body);

  function draw(overview) {
    const runs = scored(overview);
    const wanted = [...figures(overview).entries()].filter(([, score]) => /shuffle|retrieval/.test(score.metric));
    node.hidden = !wanted.length;
    const tested = wanted.some(([, score]) => /shuffle/.test(score.metric));
    replace(body, wanted.map(([key, score]) => {
      const own = runs.flatMap((run) => run.scores.filter((one) => keyOf(one) === key && (one.variant === "full" || (isControl(one) && run === runs[0] && !choice.hide.has("controls"))))
        .map((one) => ({ ...one, title: isControl(one) ? one.variant.replace("control-", "control: ") : run.run, kind: isControl(one) ? "control" : "run" })));
      const plot = intervalplot(own, nameOf(score));
      return h("figure", { "data-metric": score.metric }, h("figcaption", {}, h("b", {}, score.label), h("small", {}, [score.judge, score.convention, score.higher_is_better ? "higher is better" : "lower is better", `${score.n} clips`].filter(Boolean).join(" · "))),
        boxed(plot, nameOf(score)), saver(plot, `evaluation_${score.metric}_${score.convention}${marked(runs)}`));
    }), tested ? note("Shuffle test: a low share is no evidence by itself, as any video that moves smoothly beats most random orders of its own frames. Read it beside its chance (dashed), the same test against other clips' truths.") : null);
  }

  return { node, draw };
}

function picker(label, onchange) {
  return h("select", { "aria-label": label, onchange: (event) => onchange(event.target.value) });
}

// How the clips spread, run by run; a dot leads to its clip.
export function distributions(changed) {
  const figure = picker("Figure", (value) => { choice.figure = value; remember(); changed(); });
  const body = h("div");
  const node = panel("Clip by clip", "a dot is a clip and opens it in Explore; arrow keys walk along", h("div", { class: "nv-endbar" }, figure), body);
  let turn = 0;

  async function draw(overview) {
    const mine = ++turn;
    const runs = scored(overview);
    const known = figures(overview);
    node.hidden = !runs.length;
    if (!runs.length) return;
    if (!known.has(choice.figure)) choice.figure = [...known.keys()].find((key) => key.startsWith("ssim|")) ?? known.keys().next().value;
    const names = [...known.entries()];
    replace(figure, names.map(([key, score]) => h("option", { value: key, selected: key === choice.figure }, `${nameOf(score)}, ${score.convention}`)));
    try {
      const values = await valuesOf(runs);
      if (mine !== turn) return;
      const score = known.get(choice.figure);
      const rows = runs.filter((run) => Object.keys(values[run.run] ?? {}).length).map((run) => {
        const own = run.scores.find((one) => keyOf(one) === choice.figure && one.variant === "full");
        const all = Object.entries(values[run.run]);
        const clips = all.filter(([, value]) => value !== null).map(([clip, value]) => ({ clip, value }));
        return { run: run.run, title: run.run, clips, missing: all.length - clips.length, chance: own?.chance, mean: own?.value };
      });
      if (!rows.some((row) => row.clips.length)) return void replace(body, note("This figure is not defined for any clip."));
      const plot = stripplot(rows, nameOf(score));
      replace(body, boxed(plot, "Clip by clip"), note(`${told(runs)}${score.higher_is_better ? "Higher is better" : "Lower is better"}. Solid line: the run's mean; dashed: chance. Dots are spread up and down so that equal values can be seen.`),
        saver(plot, `evaluation_clips_${score.metric}_${score.convention}${marked(runs)}`));
    } catch (error) {
      if (mine === turn) replace(body, note(error.message, true));
    }
  }

  return { node, draw };
}

function valuesOf(runs) {
  const [metric, of, by] = choice.figure.split("|");
  return ask(`/neurovis/evaluations/clips?${query(runs.map((run) => run.run), { metric, of, by })}`);
}

// Two runs on the same clips: tests of every figure, and a scatter of the chosen one.
export function pairs() {
  const one = picker("First run", (value) => choose(0, value));
  const other = picker("Second run", (value) => choose(1, value));
  const body = h("div", { class: "nv-pairs" });
  const node = panel("Two runs, paired", "the same clips; Wilcoxon's test, Holm's correction over the metrics", h("div", { class: "nv-endbar" }, one, h("span", { class: "nv-note" }, "against"), other), body);
  let overview = null;
  let turn = 0;

  function choose(at, value) {
    choice.versus[at] = value;
    remember();
    draw(overview);
  }

  async function draw(fresh) {
    overview = fresh;
    const mine = ++turn;
    const runs = scored(overview);
    node.hidden = runs.length < 2;
    if (runs.length < 2) return;
    const names = runs.map((run) => run.run);
    const first = names.includes(choice.versus[0]) ? choice.versus[0] : names[0];
    const second = names.includes(choice.versus[1]) && choice.versus[1] !== first ? choice.versus[1] : names.find((name) => name !== first);
    choice.versus = [first, second];
    replace(one, names.map((name) => h("option", { value: name, selected: name === first }, name)));
    replace(other, names.filter((name) => name !== first).map((name) => h("option", { value: name, selected: name === second }, name)));
    const both = [first, second].map((name) => runs.find((run) => run.run === name));
    try {
      const found = await ask(`/neurovis/evaluations/paired?${query([first, second])}`);
      if (mine !== turn) return;
      if (found.reason) return void replace(body, note(found.reason, true));
      replace(body, table(found, first, second, told(both)), h("div", { class: "nv-scattered" }));
      await scatter(body.lastChild, both, first, second, () => mine === turn);
    } catch (error) {
      if (mine === turn) replace(body, note(error.message, true));
    }
  }

  async function scatter(box, both, first, second, still) {
    const values = await valuesOf(both);
    if (!still()) return;
    const score = figures(overview).get(choice.figure);
    const shared = Object.keys(values[first] ?? {}).filter((clip) => typeof values[first][clip] === "number" && typeof values[second]?.[clip] === "number")
      .map((clip) => ({ clip, x: values[first][clip], y: values[second][clip] }));
    if (!shared.length) return void replace(box, note("The two runs share no clip for which this figure is defined."));
    const plot = scatterplot(shared, first, second, nameOf(score));
    replace(box, h("h3", { class: "nv-sub" }, nameOf(score), h("span", {}, `${shared.length} clips that both have; the figure chosen above`)), boxed(plot, "Two runs, clip by clip"), saver(plot, `evaluation_${first}_against_${second}_${score.metric}${marked(both)}`));
    return undefined;
  }

  function table(found, first, second, simulated) {
    return h("div", {}, h("div", { class: "nv-tablebox nv-scroll", tabindex: 0, role: "region", "aria-label": "Paired tests" }, h("table", { class: "nv-pairtable" },
      h("thead", {}, h("tr", {}, ["Metric", "difference", "95 % interval", "corrected p", "clips", "in words"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, found.tests.map((test) => h("tr", { "data-figure": keyOf(test), "data-sure": test.sure ? "yes" : null },
        h("th", { scope: "row" }, test.label, h("small", {}, [test.judge, test.convention].filter(Boolean).join(" · "))), h("td", {}, signed(test.difference)),
        h("td", {}, `${number(test.interval[0])} … ${number(test.interval[1])}`), h("td", { title: `uncorrected ${test.p.toPrecision(3)}, Bonferroni ${test.p_bonferroni.toPrecision(3)}` }, test.p_holm < 0.001 ? "< 0.001" : number(test.p_holm)),
        h("td", { title: test.n_blocks ? `interval and test over ${test.n_blocks} blocks of neighbouring clips` : null }, test.n), h("td", { class: "nv-inwords" }, test.words)))))), note(`${simulated}Difference: ${first} less ${second}, the mean over clips that both have.${found.tests.some((test) => test.n_blocks) ? " Clips that follow one another in a film are not independent: interval and test take blocks of neighbours for one." : ""}`));
  }

  return { node, draw };
}
