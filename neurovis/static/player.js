// Players: canvases that draw frames of a strip by the shared clock, and the transport bar that drives it.

import { button, h, icon, replace } from "./dom.js";
import { clock } from "./clock.js";
import { step } from "./state.js";

const CACHE_SIZE = 800;
const cache = new Map();

// A strip is one picture with the frames below one another.
export function loadStrip(url) {
  let held = cache.get(url);
  if (held) {
    cache.delete(url);
  } else {
    held = new Promise((resolve, reject) => {
      const image = new Image();
      image.onload = () => resolve(image);
      image.onerror = () => {
        cache.delete(url);
        reject(new Error("the picture could not be loaded"));
      };
      image.src = url;
    });
    held.catch(() => {});
  }
  cache.set(url, held);
  if (cache.size > CACHE_SIZE) cache.delete(cache.keys().next().value);
  return held;
}

// The frame on the screen at a time, in seconds; the last one stays where a stream ends before the others.
export function frameAt({ n, seconds, starts }, time) {
  if (!starts) return Math.min(n - 1, Math.floor((time / seconds) * n + 1e-6));
  const next = starts.findIndex((start) => start > time + 1e-6);
  return next < 0 ? n - 1 : Math.max(0, next - 1);
}

export class Player {
  constructor(label) {
    this.canvas = h("canvas", { width: 64, height: 64, role: "img", "aria-label": label });
    this.context = this.canvas.getContext("2d");
    this.image = null;
    this.timing = { n: 1, seconds: 1 };
    this.frame = -1;
    this.unsubscribe = clock.subscribe(() => this.draw());
  }

  show(image, timing, tag) {
    this.image = image;
    this.timing = timing;
    this.frame = -1;
    if (image) {
      const height = Math.round(image.naturalHeight / timing.n);
      if (this.canvas.width !== image.naturalWidth) this.canvas.width = image.naturalWidth;
      if (this.canvas.height !== height) this.canvas.height = height;
      this.canvas.classList.toggle("nv-fine", height > 128);
      this.draw();
    } else this.context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.canvas.dataset.shown = tag;
  }

  draw() {
    if (!this.image) return;
    const { n } = this.timing;
    const frame = frameAt(this.timing, clock.seconds);
    if (frame === this.frame) return;
    this.frame = frame;
    const { width, height } = this.canvas;
    this.context.drawImage(this.image, 0, frame * height, width, height, 0, 0, width, height);
    this.canvas.dataset.frame = frame;
    if (this.readout) this.readout.textContent = n > 1 ? `${String(frame + 1).padStart(2, "0")}/${n}` : "1 frame";
  }

  stop() {
    this.unsubscribe();
  }
}

// A player with its heading. `role` colours it: truth, motion, anchor, reconstruction.
export function screen(title, about, role) {
  const player = new Player(title);
  player.readout = h("span", { class: "nv-mono" });
  player.title = h("b", {}, title);
  player.cover = h("div", { class: "nv-cover", hidden: true });
  player.node = h(
    "figure",
    { class: "nv-screen", "data-role": role },
    h("figcaption", {}, player.title, player.readout),
    h("div", { class: "nv-glass" }, player.canvas, player.cover),
    about ? h("p", {}, about) : null,
  );
  player.uncover = () => player.cover.setAttribute("hidden", "");
  player.coverWith = (...content) => {
    replace(player.cover, content);
    player.cover.removeAttribute("hidden");
  };
  return player;
}

// Load what several players shall show and swap them together: they never show two clips at once.
export async function swap(turn, players, tag) {
  const images = await Promise.all(players.map(({ url }) => (url ? loadStrip(url).catch(() => null) : null)));
  if (!turn()) return false;
  players.forEach(({ player, timing }, i) => player.show(images[i], timing, tag));
  return true;
}

export function transport() {
  const play = button("Play or pause (space)", icon("pause"), () => clock.toggle(), { class: "nv-play" });
  const scrub = h("input", {
    type: "range", min: 0, max: 15, step: 1, value: 0, "aria-label": "Frame",
    oninput: () => { clock.playing = false; clock.seek(Number(scrub.value)); },
  });
  const ticks = h("div", { class: "nv-ticks", "aria-hidden": "true" });
  // A frame is named by the time at which it starts, here and in saved strips.
  const readout = h("output", { class: "nv-mono nv-time", title: "The frame, and the time at which it starts" });
  const loop = button("Loop", icon("loop"), () => { clock.loop = !clock.loop; draw(); });
  const speeds = h("div", { class: "nv-segments", role: "group", "aria-label": "Speed" },
    [0.25, 0.5, 1].map((speed) => button(`Speed ${speed}`, `${speed}×`, () => { clock.speed = speed; draw(); }, { "data-speed": speed })));
  const node = h("div", { class: "nv-transport" },
    h("div", { class: "nv-keys" },
      button("Previous clip (left arrow)", icon("up"), () => step(-1), { class: "nv-turn" }),
      button("Frame back (comma)", icon("back"), () => nudge(-1)),
      play,
      button("Frame forward (full stop)", icon("forward"), () => nudge(1)),
      button("Next clip (right arrow)", icon("down"), () => step(1), { class: "nv-turn" })),
    h("div", { class: "nv-scrub" }, scrub, ticks), readout, speeds, loop);

  let count = 0;
  let wasPlaying = null;
  function draw() {
    const frame = clock.frame;
    if (count !== clock.frames) {
      count = clock.frames;
      scrub.max = count - 1;
      replace(ticks, Array.from({ length: count }, () => h("i")));
    }
    scrub.value = frame;
    scrub.style.setProperty("--done", `${(frame / Math.max(1, count - 1)) * 100}%`);
    readout.textContent = `frame ${String(frame + 1).padStart(2, "0")}/${count}  from ${((frame / count) * clock.duration).toFixed(2)} s`;
    if (wasPlaying !== clock.playing) {
      wasPlaying = clock.playing;
      replace(play, icon(wasPlaying ? "pause" : "play"));
      play.setAttribute("aria-pressed", wasPlaying);
    }
    loop.setAttribute("aria-pressed", clock.loop);
    for (const speed of speeds.children) speed.setAttribute("aria-pressed", Number(speed.dataset.speed) === clock.speed);
  }
  clock.subscribe(draw);
  return node;
}

function nudge(by) {
  clock.playing = false;
  clock.seek(clock.frame + by);
}

// Keys: arrows change the clip, space plays, comma and full stop go by one frame.
let listening = false;
export function listenToKeys() {
  if (listening) return;
  listening = true;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target;
    const typing = target.closest?.("textarea, select, [contenteditable], [role=listbox], [role=tablist], input:not([type=range])");
    if (typing) return;
    const onButton = target.closest?.("button, summary, a");
    const actions = {
      ArrowLeft: () => step(-1), ArrowUp: () => step(-1), ArrowRight: () => step(1), ArrowDown: () => step(1),
      " ": () => clock.toggle(), ",": () => nudge(-1), ".": () => nudge(1),
    };
    if (!(event.key in actions) || (event.key === " " && onButton)) return;
    if (target.matches?.("input[type=range]") && event.key.startsWith("Arrow")) return;
    event.preventDefault();
    actions[event.key]();
  });
}
