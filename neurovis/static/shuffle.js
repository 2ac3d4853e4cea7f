// The shuffle test: the errors of 100 random orders of this clip's frames beside that of the true order, and the shares
// over the run for each combination, beside those of mispaired clips.

import { button, getJSON, h, number, replace } from "./dom.js";
import { downloadSVG, ordersplot, shuffleplot } from "./charts.js";
import { current, state, variantOrder, variantTitle } from "./state.js";

const held = new Map();
// A combination's name that fits beside a plot.
const short = (name) => (name.includes("+") ? variantTitle(name).replaceAll("C_", "") : variantTitle(name));

function load(clip, variant) {
  const run = state.run;
  const path = [run.name, "clips", clip.id, "orders", variant].map(encodeURIComponent).join("/");
  const key = `${path}?v=${run.stamp}`;
  if (!held.has(key)) {
    const found = getJSON(`/neurovis/runs/${key}`);
    found.catch(() => held.delete(key));
    held.set(key, found);
  }
  return held.get(key);
}

export function shuffle(variant) {
  const one = h("div", { class: "nv-orders" });
  const all = h("div");
  let turn = 0;
  let waiting = 0;

  // A little later than the pictures: flows are computed on the server, and the reader may be passing by.
  function draw() {
    drawAll();
    clearTimeout(waiting);
    waiting = setTimeout(drawOne, 250);
  }

  async function drawOne() {
    const mine = ++turn;
    const clip = current();
    const name = variant();
    if (!clip || !one.isConnected || !one.offsetParent) return;
    if (state.run.cannot_score || !clip.variants.includes(name)) {
      return void replace(one, h("p", { class: "nv-note" }, state.run.cannot_score || "Render this combination to test the order of its frames."));
    }
    if (one.dataset.shown !== `${clip.id}/${name}`) one.dataset.busy = "yes";
    try {
      const [now, full] = await Promise.all([load(clip, name), name !== "full" && clip.variants.includes("full") ? load(clip, "full") : null]);
      if (mine !== turn) return;
      const rows = [...(full ? [["full", full]] : []), [name, now]].map(([key, test]) => ({ title: short(key), key, ...test }));
      const plot = ordersplot(rows);
      replace(one, h("h3", {}, "This clip", h("span", {}, `end-point error of ${now.shuffled.length} random orders of ${now.n_frames} frames`)), scroll(plot), told(clip, name, now),
        h("div", { class: "nv-exports" }, saver(plot, `${clip.id}_orders`)));
      one.dataset.shown = `${clip.id}/${name}`;
    } catch (error) {
      if (mine === turn) replace(one, h("p", { class: "nv-note nv-broken" }, error.message));
    } finally {
      if (mine === turn) delete one.dataset.busy;
    }
    return undefined;
  }

  function told(clip, name, test) {
    const filed = clip.scores[name]?.shuffle_share;
    const differs = typeof filed === "number" && Math.abs(filed - test.share) > 0.005;
    return h("p", { class: "nv-note" }, `${Math.round(test.share * 100)} of ${test.shuffled.length} orders have a lower error than the true one, from the pictures as the run keeps them.`,
      typeof test.mispaired === "number" ? ` Against another clip's truth: ${Math.round(test.mispaired * 100)} of ${test.shuffled.length}.` : null,
      differs ? ` On file, with orders and frames of its own: ${Math.round(filed * 100)} %.` : null);
  }

  function drawAll() {
    const { scores, clips } = state.run;
    const key = [...new Set(Object.values(scores).flatMap(Object.keys))].find((name) => /shuffle/i.test(name));
    if (!key) return void replace(all, h("p", { class: "nv-note" }, "The shuffle test was not run over the clips of this run."));
    const now = variant();
    const rows = variantOrder().filter((name, i) => scores[name][key] && (i < 5 || name === now)).map((name) => ({
      title: short(name), key: name, value: scores[name][key].value,
      chance: scores[name][key].n_chance ? scores[name][key].chance : null,
      clips: clips.map((clip) => clip.scores[name]?.[key]).filter((v) => typeof v === "number"),
    }));
    const known = rows.find((row) => typeof row.chance === "number");
    const plot = shuffleplot(rows);
    replace(all, h("h3", {}, "All clips", h("span", {}, "share of orders with a lower error than the true one")), scroll(plot),
      h("p", { class: "nv-note" }, known
        ? `Dashed: the mean of the same reconstructions against other clips' truths (${scores[known.key][key].n_chance} mispaired clips). Only a bar below its dashed line speaks for the true motion.`
        : "What mispaired clips reach was not measured for this run, so its shares cannot be read yet; scoring the run again under Evaluate measures it.",
      " A low share is no evidence by itself: any video that moves smoothly beats most random orders of its own frames, also one that shows another clip, and one that stands still has a share of 0. A bar is the mean, a dot a clip."),
      h("div", { class: "nv-exports" }, saver(plot, "shuffle_test")));
    return undefined;
  }

  // On a phone the plot keeps its size, so that its words can be read, and scrolls in its own box.
  function scroll(plot) {
    return h("div", { class: "nv-scroll", tabindex: 0, role: "region", "aria-label": "Plot" }, plot);
  }

  function saver(plot, what) {
    return button("Save the plot as SVG", "SVG", () => downloadSVG(`${state.run.name}_${what}${state.run.simulated ? "_simulated" : ""}.svg`, plot), { class: "nv-small" });
  }

  new IntersectionObserver((seen) => { if (seen.some((entry) => entry.isIntersecting)) drawOne(); }).observe(one);
  return { node: h("div", { class: "nv-shuffles" }, one, all), draw };
}
