// Evaluate: choose runs and score them; the table, the error budget, clips one by one, and tests between runs.

import { reading } from "./address.js";
import { getJSON, h, replace } from "./dom.js";
import { choice, query, remember } from "./evaluatestate.js";
import { errorbudget } from "./evaluatebudget.js";
import { distributions, families, forget, pairs } from "./evaluatepanels.js";
import { setup } from "./evaluatesetup.js";
import { scoretable } from "./evaluatetable.js";
import { hopeless, on, start, state } from "./state.js";
import { empty } from "./empty.js";

export function mount(root, server) {
  const form = setup(server, load, () => { forget(); return load(); });
  const table = scoretable();
  const budget = errorbudget(server);
  const family = families();
  const paired = pairs();
  const clips = distributions(() => { clips.draw(overview); paired.draw(overview); });
  const view = h("div", { class: "nv-evaluate" }, form.node, table.node, clips.node, paired.node, family.node, budget.node);
  let overview = null;
  let opened = null; // the run that was open when runs were chosen
  let known = null; // what there is to choose from
  let turn = 0;

  async function openTab() {
    if (state.tab !== "evaluate" || !state.run) return;
    if (!view.isConnected) replace(root, view);
    if (!known) {
      try {
        known = await (known = getJSON("/neurovis/evaluations/choices"));
      } catch (error) {
        known = null;
        return void replace(root, h("p", { class: "nv-note nv-broken" }, error.message));
      }
      begin();
      form.open(known);
    } else if (!known.runs) {
      return; // on its way
    }
    follow();
    budget.draw();
    load();
  }

  // What the address does not say is chosen for the run that is open.
  function begin() {
    const names = known.runs.filter((run) => !run.reason).map((run) => run.name);
    choice.runs = choice.runs.filter((name) => names.includes(name));
    if (!choice.runs.length && names.includes(state.run.name)) choice.runs = [state.run.name];
    if (choice.judges === null) {
      const simulated = choice.runs.every((name) => known.runs.find((run) => run.name === name).simulated);
      choice.judges = known.judges.filter((judge) => !judge.reason && judge.only_simulated && simulated).map((judge) => judge.key);
    } else choice.judges = choice.judges.filter((key) => known.judges.some((judge) => judge.key === key));
    opened = state.run.name;
  }

  // Another run was opened in the sidebar: it takes the place of the one before where that stood alone.
  function follow() {
    if (opened === state.run.name) return;
    const fits = known.runs.some((run) => run.name === state.run.name && !run.reason);
    if (choice.runs.length <= 1 && (choice.runs[0] ?? opened) === opened) choice.runs = fits ? [state.run.name] : [];
    opened = state.run.name;
    form.draw();
  }

  async function load() {
    const mine = ++turn;
    remember();
    if (!choice.runs.length) return show({ runs: [], published: {}, best: {}, commands: [] });
    try {
      const found = await getJSON(`/neurovis/evaluations?${query()}`);
      if (mine === turn) show(found);
    } catch (error) {
      if (mine === turn) form.fail(error.message);
    }
    return undefined;
  }

  function show(found) {
    overview = found;
    form.show(found);
    table.show(found);
    family.draw(found);
    clips.draw(found);
    paired.draw(found);
    remember();
  }

  // What an entry was left with is not taken for the choice that followed the run before.
  reading((query, again) => { if (again) opened = query.get("run"); });
  on("return", () => {
    if (!known?.runs || !state.run) return;
    begin();
    form.draw();
    if (state.tab === "evaluate") load();
  });
  on("run", openTab);
  on("tab", openTab);
  on("error", () => empty(root));
  on("runs", () => { if (hopeless()) empty(root); });
  if (state.run) openTab();
  else if (hopeless()) empty(root);
  else start();
}
