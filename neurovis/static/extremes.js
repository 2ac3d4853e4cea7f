// For each part, the clips whose score fell or rose most when it is switched off.

import { h, replace, signed } from "./dom.js";
import { higherIsBetter, scoreLabel, scoredFrom } from "./browser.js";
import { PARTS, PART_TITLES, choose as openClip, fullOf, state, stripURL, timing } from "./state.js";

const SHOWN = 4;

export function extremes(choose) {
  const scores = h("select", { "aria-label": "Score", onchange: () => { wanted = scores.value; draw(); } });
  const grid = h("div", { class: "nv-ends" });
  const origin = h("span", { class: "nv-note nv-origin" });
  let wanted = null;

  // A clip's change in a score when a part is switched off, or null.
  function changeOf(clip, part, key) {
    const [from, to] = [fullOf(clip, part)?.[key], clip.scores[part]?.[key]];
    return typeof from === "number" && typeof to === "number" ? to - from : null;
  }

  function draw() {
    const { clips } = state.run;
    const names = [...new Set(clips.flatMap((clip) => PARTS.flatMap((part) => Object.keys(clip.scores[part] ?? {}))))];
    const parts = PARTS.filter((part) => clips.some((clip) => clip.scores[part]));
    origin.textContent = "";
    if (!names.length) return void replace(grid, h("p", { class: "nv-note" }, "No clip has scores with a part switched off. Start the job over all clips above."));
    if (!names.includes(wanted)) wanted = names.find((name) => /ssim/i.test(name)) ?? names[0];
    replace(scores, names.map((name) => h("option", { value: name, selected: name === wanted }, `by ${scoreLabel(state.run, name)}`)));
    const higher = higherIsBetter(state.run, wanted);
    const from = [...new Set(parts.map((part) => scoredFrom(state.run, state.run.kept.includes(part))))];
    origin.textContent = `Scored ${from.length === 1 ? from[0] : parts.map((part) => `${PART_TITLES[part]} ${scoredFrom(state.run, state.run.kept.includes(part))}`).join(", ")}.`;
    replace(grid, parts.map((part) => {
      const changes = clips.map((clip) => ({ clip, change: changeOf(clip, part, wanted) })).filter((one) => one.change !== null);
      changes.sort((a, b) => (higher ? a.change - b.change : b.change - a.change));
      const worse = changes.filter((one) => one.change !== 0 && one.change < 0 === higher);
      const better = changes.filter((one) => one.change !== 0 && one.change < 0 !== higher).reverse();
      return h("section", { class: "nv-end", "data-part": part },
        h("h3", {}, `Without ${PART_TITLES[part]}`, h("span", {}, `${worse.length} of ${changes.length} clips worse, ${better.length} better`)),
        column("Worse without it", worse.slice(0, SHOWN), part, "bad"), column("Better without it", better.slice(0, SHOWN), part, "good"));
    }));
    return undefined;
  }

  function column(title, rows, part, verdict) {
    return h("div", {}, h("h4", {}, title), rows.length ? h("ol", {}, rows.map(({ clip, change }) => h("li", {}, row(clip, part, change, verdict)))) : h("p", { class: "nv-note" }, "none"));
  }

  function row(clip, part, change, verdict) {
    const told = clip.captions.basic || clip.captions.anchor || clip.id;
    return h("button", { type: "button", "data-clip": clip.id, title: `${clip.id}: ${told}`, onclick: () => { openClip(clip.id); choose(part); document.querySelector("#nv-view-ablate")?.scrollIntoView({ block: "start" }); } },
      picture(clip, "full"), picture(clip, part), h("span", {}, told), h("b", { class: "nv-mono", "data-change": verdict }, signed(change)));
  }

  function picture(clip, variant) {
    const stream = state.run.streams.find((one) => one.key === "reconstruction");
    if (!stream || !clip.variants.includes(variant)) return h("i", { class: "nv-thumb" });
    return h("i", { class: "nv-thumb", style: `--n:${timing(clip, stream).n};--phase:0.5;--strip:url("${stripURL(clip.id, variant, "reconstruction")}")` });
  }

  return { node: h("div", {}, h("div", { class: "nv-endbar" }, scores, h("span", { class: "nv-note" }, "Full model, and without the part. Choose a clip to open it."), origin), grid), draw };
}
