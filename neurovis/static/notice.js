// Messages above the tabs: what a link asked for and there is not, with what is shown instead; and which weights the
// open run was made with that this machine lacks.

import { button, h, replace } from "./dom.js";
import { on, start, state } from "./state.js";

const short = (text) => (text.length > 60 ? `${text.slice(0, 59)}…` : text);
const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);

// One sentence; `lost` is kind -> name, `shown` kind -> what stands in its place, or nothing.
export function sentence(lost, shown, closed) {
  const asked = Object.entries(lost).map(([kind, name]) => `the ${kind} “${short(name)}”`);
  const instead = Object.keys(lost).flatMap((kind) => (shown[kind] ? [kind === "tab" ? `the ${shown.tab} tab` : `the ${kind} “${short(shown[kind])}”`] : []));
  const why = closed ? "cannot be opened" : `${asked.length > 1 ? "are" : "is"} not here`;
  const told = instead.length ? `; ${listed(instead)} ${instead.length > 1 ? "are" : "is"} shown instead` : "";
  return `This link asks for ${listed(asked)}, which ${why}${told}.`;
}

// A message that can be put away.
function message(name) {
  // The region is there before its text, or a screen reader would not read it out.
  const said = h("p", {});
  const node = h("div", { class: "nv-noticebar", "data-notice": name, "data-empty": "yes" }, h("div", { role: "status", class: "nv-noticetext" }, said),
    button("Put this message away", "×", () => { tell(""); document.querySelector("#nv-tabs [role=tab][aria-selected=true]")?.focus(); }, { class: "nv-away" }));

  function tell(text) {
    if (said.textContent !== text) said.textContent = text;
    node.toggleAttribute("data-empty", !text);
  }

  return { node, tell, told: () => Boolean(said.textContent) };
}

export function mount(root) {
  const link = message("link");
  const weights = message("weights");
  replace(root, link.node, weights.node);
  let stands = {}; // what is shown in place of what was lost
  let warned = null; // the run whose weights were told of

  function draw() {
    const { lost, run, clip, tab } = state;
    const kinds = Object.keys(lost);
    stands = { run: run?.name, clip, tab };
    const closed = kinds.join() === "run" && (state.runs ?? []).some((one) => one.name === lost.run);
    link.tell(kinds.length ? sentence(lost, { ...stands, tab: tab[0].toUpperCase() + tab.slice(1) }, closed) : "");
  }

  // What is "shown instead" holds until something else is chosen.
  function gone() {
    if (link.told() && !stands.clip) return draw(); // no clip had been chosen yet
    const now = { run: state.run?.name, clip: state.clip, tab: state.tab };
    if (["run", ...Object.keys(state.lost)].some((kind) => now[kind] !== stands[kind])) link.tell("");
    return undefined;
  }

  function warn() {
    const { run } = state;
    if (!run || warned === run.name) return;
    warned = run.name;
    weights.tell(run.lacking_weights ? `The weights that this run was rendered with are not on this machine: ${run.lacking_weights}. What is on disk plays; nothing new can be rendered from it.` : "");
  }

  on("lost", draw);
  on("run", warn);
  for (const kind of ["run", "clip", "tab"]) on(kind, gone);
  draw();
  warn();
  start();
}
