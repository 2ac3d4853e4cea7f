// What-if: edit a clip's texts, render from the words, and compare: truth, as decoded, from the words.

import { jobbar } from "./jobbar.js";
import { button, getJSON, h, number, panel, replace, signed } from "./dom.js";
import { change } from "./charts.js";
import { screen, swap, transport } from "./player.js";
import { current, state, stripURL, timing } from "./state.js";

const LEVELS = [["anchor", "C_anchor"], ["motion", "C_motion"], ["holi", "C_holi"]];
const SCORES = [["ssim", "SSIM", true, "corrected convention, 0 to 1"], ["epe", "End-point error", false, "pixels per frame at 256 x 256, corrected convention"]];

export function whatIf(server) {
  const fields = Object.fromEntries(LEVELS.map(([key, title]) => [key, field(key, title)]));
  const sources = h("div", { class: "nv-segments", role: "group", "aria-label": "Start from" }, [["true", "True caption"], ["nearest", "Nearest decoded"]].map(([key, title]) => h("button", { type: "button", "data-source": key, onclick: () => startFrom(key) }, title)));
  const alone = flip("Words alone", "all three texts from words", (now) => { for (const one of editable()) fields[one].use(now); draw(); });
  const mad = flip("MAD's latents", "keep the decoded motion latents", (now) => { keepMad = now; draw(); });
  const live = h("div", { class: "nv-live", "aria-live": "polite" });
  const told = h("p", { class: "nv-note nv-used", role: "status" });
  const tried = h("div", { class: "nv-tried" });
  const deck = h("div", { class: "nv-deck nv-compare nv-wordsdeck" });
  const gains = h("div", { class: "nv-gains" });
  const form = h("div", { class: "nv-whatif" },
    h("div", { class: "nv-seedline" }, h("span", { class: "nv-note" }, "Start from"), sources, alone.node, mad.node),
    h("div", { class: "nv-fields" }, LEVELS.map(([key]) => fields[key].node)),
    h("div", { class: "nv-seedline" }, live), tried, deck, told, gains, transport());
  const closed = h("p", { class: "nv-note nv-closed" });
  const node = panel("What if the words were others", "edit a text, render it, and see what the brain adds", closed, form);
  node.classList.add("nv-whatifpanel");

  let can = null; // what the server says can be edited
  let players = {};
  let source = "true";
  let keepMad = true;
  let job = null;
  let trouble = null; // why the last rendering of this clip came to nothing
  let kept = []; // records of this clip's renderings
  let chosen = null;
  let clipShown = null;
  let turn = 0;
  let room = null;
  let timer = null;

  const editable = () => (can?.levels || []).filter((key) => !(key === "motion" && !keepMad));

  function field(key, title) {
    const area = h("textarea", { rows: 4, "aria-label": `${title}, the words`, maxlength: 2000, oninput: () => { one.use(true); draw(); countSoon(); } });
    const toggle = h("button", { type: "button", role: "switch", "aria-label": `${title} from the words`, onclick: () => { one.use(!one.used); draw(); } }, h("span", { class: "nv-knob" }), h("span", { class: "nv-usetold" }));
    const count = h("p", { class: "nv-mono nv-count" });
    const one = {
      used: false, area, toggle, tokens: null,
      node: h("div", { class: "nv-field", "data-part": key }, h("header", {}, h("b", {}, title), toggle), area, count),
      use(now) {
        one.used = now;
      },
      draw(allowed, why) {
        toggle.disabled = area.disabled = !allowed;
        toggle.setAttribute("aria-checked", one.used && allowed);
        toggle.querySelector(".nv-usetold").textContent = one.used && allowed ? "from the words" : allowed ? "as decoded" : "not read";
        one.node.toggleAttribute("data-used", one.used && allowed);
        const n = area.value.split(/\s+/).filter(Boolean).length;
        const cut = one.tokens !== null && room !== null && one.tokens > room;
        replace(count, allowed ? `${n} words${one.tokens === null ? "" : ` · ${one.tokens} of ${room} tokens`}` : why, cut ? h("span", { class: "nv-badge nv-warn" }, `cut: last ${one.tokens - room} not read`) : null);
      },
    };
    return one;
  }

  function flip(title, about, act) {
    const node = h("button", { type: "button", role: "switch", class: "nv-flip", title: about, "aria-checked": false, onclick: () => act(node.getAttribute("aria-checked") !== "true") }, h("span", { class: "nv-knob" }), title);
    return { node, set: (now, disabled) => { node.setAttribute("aria-checked", now); node.disabled = disabled; } };
  }

  async function open() {
    const run = state.run;
    can = null;
    clipShown = null;
    room = null;
    form.hidden = true;
    closed.hidden = false;
    closed.textContent = "Asking what can be rendered …";
    for (const player of Object.values(players)) player.stop();
    players = { truth: screen("Truth", null, "truth"), decoded: screen("As decoded", null, "reconstruction"), words: screen("From the words", null, "combination") };
    replace(deck, Object.values(players).map((player) => player.node));
    try {
      const found = await getJSON(`/neurovis/runs/${encodeURIComponent(run.name)}/captions/possible`);
      if (run !== state.run) return;
      can = found;
      keepMad = found.mad;
      closed.hidden = !found.reason && Boolean(server);
      closed.textContent = found.reason || "";
      form.hidden = Boolean(found.reason) || !server;
      show();
    } catch (error) {
      closed.textContent = error.message;
    }
  }

  async function show() {
    const clip = current();
    if (!can || can.reason || !clip) return;
    if (clipShown !== clip.id) {
      clipShown = clip.id;
      chosen = null;
      trouble = null;
      kept = [];
      for (const [key] of LEVELS) fields[key].use(false);
      fill();
      getJSON(`/neurovis/runs/${encodeURIComponent(state.run.name)}/clips/${encodeURIComponent(clip.id)}/wordings`).then((found) => {
        if (clipShown !== clip.id) return;
        kept = found;
        draw();
      }).catch(() => {});
    }
    draw();
    play();
  }

  function startFrom(key) {
    source = key;
    fill();
    draw();
  }

  function fill() {
    const clip = current();
    for (const [key] of LEVELS) {
      const near = clip.nearest[key]?.[0]?.text;
      fields[key].area.value = (source === "nearest" ? near : clip.captions[key]) || near || clip.captions[key] || "";
      fields[key].tokens = null;
    }
    countSoon(0);
  }

  function countSoon(wait = 350) {
    clearTimeout(timer);
    for (const [key] of LEVELS) fields[key].tokens = null;
    timer = setTimeout(async () => {
      const texts = Object.fromEntries(LEVELS.map(([key]) => [key, fields[key].area.value]));
      try {
        const found = await server.count(texts);
        room = found.room;
        for (const [key] of LEVELS) if (fields[key].area.value === texts[key]) fields[key].tokens = found.tokens[key] ?? null;
      } catch {
        room = null;
      }
      draw();
    }, wait);
  }

  // Why these words cannot be rendered, in a sentence; null where they can.
  function refusal() {
    const used = editable().filter((key) => fields[key].used);
    if (!used.length) return "Everything is as decoded. Edit a text, or switch one to its words.";
    const blank = LEVELS.find(([key]) => used.includes(key) && !fields[key].area.value.trim());
    return blank ? `${blank[1]} is empty. Write some words, or leave it as decoded.` : null;
  }

  function draw() {
    const clip = current();
    if (!can || !clip) return;
    const all = editable();
    for (const [key] of LEVELS) fields[key].draw(all.includes(key), can.levels.includes(key) ? "says nothing without MAD's latents" : "this run has no MAD latents, so it is not read");
    for (const node of sources.children) {
      node.setAttribute("aria-pressed", node.dataset.source === source);
      node.disabled = !LEVELS.some(([key]) => (node.dataset.source === "nearest" ? clip.nearest[key]?.length : clip.captions[key]));
    }
    alone.set(all.length > 0 && all.every((key) => fields[key].used), false);
    mad.set(keepMad, !can.mad);
    drawLive();
    replace(tried, kept.length ? [h("span", { class: "nv-note" }, "Rendered for this clip"), kept.map((record, i) => h("button", { type: "button", class: "nv-small", "aria-pressed": record.variant === chosen?.variant, title: `${record.told} ${Object.values(record.words).join(" | ")}`, onclick: () => choose(record) }, `${i + 1} `, Object.keys(record.words).map((level) => h("i", { class: "nv-chip", "data-part": level }, level)), record.mad ? null : h("i", { class: "nv-chip" }, "no MAD")))] : []);
    drawResult();
  }

  const working = jobbar("Rendering", "Stop rendering", () => stop());

  function drawLive() {
    if (job) {
      const of = job.clip_id && job.clip_id !== state.clip ? `${job.clip_id}: ` : "";
      const count = job.total ? `${job.done}/${job.total}` : "";
      working(live, job.total ? job.done / job.total : null, `${of}${job.message} ${count} ${Math.round(job.seconds || 0)} s`, Boolean(job.stopping));
      return;
    }
    const why = refusal();
    replace(live, button("Render these words", "Render these words", render, { class: "nv-primary", disabled: Boolean(why) }), h("span", { class: "nv-note" }, why || "A few seconds on a processor; nothing is written into the run."),
      trouble ? h("span", { class: "nv-note nv-broken", role: "alert" }, trouble) : null);
  }

  function drawResult() {
    if (!chosen) {
      replace(told, "");
      replace(gains);
      return;
    }
    const { variant, scores, truncated } = chosen;
    replace(told, h("b", {}, "Used: "), chosen.told, truncated.length ? ` ${truncated.map((level) => `C_${level}`).join(" and ")} is longer than ${chosen.room} tokens, so its end was not read.` : "");
    const rows = SCORES.filter(([key]) => typeof scores.words[key] === "number" && typeof scores.decoded[key] === "number");
    replace(gains, rows.length ? h("div", { class: "nv-changes" }, rows.map(([key, title, higher, about]) => {
      const [words, brain] = [scores.words[key], scores.decoded[key]];
      return h("div", { class: "nv-delta", title: `${about}; n = 1 clip; both rendered now with seed ${chosen.seed}, against the truth as the run keeps it` }, h("span", {}, title, h("small", {}, higher ? "higher is better" : "lower is better")), h("b", { class: "nv-mono" }, `decoded ${number(brain)} → words ${number(words)}`), change(brain, words, Math.max(Math.abs(words), Math.abs(brain)) / 2, higher), h("b", { class: "nv-mono" }, signed(words - brain)));
    })) : h("p", { class: "nv-note" }, "No scores: there is no truth to compare with."),
    h("p", { class: "nv-note" }, rows.length ? verdict(rows, scores) : ""),
    h("div", { class: "nv-exports" }, h("span", {}, "Save this rendering"), h("a", { class: "nv-small", download: `${chosen.run}_${chosen.clip_id}_${variant}${chosen.simulated ? "_simulated" : ""}.png`, href: `/neurovis/wordings/${variant}/reconstruction.png` }, "PNG strip"), h("a", { class: "nv-small", download: "", href: `/neurovis/wordings/${variant}.json` }, "JSON: words and scores")));
  }

  // What the brain adds to the words, said of this clip alone.
  function verdict(rows, scores) {
    const better = rows.filter(([key, , higher]) => (scores.decoded[key] > scores.words[key]) === higher && scores.decoded[key] !== scores.words[key]).map(([, title]) => title);
    return better.length ? `For this clip the decoded version is closer to the truth in ${better.join(" and ")}.` : "For this clip the words are at least as close to the truth in every score.";
  }

  function play() {
    const clip = current();
    const mine = ++turn;
    const stream = (key) => state.run.streams.find((one) => one.key === key);
    const put = (player, key, url) => ({ player, timing: stream(key) ? timing(clip, stream(key)) : { n: 1, seconds: state.run.duration }, url });
    const all = [put(players.truth, "truth", stream("truth") ? stripURL(clip.id, state.run.base, "truth") : null), put(players.decoded, "reconstruction", stripURL(clip.id, state.run.base, "reconstruction"))];
    const words = put(players.words, "reconstruction", chosen ? `/neurovis/wordings/${chosen.variant}/reconstruction.png` : null);
    if (chosen) words.timing = { n: chosen.n_frames.reconstruction, seconds: state.run.duration };
    swap(() => mine === turn, [...all, words], `${clip.id}/${chosen?.variant || "none"}`);
    if (stream("truth")) players.truth.uncover();
    else players.truth.coverWith("The data set comes without its pictures.");
    if (chosen) players.words.uncover();
    else players.words.coverWith("Edit a text, then render");
  }

  function choose(record) {
    chosen = record;
    keepMad = record.mad;
    for (const [key] of LEVELS) {
      fields[key].use(key in record.words);
      if (key in record.words) fields[key].area.value = record.words[key];
    }
    countSoon(0);
    draw();
    play();
  }

  async function render() {
    const wanted = { run: state.run.name, clip: state.clip, mad: keepMad, seed: state.run.seed, words: Object.fromEntries(editable().filter((key) => fields[key].used).map((key) => [key, fields[key].area.value])) };
    job = { message: "asking the server" };
    trouble = null;
    drawLive();
    try {
      let found = await server.render(wanted);
      const key = found.key;
      while (key && ["queued", "running"].includes(found.state)) {
        // A stop that was asked for before the server had named the job is passed on now.
        if (job.stopping && !job.key) server.stop(key);
        job = { ...found, key, stopping: job.stopping };
        drawLive();
        await new Promise((resolve) => setTimeout(resolve, 250));
        found = await server.progress(key);
      }
      if (found.state === "done" && state.run.name === wanted.run && state.clip === wanted.clip) {
        kept = await getJSON(`/neurovis/runs/${encodeURIComponent(wanted.run)}/clips/${encodeURIComponent(wanted.clip)}/wordings`);
        chosen = kept.find((record) => record.variant === found.variant) || chosen;
      } else if (found.state !== "done") trouble = found.message;
    } catch (error) {
      trouble = `The server did not answer: ${error.message}`;
    }
    job = null;
    draw();
    play();
  }

  function stop() {
    if (!job || job.stopping) return;
    job.stopping = true;
    if (job.key) server.stop(job.key);
    drawLive();
  }

  return { node, open, show };
}
