// One clock for every player on the page, so that streams of 16, 6 and 1 frames stay in step.

const subscribers = new Set();

export const clock = {
  phase: 0, // 0..1 of the clip
  frames: 16, // of the longest stream: what the scrubber counts
  duration: 2, // seconds
  speed: 1,
  loop: true,
  playing: !matchMedia("(prefers-reduced-motion: reduce)").matches,

  get frame() {
    return Math.min(this.frames - 1, Math.floor(this.phase * this.frames));
  },
  subscribe(draw) {
    subscribers.add(draw);
    draw(this.phase);
    return () => subscribers.delete(draw);
  },
  seek(frame) {
    this.phase = (((frame % this.frames) + this.frames) % this.frames + 0.5) / this.frames;
    notify();
  },
  toggle(playing = !this.playing) {
    this.playing = playing;
    if (playing && !this.loop && this.phase > 0.99) this.phase = 0;
    notify();
  },
  redraw() {
    notify();
  },
};

function notify() {
  for (const draw of subscribers) draw(clock.phase);
}

let last = 0;
function tick(now) {
  const elapsed = Math.min(0.1, (now - last) / 1000);
  last = now;
  if (clock.playing) {
    const next = clock.phase + (elapsed * clock.speed) / clock.duration;
    if (next >= 1 && !clock.loop) {
      clock.playing = false;
      clock.phase = 0.9999;
    } else clock.phase = next % 1;
    notify();
  }
  requestAnimationFrame(tick);
}
requestAnimationFrame(tick);
