// The 3-D view: a button, and the frame in which pycortex shows the folded, inflated and flat cortex.

import { getJSON, h, panel, replace } from "./dom.js";

const CREDIT = "Surfaces: HCP S1200 group average (WU-Minn Human Connectome Project, S1200 release). "
  + "Regions: HCP MMP 1.0 (Glasser et al., 2016). Drawn with pycortex (Gao et al., 2015).";
const IDLE = "Turn, zoom, inflate and unfold the cortex in the browser. Making it takes a second, the first time up to a minute.";
const ALLOWED = "allow-scripts allow-downloads"; // as the server says too

// show(url, note): `url` is that of GET /neurovis/brain3d/{run}/{statistic}, or null where there is nothing to show,
// with a note that says why. The frame closes when another url comes: it would show what is no longer asked for.
export function brain3d() {
  const open = h("button", { type: "button", class: "nv-small", onclick: load }, "Open the 3-D view");
  const alone = h("a", { class: "nv-small", target: "_blank", rel: "noopener", hidden: true }, "In a tab of its own");
  const telling = h("p", { class: "nv-note", "aria-live": "polite" });
  const glass = h("div", { class: "nv-frame3d", hidden: true });
  const buttons = h("div", { class: "nv-bar3d" }, open, alone);
  const node = panel("3-D view", "pycortex, WebGL", buttons, telling, glass, h("p", { class: "nv-note nv-credit3d" }, CREDIT));
  node.id = "nv-cortex-3d";

  let asked = null;
  let turn = 0; // a click, or another url, makes earlier answers stale

  function close(note) {
    turn += 1;
    replace(glass);
    glass.hidden = alone.hidden = true;
    open.textContent = "Open the 3-D view";
    open.removeAttribute("aria-busy");
    telling.className = "nv-note";
    telling.textContent = note;
  }

  function fail(message) {
    close(`The 3-D view could not be made: ${message}`);
    telling.classList.add("nv-broken");
  }

  async function load() {
    if (!asked || open.getAttribute("aria-busy")) return;
    if (!glass.hidden) return close(IDLE);
    close("Making the view …");
    const mine = turn;
    open.setAttribute("aria-busy", "true");
    try {
      const made = await getJSON(asked);
      if (mine !== turn) return;
      telling.textContent = "Loading the surfaces …";
      alone.href = made.url;
      alone.hidden = glass.hidden = false;
      replace(glass, h("iframe", { src: made.url, title: "Importance on the cortex in 3-D", sandbox: ALLOWED, onload: () => shown(mine, made) }));
    } catch (error) {
      if (mine === turn) fail(error.message);
    }
  }

  function shown(mine, made) {
    if (mine !== turn) return;
    open.removeAttribute("aria-busy");
    open.textContent = "Close the 3-D view";
    telling.textContent = `${made.simulated ? "Simulated data. " : ""}Drag to turn, scroll to zoom; the buttons pick the map, the side and the shape.`;
  }

  function show(url, note = "") {
    if (url && url === asked) return;
    asked = url;
    open.disabled = !url;
    close(url ? note || IDLE : note || "There is no map to show.");
  }

  show(null);
  return { node, show };
}
