// One clock for every player on the page, so that streams of 16, 6 and 1 frames, at any rate, stay in step by time.

const subscribers = new Set();

export const clock = {
  phase: 0, // 0..1 of the clip
  frames: 16, // of the longest stream: what the scrubber counts
  duration: 2, // seconds
  speed: 1,
  loop: true,
  fitted: false,
  wanted: null,
  playing: !matchMedia("(prefers-reduced-motion: reduce)").matches,

  get seconds() {
    return this.phase * this.duration;
  },
  get frame() {
    return Math.min(this.frames - 1, Math.floor(this.phase * this.frames));
  },
  subscribe(draw) {
    subscribers.add(draw);
    draw(this.phase);
    return () => subscribers.delete(draw);
  },
  // Fit the clip that is shown: as long as its longest stream, counted in the frames of its fastest.
  fit(timings) {
    if (!timings.length) return;
    this.duration = Math.max(...timings.map((one) => one.seconds));
    this.frames = Math.max(1, ...timings.map((one) => Math.round((this.duration * one.n) / one.seconds)));
    this.fitted = true;
    if (this.wanted !== null) this.hold(this.wanted);
    else notify();
  },
  // Stop on a frame, which may be asked for before it is known how many there are.
  hold(frame) {
    this.playing = false;
    this.wanted = this.fitted ? null : frame;
    if (this.fitted) this.seek(Math.min(frame, this.frames - 1));
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
