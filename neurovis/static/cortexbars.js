// Under the map: bars of the leading areas with their intervals, and in words how far the map can be trusted.

import { button, h, number, panel, replace, s, signed } from "./dom.js";
import { csv, download } from "./charts.js";
import { state } from "./state.js";
import { MEAN, MODULES, ends, kind, KINDS, view } from "./cortexstate.js";
import { told } from "./cortexdata.js";

const TOP = 12;
const OVER = { runs: "95 % interval over runs", voxels: "95 % interval over voxels, not over recordings", clips: "95 % interval over blocks of clips" };

export function bars(onpoint) {
  const list = h("ol", { class: "nv-rois", id: "nv-cortex-bars" });
  const note = h("p", { class: "nv-note" });
  const more = button("Show every area", "All areas", () => { all = !all; draw(); }, { class: "nv-small" });
  const save = button("Save these bars as CSV", "CSV of these bars", () => write(), { class: "nv-small" });
  const node = panel("Areas", "mean over both hemispheres", list, note, h("div", { class: "nv-exports" }, more, save));
  let rows = [];
  let all = false;
  let info = null;

  // Areas of the map on the page, from the table of a single map or averaged here.
  function show(found, map, about) {
    info = about;
    list.dataset.part = view.module;
    const module = found.single ? found.facts?.modules[view.module] : null;
    rows = module?.table.length ? module.table.map((row) => ({ ...row, name: row.region })) : map ? averaged(found.dense, map) : [];
    rows.sort((a, b) => (KINDS[kind()].diverging ? Math.abs(b.mean) - Math.abs(a.mean) : b.mean - a.mean));
    draw(Boolean(module?.table.length));
  }

  function averaged(dense, map) {
    const sum = new Map();
    for (let vertex = 0; vertex < dense.length; vertex++) {
      if (dense[vertex] !== dense[vertex]) continue;
      const name = map.short[map.region[vertex]];
      if (!name) continue;
      const held = sum.get(name) || { name, total: 0, n_voxels: 0 };
      held.total += dense[vertex];
      held.n_voxels++;
      sum.set(name, held);
    }
    return [...sum.values()].map((held) => ({ name: held.name, n_voxels: held.n_voxels, mean: held.total / held.n_voxels }));
  }

  let inferred = false;
  function draw(withIntervals = inferred) {
    inferred = withIntervals;
    const shown = all ? rows : rows.slice(0, TOP);
    const loss = view.statistic === "permutation" && withIntervals;
    const left = withIntervals && rows[0]?.interval === "runs";
    const [low, high] = scale(shown);
    const x = (value) => ((value - low) / (high - low || 1)) * 100;
    replace(list, shown.map((row) => h("li", {}, h("button", {
      type: "button", class: "nv-roi", "data-region": row.name, title: title(row),
      onpointerenter: () => onpoint(row.name), onpointerleave: () => onpoint(null), onfocus: () => onpoint(row.name), onblur: () => onpoint(null),
    },
    h("span", { class: "nv-roiname" }, row.name, h("small", {}, `${row.n_voxels}`)),
    s("svg", { viewBox: "0 0 100 12", preserveAspectRatio: "none", role: "img", "aria-label": `${row.name} ${number(row.mean, 2)}` },
      s("rect", { x: Math.min(x(0), x(row.mean)), y: 2, width: Math.max(0.4, Math.abs(x(row.mean) - x(0))), height: 8, class: "bar" }),
      withIntervals ? [s("line", { x1: x(row.low), x2: x(row.high), y1: 6, y2: 6, class: "interval" }), s("line", { x1: x(row.null), x2: x(row.null), y1: 0, y2: 12, class: "chance" }), left ? s("path", { d: pointer(x(row.tested)), class: "tested" }) : null] : null),
    h("b", { class: "nv-mono" }, loss ? signed(row.mean) : number(row.mean, 2)),
    h("small", { class: "nv-mono nv-p" }, withIntervals ? (row.p_corrected < 0.001 ? "p < .001" : `p ${number(row.p_corrected, 3).replace(/^0/, "")}`) : "")))));
    more.hidden = rows.length <= TOP;
    more.textContent = all ? `Leading ${TOP}` : `All ${rows.length} areas`;
    save.hidden = !rows.length;
    note.textContent = !rows.length ? "No area has a value on this map yet." : withIntervals
      ? `Bars: mean over the area's voxels (their number beside the name); line: ${OVER[rows[0].interval]}; dashed: ${loss ? "nothing lost" : "mean under the null"}${left ? "; triangle: the value that p compares with it, the area's own voxels left out of the outputs" : ""}; p: one-sided, corrected over areas (Benjamini-Hochberg).`
      : `Means of what is on the map, over each area's voxels. ${view.subject === MEAN ? "A vertex shows the mean over those subjects whose decoder reads it. " : ""}${view.subject === MEAN || view.minus ? "Intervals and p-values belong to one module of one subject: choose one to see them." : "No interval is computed for this layer."}`;
  }

  function scale(shown) {
    const values = shown.flatMap((row) => [row.mean, row.low ?? row.mean, row.high ?? row.mean, row.null ?? 0, row.tested ?? 0, 0]);
    return values.length ? [Math.min(...values), Math.max(...values)] : ends();
  }

  function title(row) {
    const said = `${row.name}: ${number(row.mean)} over ${row.n_voxels} voxels`;
    return row.low === undefined ? said : `${said}, ${OVER[row.interval]} ${number(row.low)} to ${number(row.high)}, ${row.interval === "runs" ? "its own voxels left out" : "tested"} ${number(row.tested)}, null ${number(row.null)}, p ${number(row.p, 4)}, corrected ${number(row.p_corrected, 4)}`;
  }

  function write() {
    const keys = ["name", "n_voxels", "mean", ...(inferred ? ["low", "high", "interval", "raw", "tested", "null", "p", "p_corrected"] : [])];
    const words = told(info).replace(/[^A-Za-z0-9_-]+/g, "-");
    download(`${state.run.name}_areas_${words}${state.run.simulated ? "_simulated" : ""}.csv`, csv([keys, ...rows.map((row) => keys.map((key) => row[key]))]));
  }

  function mark(name) {
    for (const one of list.querySelectorAll(".nv-roi")) one.toggleAttribute("data-marked", one.dataset.region === name);
  }
  return { node, show, mark };
}

// A small triangle below a bar, clear of the interval, in the bars' own units: 100 wide and 12 high.
function pointer(x) {
  return `M${x - 1.3} 12L${x} 7.5L${x + 1.3} 12Z`;
}

// How sure the map is, in words.
export function trust() {
  const body = h("div", { class: "nv-trust", id: "nv-cortex-trust" });
  const node = panel("What can be trusted", "of this statistic, and of this map", body);

  function show(found, info) {
    const about = info.statistics[view.statistic];
    const module = found.single ? found.facts?.modules[view.module] : null;
    const decoder = info.decoder;
    replace(body, view.layer === "map" ? [
      h("p", { class: "nv-trusted" }, about.trust),
      module ? h("ul", {}, measured(module, about).map((line) => h("li", {}, line))) : null,
      found.facts && view.subject !== MEAN ? likeness(found.facts.likeness, info.modules) : null,
      h("details", {}, h("summary", {}, "Equation, assumptions, source"), h("p", { class: "nv-equation" }, about.equation), h("p", {}, h("b", {}, "Assumes. "), about.assumes), h("p", {}, h("b", {}, "Source. "), about.source)),
    ] : h("p", {}, KINDS[view.layer].told, "."),
    decoder ? h("p", { class: "nv-note" }, `Decoder ${decoder.folder}, SHA-256 ${decoder.sha256.slice(0, 12)}… ${info.recorded ? "This run recorded it." : "The run does not say what decoded it; this is the decoder that is shipped for its subject."}`) : null);
  }

  function measured(module, about) {
    const table = module.table;
    const sure = table.filter((row) => row.p_corrected < 0.05).length;
    const half = module.reliability;
    const by = view.statistic === "permutation" ? "areas from odd and even stretches of the validation runs" : view.statistic.startsWith("weight") ? "voxels from odd and even outputs of the first layer" : "voxels from odd and even training runs";
    return [
      half === null ? "Split halves: there are none for this map." : `Split-half reliability: r = ${number(half, 2)} over ${by}.`,
      table.length ? `${sure} of ${table.length} areas at corrected p < .05. ${about.test}` : "No areas are known of a volume, so nothing is tested.",
      module.above_null === null ? null : `${Math.round(module.above_null * 100)} % of voxels at p ≤ .05, uncorrected, each by the same test (${module.n_shifts} shifts); 5 % by chance if areas shared neither signal nor noise.`,
      table.length ? about.interval : null,
      module.note || null,
    ].filter(Boolean);
  }

  // Every pair of modules once, as a small table of correlations.
  function likeness(pairs, modules) {
    const value = (a, b) => pairs[`${a} ~ ${b}`] ?? pairs[`${b} ~ ${a}`];
    return h("div", {}, h("p", { class: "nv-sub" }, "How alike the modules' maps are (correlation over voxels)"), h("table", { class: "nv-like" },
      h("thead", {}, h("tr", {}, h("td", {}), modules.map((name) => h("th", { scope: "col" }, MODULES[name] || name)))),
      h("tbody", {}, modules.map((row) => h("tr", {}, h("th", { scope: "row" }, MODULES[row] || row), modules.map((column) => h("td", { class: "nv-mono" }, row === column ? "" : signed(value(row, column), 2))))))));
  }
  return { node, show };
}
