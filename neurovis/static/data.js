// Data: the data sets on this machine, importing another, and how good each subject's recording is.

import { getJSON, h, replace } from "./dom.js";
import { cards } from "./datacards.js";
import { importing } from "./dataimport.js";
import { jobs } from "./datajob.js";
import { quality } from "./dataquality.js";
import { choice, remember } from "./datastate.js";
import { on, start, state } from "./state.js";

export function mount(root, server) {
  const work = jobs(server, ended);
  const list = cards(choose, make);
  const bring = importing(server, work);
  const shown = quality(work);
  const trouble = h("p", { class: "nv-broken", role: "alert", hidden: true });
  const view = h("div", { class: "nv-dataview" }, work.node, trouble, list.node, bring.node, shown.node);
  let known = null;
  let opened = false;
  let lost = ""; // what the address named and there is not
  let turn = 0;

  // Every opening reads the cards again: a command may have imported something meanwhile.
  function open() {
    if (state.tab !== "data") return;
    if (!view.isConnected) replace(root, view);
    load();
  }

  // Read the cards again, and show the subject that is chosen, else the first that is at hand.
  async function load() {
    const mine = ++turn;
    try {
      const found = await getJSON("/neurovis/data");
      if (mine !== turn) return undefined;
      known = found;
    } catch (error) {
      if (mine === turn) fail(error.message);
      return undefined;
    }
    settle();
    fail(lost);
    list.show(known);
    remember();
    if (!opened) {
      opened = true;
      bring.open(known);
      work.find();
    }
    return shown.show();
  }

  function settle() {
    const ready = known.cards.filter((card) => card.subjects.length);
    const card = ready.find((one) => one.name === choice.dataset) ?? ready.find((one) => one.name === state.run?.dataset) ?? ready[0];
    if (choice.dataset && card?.name !== choice.dataset) lost = `No data set called ${choice.dataset} is at hand here; ${card ? `${card.name} is shown` : "make or import one"}.`;
    choice.dataset = card?.name ?? "";
    if (!card?.subjects.some((who) => who.subject === choice.subject)) choice.subject = card?.subjects[0]?.subject ?? "";
  }

  function fail(message) {
    trouble.hidden = !message;
    trouble.textContent = message;
  }

  function choose(dataset, subject) {
    Object.assign(choice, { dataset, subject, slice: null });
    fail(lost = "");
    remember();
    list.show(known);
    shown.show();
    shown.node.scrollIntoView({ block: "nearest" });
  }

  async function make(dataset) {
    fail(await work.begin({ kind: "make", dataset }));
  }

  // What was done decides what is looked at next.
  async function ended(job) {
    if (job.kind === "doctor") {
      if (job.state === "done") await bring.look();
      return;
    }
    if (job.state === "done" && job.result.dataset) {
      choice.dataset = job.result.dataset;
      choice.subject = job.result.subject ?? choice.subject;
    }
    if (job.state === "done" && job.kind === "import") bring.clear();
    await load();
    bring.recheck();
  }

  on("tab", open);
  on("return", () => { if (state.tab === "data" && known) load(); });
  on("runs", () => { if (known) list.show(known); });
  open();
  if (!state.loaded) start();
}
