// What the Data tab looks at: a data set, a subject, a measure, a folder to import; mirrored in the address.

import { reading, write } from "./address.js";
import { state } from "./state.js";

export const choice = {};

reading((address) => Object.assign(choice, {
  dataset: address.get("dataset") || "",
  subject: address.get("who") || "",
  measure: address.get("measure") || "",
  slice: /^\d+$/.test(address.get("cutat") || "") ? Number(address.get("cutat")) : null,
  path: address.get("path") || "",
}));

export function remember() {
  if (state.tab !== "data") return;
  write({ tab: "data", dataset: choice.dataset, who: choice.subject, measure: choice.measure, cutat: choice.slice, path: choice.path });
}

export const LAYOUTS = { cc2017: "CC2017, raw", "cc2017-pt": "CC2017, preprocessed", hcp7t: "HCP 7T movies", bids: "BIDS", image: "one image", unknown: "unknown" };
export const SPACES = { fs_LR_32k: "cortex, fs_LR 32k", volume: "volume", unknown: "no positions" };

export const count = (n) => n.toLocaleString("en");
export const many = (n, one) => `${count(n)} ${one}${n === 1 ? "" : "s"}`;
export const size = (n) => (n >= 1e9 ? `${(n / 1e9).toFixed(1)} GB` : n >= 1e6 ? `${Math.round(n / 1e6)} MB` : `${Math.max(1, Math.round(n / 1e3))} kB`);
