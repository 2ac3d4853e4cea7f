// The head of the sidebar: the mark, and the choice of light or dark.

import { button, h, replace } from "./dom.js";
import { on, start } from "./state.js";

const KEY = "neurovis-look";

function look(dark) {
  document.body.classList.toggle("dark", dark);
  document.documentElement.style.colorScheme = dark ? "dark" : "light";
}

export function mount(root, server, trigger) {
  const held = localStorage.getItem(KEY);
  if (held && !new URLSearchParams(location.search).has("__theme")) look(held === "dark");
  const toggle = button("Light or dark", "◐", () => {
    const dark = !document.body.classList.contains("dark");
    localStorage.setItem(KEY, dark ? "dark" : "light");
    look(dark);
  }, { class: "nv-look" });
  replace(root, h("div", { class: "nv-brand" }, h("img", { src: "/neurovis/static/mark.svg", alt: "", width: 34, height: 34 }),
    h("div", {}, h("h1", {}, "NeuroVis"), h("p", {}, "fMRI → video")), toggle));
  closeWhereNarrow();
  on("return", () => trigger("apply")); // the boxes below show the run that Back or Forward opened
  start();
}

// On a phone the sidebar would cover what the reader came for, so it starts closed there.
function closeWhereNarrow() {
  const toggle = document.querySelector("#nv-sidebar .toggle-button");
  if (!toggle || innerWidth >= 900) return;
  if (document.querySelector("#nv-sidebar.open, #nv-sidebar .open, .sidebar.open")) toggle.click();
}
