// The work under way on the server: begun, watched, stopped, and found again when the page is loaded.

import { button, h, replace } from "./dom.js";

const NAMES = { doctor: "Examining", import: "Importing", make: "Making", recover: "Finding positions for", lag: "Scanning the lag of" };
const EVERY = 400;

// ended(job) is told of what came to its end while the page looked on.
export function jobs(server, ended) {
  const node = h("section", { class: "nv-panel nv-datajob", role: "status", hidden: true });
  let watching = 0;
  let busy = false;

  async function find() {
    const mine = ++watching;
    const found = await server?.progress({}).catch(() => null);
    if (mine !== watching || !found || found.state === "idle") return;
    if (found.state === "running") watch(found, mine);
    else if (found.state !== "done") tell(found);
  }

  // Resolves to a sentence where the work could not begin, else to "".
  async function begin(request) {
    if (!server) return "The server's functions are not at hand; reload the page.";
    const mine = ++watching;
    const found = await server.begin(request).catch((error) => ({ state: "refused", message: `The server did not answer: ${error.message ?? error}` }));
    if (mine !== watching) return "";
    if (found.state === "refused") {
      find();
      return found.message;
    }
    watch(found, mine);
    return "";
  }

  async function watch(first, mine) {
    let found = first;
    let lost = 0;
    busy = true;
    while (found.state === "running") {
      draw(found);
      await new Promise((resolve) => setTimeout(resolve, EVERY));
      if (mine !== watching) return;
      const answer = await server.progress({}).catch(() => null);
      lost = answer ? 0 : lost + 1;
      found = answer ?? (lost < 10 ? found : { ...found, state: "failed", message: "The server does not answer; reload the page when it is there again." });
    }
    if (mine !== watching) return;
    busy = false;
    tell(found);
    ended(found);
  }

  function draw(job) {
    node.hidden = false;
    const share = job.total ? { max: job.total, value: job.done } : {};
    const steps = job.total ? `${job.done} of ${job.total} · ` : "";
    replace(node, h("div", { class: "nv-job" },
      h("b", {}, `${NAMES[job.kind]} ${job.about}`), h("progress", { "aria-label": "Progress", ...share }),
      h("span", { class: "nv-mono" }, `${steps}${Math.round(job.seconds)} s`),
      button("Stop; nothing half-written is kept", job.stopping ? "Stopping …" : "Stop", () => server.stop({}), { class: "nv-small", disabled: job.stopping }),
      h("span", { class: "nv-note" }, job.message)));
  }

  function tell(job) {
    node.hidden = job.kind === "doctor" && job.state === "done";
    replace(node, h("div", { class: "nv-job" },
      h("span", { class: job.state === "failed" ? "nv-broken" : "", role: job.state === "failed" ? "alert" : null }, job.message),
      button("Put this message away", "Close", () => { node.hidden = true; }, { class: "nv-small" })));
  }

  return { node, find, begin, busy: () => busy };
}
