// The seed of a combination: a field that takes whole numbers in range, and says what it refused beside itself.

import { button, h } from "./dom.js";
import { MAX_SEED, emit, state } from "./state.js";

export function seedfield() {
  const refused = h("span", { class: "nv-note nv-broken", role: "alert" });
  const box = h("input", { type: "text", inputmode: "numeric", maxlength: 40, "aria-label": "Seed", onchange: () => take(box.value.trim()) });
  const node = h("div", { class: "nv-seed" }, h("label", {}, "Seed", box), button("New seed", "New seed", () => take(String(Math.floor(Math.random() * 9999) + 1)), { class: "nv-small" }), refused);

  // A text field, as one for numbers hides what was typed and takes 1e30 for a seed.
  function take(text) {
    const seed = /^\d{1,15}$/.test(text) ? Number(text) : NaN;
    if (!(seed <= MAX_SEED) && seed !== state.run.seed) {
      show();
      refused.textContent = `A seed is a whole number from 0 to ${MAX_SEED}, not “${text}”; ${box.value} stays.`;
      return;
    }
    state.seed = seed === state.run.seed ? null : seed;
    emit("without");
  }

  // What is shown is what is valid.
  function show() {
    box.value = state.seed ?? state.run.seed;
    refused.textContent = "";
  }

  return { node, show };
}
