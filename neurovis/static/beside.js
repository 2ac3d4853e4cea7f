// Other runs beside this one: the same clip as they reconstructed it, in step, each a column that can be taken away.

import { button, getJSON, h, replace } from "./dom.js";
import { screen } from "./player.js";
import { emit, on, state, stripURL, timing } from "./state.js";

const loaded = new Map();

// A run's description and, for the clips of the open run, the same clips there.
function load(name) {
  const key = `${state.run.name}\n${name}`;
  if (!loaded.has(key)) {
    const [own, other] = [state.run.name, name].map(encodeURIComponent);
    const held = Promise.all([getJSON(`/neurovis/runs/${other}`), getJSON(`/neurovis/runs/${own}/twins/${other}`)])
      .then(([run, twins]) => ({ run: Object.assign(run, { byId: new Map(run.clips.map((clip) => [clip.id, clip])) }), twins }));
    held.catch(() => loaded.delete(key));
    loaded.set(key, held);
  }
  return loaded.get(key);
}

export function besideNames() {
  return state.beside.filter((name) => name !== state.run?.name);
}

// What the other run shows of a clip of this one, or null.
function twin(column, clip) {
  const id = column.twins?.[clip.id];
  const other = id === undefined ? null : column.run.byId.get(id);
  const stream = column.run?.streams.find((one) => one.key === "reconstruction");
  return other && stream ? { timing: timing(other, stream, column.run), url: stripURL(id, column.run.base, "reconstruction", column.run) } : null;
}

export class Column {
  constructor(name) {
    const known = state.runs?.find((run) => run.name === name);
    const title = known?.title ?? name;
    // What differs is enough to tell runs of one data set and method apart.
    const alike = known && ["dataset", "method"].every((key) => known[key] === state.run[key]) && known.subject !== state.run.subject;
    this.name = name;
    this.player = screen(alike ? known.subject : title, "loading", "beside");
    this.player.title.title = title;
    const about = this.player.node.querySelector("p");
    this.player.node.querySelector("figcaption").append(button(`Take ${title} away`, "×", () => remove(name), { class: "nv-away" }));
    this.ready = load(name).then(
      ({ run, twins }) => {
        Object.assign(this, { run, twins });
        const marks = [...(run.simulated && !state.run.simulated ? ["simulated data"] : []), ...run.labels.filter((label) => !state.run.labels.includes(label))];
        replace(about, [title, ...new Set(marks)].join(" · "));
      },
      (error) => { this.trouble = error.message; },
    );
  }

  // What to show for a clip, as swap() takes it; says so where there is nothing.
  at(clip) {
    const found = this.run ? twin(this, clip) : null;
    if (found) this.player.uncover();
    else this.player.coverWith(this.trouble ? `This run cannot be read: ${this.trouble}` : this.run ? `${this.run.title} has no reconstruction of this clip.` : "Loading the run.");
    return { player: this.player, timing: found?.timing ?? { n: 1, seconds: state.run.duration }, url: found?.url ?? null };
  }

  urls(ids) {
    return this.run ? ids.map((id) => twin(this, { id })?.url).filter(Boolean) : [];
  }
}

function remove(name) {
  state.beside = state.beside.filter((one) => one !== name);
  emit("beside");
}

// "+ Compare with a run": every other run that can be opened.
export function chooser() {
  const select = h("select", { "aria-label": "Compare with a run", onchange: () => {
    if (!select.value) return;
    state.beside = [...state.beside, select.value];
    emit("beside");
  } });
  const node = h("label", { class: "nv-besides" }, select);
  const draw = () => {
    const others = (state.runs || []).filter((run) => !run.error && run.name !== state.run?.name && !state.beside.includes(run.name));
    replace(select, h("option", { value: "" }, "+ Compare with a run"), others.map((run) => h("option", { value: run.name }, run.title)));
    node.hidden = !others.length;
  };
  on("run", draw);
  on("beside", draw);
  on("runs", draw);
  draw();
  return node;
}
