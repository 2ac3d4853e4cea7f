// Rendering the combination that is not on disk: started, followed and stopped here, and found again after a reload.

import { button, getJSON, h, replace } from "./dom.js";
import { jobbar } from "./jobbar.js";
import { current, state, variantTitle } from "./state.js";

const PACE = 300; // ms between two looks at the job
const WORKING = ["queued", "running"];

// `variant()` names what is chosen; `rendered(clip)` is called when a clip of the open run has more combinations.
export function liverender(server, variant, rendered) {
  const node = h("div", { class: "nv-live" });
  const working = jobbar("Rendering", "Stop rendering", () => { if (job?.key) server.stop(job.key); });
  let job = null;
  let trouble = null; // of: clip/variant that failed or was stopped; told
  let watching = 0;

  const jobs = (run) => getJSON(`/neurovis/runs/${encodeURIComponent(run.name)}/renderings`);

  function open() {
    job = trouble = null;
    return find();
  }

  // What the server is rendering of the run, or has rendered meanwhile, is taken up; of several the one shown. Asked when
  // a run is opened, as the page may have been reloaded, and where a picture lacks, as another page may have made it.
  async function find() {
    if (job) return;
    const mine = ++watching;
    const run = state.run;
    const found = await jobs(run).catch(() => []);
    if (mine !== watching) return;
    for (const one of found.filter(({ state: how }) => how === "done")) await learn(run, one);
    if (mine !== watching) return;
    const busy = found.filter((one) => WORKING.includes(one.state));
    const next = busy.find((one) => one.clip_id === state.clip && one.variant === variant()) ?? busy[0];
    if (next) watch(run, next, mine);
  }

  // Read which combinations of a job's clip there are, where the page does not know of the job's own.
  async function learn(run, { clip_id: id, variant: made }) {
    const clip = run.byId.get(id);
    if (!clip || clip.variants.includes(made)) return;
    clip.variants = await getJSON(`/neurovis/runs/${encodeURIComponent(run.name)}/clips/${encodeURIComponent(id)}/variants`);
    if (run === state.run) rendered(id);
  }

  async function watch(run, found, mine) {
    while (WORKING.includes(found.state)) {
      job = found;
      draw();
      await new Promise((resolve) => setTimeout(resolve, PACE));
      const { key } = found;
      const all = await jobs(run).catch(() => null);
      if (mine !== watching) return;
      if (all) found = all.find((one) => one.key === key) ?? { ...found, state: "failed", message: "This job is not known any more; start it again." };
    }
    job = null;
    // A job that ended may be forgotten before its end was read: what counts is what there is.
    const silence = await learn(run, found).then(() => "", (error) => `The server did not answer: ${error.message}`);
    if (mine !== watching) return;
    if (!run.byId.get(found.clip_id).variants.includes(found.variant)) trouble = { of: `${found.clip_id}/${found.variant}`, told: silence || found.message };
    draw();
  }

  async function begin() {
    const mine = ++watching;
    const run = state.run;
    const wanted = { run: run.name, clip: state.clip, without: [...state.without], seed: state.seed };
    const asked = { clip_id: state.clip, variant: variant() };
    trouble = null;
    job = { ...asked, message: "asking the server" };
    draw();
    const found = await server.render(wanted).catch((error) => ({ state: "failed", message: `The server did not answer: ${error.message}` }));
    if (mine === watching) watch(run, { ...asked, ...found }, mine);
  }

  function draw() {
    const name = variant();
    if (job) {
      const of = job.clip_id !== state.clip ? `${job.clip_id}: ` : job.variant !== name ? `${variantTitle(job.variant)}: ` : "";
      const count = job.total ? `${job.done}/${job.total}` : "";
      return working(node, job.total ? job.done / job.total : null, `${of}${job.message} ${count} ${Math.round(job.seconds || 0)} s`);
    }
    const imported = state.run.source === "videos";
    if (imported || current()?.variants.includes(name)) return replace(node, h("span", { class: "nv-note" }, imported ? state.run.cannot_render : `${variantTitle(name)}: at hand, so switching is instant.`));
    const reason = state.run.cannot_render;
    return replace(node, button("Render this combination", "Render this combination", begin, { class: "nv-primary", disabled: Boolean(reason) || !server }),
      h("span", { class: reason ? "nv-note nv-broken" : "nv-note" }, reason || "It is not on disk yet. Rendering takes a few seconds on a processor; the first one also loads the models."),
      trouble?.of === `${state.clip}/${name}` ? h("span", { class: "nv-note nv-broken", role: "alert" }, trouble.told) : null);
  }

  return { node, open, find, draw };
}
