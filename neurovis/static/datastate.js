// What the Data tab looks at: a data set, a subject, a measure, a folder to import; mirrored in the address.

import { state } from "./state.js";

const address = new URLSearchParams(window.neurovisAddress ?? location.search);

export const choice = {
  dataset: address.get("dataset") || "",
  subject: address.get("who") || "",
  measure: address.get("measure") || "",
  slice: /^\d+$/.test(address.get("cutat") || "") ? Number(address.get("cutat")) : null,
  path: address.get("path") || "",
};

export function remember() {
  if (state.tab !== "data") return;
  const query = new URLSearchParams(location.search);
  const set = (key, value) => (value || value === 0 ? query.set(key, value) : query.delete(key));
  set("tab", "data");
  set("dataset", choice.dataset);
  set("who", choice.subject);
  set("measure", choice.measure);
  set("cutat", choice.slice);
  set("path", choice.path);
  const next = `${location.pathname}?${query.toString().replaceAll("%2F", "/")}`;
  if (next !== location.pathname + location.search) history.replaceState(history.state, "", next);
}

export const LAYOUTS = { cc2017: "CC2017, raw", "cc2017-pt": "CC2017, preprocessed", hcp7t: "HCP 7T movies", bids: "BIDS", image: "one image", unknown: "unknown" };
export const SPACES = { fs_LR_32k: "cortex, fs_LR 32k", volume: "volume", unknown: "no positions" };

export const count = (n) => n.toLocaleString("en");
export const many = (n, one) => `${count(n)} ${one}${n === 1 ? "" : "s"}`;
export const size = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : n >= 1e6 ? `${Math.round(n / 1e6)} MB` : `${Math.max(1, Math.round(n / 1e3))} kB`);
