// The same as a command: one line with a button that copies it.

import { button, h, icon } from "./dom.js";

export function commandLine(line) {
  return h("div", { class: "nv-command" }, h("code", {}, line), button("Copy the command", icon("copy"), (event) => copy(event, line)));
}

async function copy(event, text) {
  const target = event.currentTarget;
  await navigator.clipboard?.writeText(text).catch(() => {});
  target.dataset.done = "yes";
  setTimeout(() => delete target.dataset.done, 1200);
}
