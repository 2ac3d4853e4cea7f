// The bar of a job under way: made once and told anew, as a button that is replaced can be neither clicked nor focused.

import { button, h, replace } from "./dom.js";

// Returns show(place, share, text, stopping): `share` is 0 to 1, or null where it is not known.
export function jobbar(label, title, stop) {
  const meter = h("progress", { max: 1, "aria-label": label });
  const said = h("span", { class: "nv-mono" });
  const halt = button(title, "Stop", stop, { class: "nv-small" });
  return (place, share, text, stopping = false) => {
    if (share === null) meter.removeAttribute("value");
    else meter.value = share;
    said.textContent = text;
    halt.disabled = stopping;
    if (halt.parentNode !== place) replace(place, meter, said, halt);
  };
}
