// What the server has to compute first: started, told of, stopped, and begun again.

import { button, h, replace } from "./dom.js";
import { state } from "./state.js";
import { view } from "./cortexstate.js";

export function computing(server, onready) {
  const node = h("div", { class: "nv-live nv-cxwork", id: "nv-cortex-work", "aria-live": "polite", hidden: true });
  let timer = null;
  let job = null; // its key on the server
  let wanted = null; // what is waited for
  const bar = h("progress", { max: 1, "aria-label": "Computing" });
  const said = h("p", { class: "nv-mono" });
  const halt = button("Stop computing", "Stop", stop, { class: "nv-small" });
  const refused = new Set(); // what was stopped or failed, not to be begun by itself again

  const nameOf = (need) => [state.run.name, need.missing, need.recording ? "recording" : view.statistic].join("/");

  // Begin what is missing, unless it takes long, was stopped, or is under way; null: nothing is missing.
  async function need(what) {
    clearTimeout(timer);
    wanted = what;
    node.hidden = !what;
    if (!what) return;
    const name = nameOf(what);
    if (what.job) return void watch(what.job);
    if (refused.has(name)) return;
    if (!what.recording && what.info.statistics[view.statistic].slow) return void offer("This statistic decodes the validation runs again for every area, which takes minutes.", "Compute it");
    await begin();
  }

  function offer(text, title) {
    replace(node, h("p", {}, text), button(title, title, begin, { class: "nv-primary" }));
  }

  async function begin() {
    const need = wanted;
    refused.delete(nameOf(need));
    replace(node, h("p", {}, "Starting …"));
    if (!server) return void offer("The server cannot be reached for a computation; reload the page.", "Try again");
    try {
      const told = await server.compute({ run: state.run.name, subject: need.missing, statistic: need.recording ? "recording" : view.statistic });
      if (need === wanted) watch(told);
    } catch (error) {
      offer(`The server did not answer (${error.message ?? error}).`, "Try again");
    }
  }

  function watch(told) {
    if (told.state === "done") return void onready();
    if (told.state === "failed" || told.state === "stopped") {
      refused.add(nameOf(wanted));
      return void offer(told.state === "stopped" ? "Stopped; nothing was kept." : told.message, told.state === "stopped" ? "Compute it" : "Try again");
    }
    job = told.key ?? job;
    const share = told.total ? told.done / told.total : null;
    const about = `${wanted.missing}: ${told.message}${told.total ? ` (${Math.round(share * 100)} %)` : ""}, ${Math.round(told.seconds ?? 0)} s`;
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
    said.textContent = about;
    // Made once and told anew: a button that is replaced all the time can be neither clicked nor kept in focus.
    if (halt.parentNode !== node) replace(node, h("p", {}, "Computing on this machine, once; it is kept for the next time."), bar, said, halt);
    timer = setTimeout(ask, 400);
    return undefined;
  }

  async function ask() {
    const need = wanted;
    try {
      const told = await server.progress(job);
      if (need === wanted && need) watch(told);
    } catch {
      if (need === wanted && need) timer = setTimeout(ask, 2000);
    }
  }

  async function stop() {
    const need = wanted;
    clearTimeout(timer);
    replace(node, h("p", {}, "Stopping …"));
    await server.stop(job).catch(() => {}); // what became of it is asked next
    if (need === wanted) timer = setTimeout(ask, 300);
  }
  return { node, need };
}
