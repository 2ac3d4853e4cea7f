// The address of what is looked at. Every view reads it and writes into it through here, so that the browser's Back and
// Forward lead through what was seen: a visit makes an entry of its own, any other change is written into the present one.

const readers = [];
const comebacks = [];
let visiting = false; // the next change of the address makes an entry
let held = null; // while an entry is being brought back, the page still shows another one, which must not overwrite it

// `reader(query, again)` is called with what the page was opened with, and again whenever Back or Forward changed it.
export function reading(reader) {
  readers.push(reader);
  reader(new URLSearchParams(window.neurovisAddress ?? location.search), false);
}

// `work()` is called after Back or Forward, when every view has read the address.
export function returning(work) {
  comebacks.push(work);
}

// Whatever `work` writes first becomes an entry of its own. The reader goes on: what was being brought back is let be.
export function visit(work) {
  visiting = true;
  held = null;
  try {
    work();
  } finally {
    visiting = false;
  }
}

// Nothing is written until `work` has ended, unless the reader goes on meanwhile.
export async function hold(work) {
  const mine = (held = {});
  try {
    await work();
  } finally {
    if (held === mine) held = null;
  }
}

// Write `values` (key -> text, or nothing to leave the key out) beside what other views have written.
export function write(values) {
  if (held) return;
  const query = new URLSearchParams(location.search);
  for (const [key, value] of Object.entries(values)) {
    if (value || value === 0) query.set(key, value);
    else query.delete(key);
  }
  const text = plain(query.toString());
  const next = location.pathname + (text ? `?${text}` : "");
  if (next === location.pathname + location.search) return;
  if (visiting) history.pushState(history.state, "", next);
  else history.replaceState(history.state, "", next);
  visiting = false;
}

// Signs that an address may hold as they are stay readable; a space becomes %20, so that a plus stays a plus.
function plain(text) {
  const signs = { "+": "%20", "%2C": ",", "%3A": ":", "%2F": "/", "%7C": "|" };
  return text.replace(/\+|%2C|%3A|%2F|%7C/g, (found) => signs[found]);
}

addEventListener("popstate", () => {
  window.neurovisAddress = location.search; // for views that are opened later
  const query = new URLSearchParams(location.search);
  for (const reader of readers) reader(query, true);
  for (const work of comebacks) work();
});
