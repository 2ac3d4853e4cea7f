// One card a data set: where it is, who is in it, what is missing and what to do about it.

import { button, h, panel, replace } from "./dom.js";
import { commandLine } from "./datacommand.js";
import { LAYOUTS, SPACES, choice, count, many, size } from "./datastate.js";
import { pace } from "./evaluatesetup.js";
import { state } from "./state.js";

export function cards(choose, make) {
  const list = h("div", { class: "nv-datacards" });
  const node = panel("Data sets", "on this machine only; nothing is sent anywhere", list);

  function show(found) {
    replace(list, found.cards.map(card));
  }

  function card(one) {
    const mark = one.damaged ? ["damaged", "nv-bad"] : !one.ready ? ["not made yet", ""] : null;
    return h("article", { class: "nv-datacard", "data-name": one.name, "data-chosen": String(one.name === choice.dataset) },
      h("header", {}, h("h3", {}, one.name), one.simulated ? h("i", { class: "nv-badge nv-warn" }, "Simulated") : null,
        one.layout ? h("i", { class: "nv-badge" }, LAYOUTS[one.layout] ?? one.layout) : null, mark ? h("i", { class: `nv-badge ${mark[1]}` }, mark[0]) : null),
      h("p", {}, one.title), facts(one), one.subjects.length ? subjects(one) : null,
      one.needs.map((need) => h("div", { class: "nv-need", "data-need": need.what }, h("p", {}, need.told), need.command ? commandLine(need.command) : null)),
      one.notes.map((note) => h("p", { class: one.damaged ? "nv-note nv-broken" : "nv-note" }, note)), unmade(one), links(one));
  }

  function facts(one) {
    const rows = [
      ["kept in", one.folder], ["imported from", one.built_in ? "" : one.source], ["on disk", one.bytes ? size(one.bytes) : ""],
      ["voxels", SPACES[one.space] ?? ""], ["repetition time", one.tr ? `${one.tr} s` : ""],
    ];
    return h("dl", { class: "nv-datafacts" }, rows.filter(([, value]) => value).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  }

  function subjects(one) {
    const row = (who) => {
      const pressed = one.name === choice.dataset && who.subject === choice.subject;
      const clips = ["train", "val", "test"].filter((split) => who.n_clips[split]).map((split) => `${count(who.n_clips[split])} ${split}`).join(", ");
      const repeats = Object.values(who.n_repeats).join(" / ");
      return h("tr", {},
        h("th", { scope: "row" }, button(`Quality of ${one.name} ${who.subject}`, who.subject, () => choose(one.name, who.subject), { class: "nv-small", "aria-pressed": String(pressed) })),
        h("td", {}, count(who.n_voxels), h("small", {}, `of ${count(who.n_voxels_seen)}`)), h("td", {}, who.n_runs), h("td", {}, count(who.n_clips.all), h("small", {}, clips)),
        h("td", {}, repeats), h("td", {}, worded(who)));
    };
    return h("div", { class: "nv-scroll nv-tablebox", tabindex: 0, role: "group", "aria-label": `Subjects of ${one.name}` }, h("table", {},
      h("thead", {}, h("tr", {}, ["subject", "voxels", "runs", "clips", "repeats", "captions"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, one.subjects.map(row))));
  }

  // How many levels have a caption for every clip.
  function worded(who) {
    const whole = Object.values(who.worded).filter((n) => n === who.n_clips.all).length;
    return whole ? `${whole} of 4` : "none";
  }

  function unmade(one) {
    if (!one.unmade.length) return null;
    const { bytes, seconds, told, command } = one.estimate;
    const time = seconds ? `, ${pace(seconds)} (${told})` : "; how long it takes was not measured on this machine yet";
    const who = one.subjects.length ? `${one.unmade.join(", ")} not made yet. All of it: ` : "Made here, nothing is downloaded: ";
    return h("div", { class: "nv-need", "data-need": "make" }, h("p", {}, `${who}about ${size(bytes)} on disk${time}. A command that needs it makes it by itself.`),
      button(`Make ${one.name}`, "Make it now", () => make(one.name), { class: "nv-small" }), commandLine(command));
  }

  function links(one) {
    const run = (state.runs ?? []).find((found) => !found.error && found.dataset === one.name);
    const train = one.ready && document.querySelector("[id^=nv-tab-train]");
    const query = new URLSearchParams({ dataset: one.name });
    return run || train ? h("p", { class: "nv-exports" },
      train ? h("a", { class: "nv-small", href: `?tab=train&${query}` }, "Open in Train") : null,
      run ? h("a", { class: "nv-small", href: `?run=${encodeURIComponent(run.name)}&tab=cortex` }, "Show on Cortex") : null,
      h("span", {}, run ? `${many(state.runs.filter((found) => found.dataset === one.name).length, "run")} of it` : "")) : null;
  }

  return { node, show };
}
