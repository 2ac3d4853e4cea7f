// Small charts, each a function from data to one SVG or table. Colours are Okabe and Ito's, safe for colour-blind readers.

import { scoredFrom, withUnit } from "./browser.js";
import { h, number, s, signed } from "./dom.js";
import { current, marks, state } from "./state.js";

// Where one clip stands among all of a run: a rug of clips, the mean, the chance level, the clip itself.
export function rug(values, value, mean, chance, higher) {
  const known = [...values, value, mean, chance].filter((v) => typeof v === "number");
  let [low, high] = [Math.min(...known), Math.max(...known)];
  const span = high - low || 1;
  low -= span * 0.04;
  high += span * 0.04;
  const x = (v) => ((v - low) / (high - low)) * 100;
  const thin = values.length > 300 ? values.filter((_, i) => i % Math.ceil(values.length / 300) === 0) : values;
  return s("svg", { class: "nv-rug", viewBox: "0 0 100 18", preserveAspectRatio: "none", role: "img", "aria-label": `${values.length} clips; this one ${number(value)}` },
    s("line", { x1: 0, x2: 100, y1: 14, y2: 14, class: "axis" }),
    thin.map((v) => s("line", { x1: x(v), x2: x(v), y1: 7, y2: 14, class: "one" })),
    typeof chance === "number" ? s("line", { x1: x(chance), x2: x(chance), y1: 2, y2: 18, class: "chance" }) : null,
    typeof mean === "number" ? s("line", { x1: x(mean), x2: x(mean), y1: 4, y2: 17, class: "mean" }) : null,
    typeof value === "number" ? s("rect", { x: x(value) - 0.7, width: 1.4, y: 1, height: 16, class: "this" }) : null,
    s("title", {}, `left to right: ${higher ? "worse to better" : "better to worse"}`));
}

export function percentile(values, value, higher) {
  if (typeof value !== "number" || values.length < 5) return null;
  const below = values.filter((v) => v < value).length + values.filter((v) => v === value).length / 2;
  return Math.round((higher ? below : values.length - below) / values.length * 100);
}

// From the full model's value to the combination's: one bar around nought.
export function change(from, to, limit, higher) {
  const delta = to - from;
  const width = Math.min(50, (Math.abs(delta) / (limit || 1)) * 50);
  const good = delta === 0 ? "same" : (delta > 0) === higher ? "good" : "bad";
  return s("svg", { class: "nv-change", viewBox: "0 0 100 12", preserveAspectRatio: "none", "data-change": good, role: "img", "aria-label": signed(delta) },
    s("rect", { x: delta < 0 ? 50 - width : 50, y: 2, width: Math.max(width, 0.6), height: 8 }),
    s("line", { x1: 50, x2: 50, y1: 0, y2: 12, class: "axis" }));
}

// A long name of a row keeps to its 174 of the 190 units left of a plot, whatever font a saved file is read with.
const squeezed = (title) => (title.length > 24 ? { textLength: 174, lengthAdjust: "spacingAndGlyphs" } : {});
const ofRun = () => `Run: ${state.run.title} (${state.run.name}).`;

// How the errors of shuffled orders spread: a row a model, a dot an order, a line for the true order.
export function ordersplot(rows) {
  const height = 66;
  const left = 190;
  const width = 640;
  const all = rows.flatMap((row) => [...row.shuffled, row.epe]);
  const span = Math.max(...all) - Math.min(...all) || 1;
  const [low, high] = [Math.min(...all) - span * 0.06, Math.max(...all) + span * 0.06];
  const x = (v) => left + ((v - low) / (high - low)) * (width - left - 16);
  const total = rows.length * height + 40;
  const ticks = Array.from({ length: 5 }, (_, i) => low + ((i + 0.5) / 5) * (high - low));
  const { run } = state;
  const about = { title: "Shuffle test: end-point error (px) of shuffled frame orders", down: "model", marks: marks(),
    facts: [ofRun(), `Clip: ${current()?.id}. Convention: corrected; ${rows[0].n_frames} frames, ${scoredFrom(run, true)}.`, `A dot: one of ${rows[0].shuffled.length} random orders. A line: the true order.`] };
  return describe(s("svg", { class: "nv-shuffle nv-ordersplot", viewBox: `0 0 ${width} ${total}`, role: "img", "aria-label": rows.map((row) => `${row.title}: true order ${number(row.epe)}, ${Math.round(row.share * 100)} % of orders lower`).join("; ") },
    ticks.map((v) => [s("line", { x1: x(v), x2: x(v), y1: 4, y2: total - 34, class: "grid" }), s("text", { x: x(v), y: total - 20, "text-anchor": "middle" }, number(v, 2))]),
    s("text", { x: (left + width) / 2, y: total - 4, "text-anchor": "middle" }, "end-point error, pixels"),
    rows.map((row, i) => {
      const base = 4 + i * height + height - 8;
      const stacks = new Map();
      return [
        s("text", { x: left - 12, y: base - 18, "text-anchor": "end", class: "name", ...squeezed(row.title) }, row.title),
        s("text", { x: left - 12, y: base - 3, "text-anchor": "end" }, `${Math.round(row.share * 100)} % lower`),
        s("line", { x1: left, x2: width - 16, y1: base, y2: base, class: "grid" }),
        row.shuffled.map((v) => {
          const bin = Math.round((x(v) - left) / 6);
          const level = stacks.get(bin) ?? 0;
          stacks.set(bin, level + 1);
          return { cx: left + bin * 6, level };
        }).map(({ cx, level }) => s("circle", { cx, cy: base - 4 - level * Math.min(5, (height - 16) / Math.max(...stacks.values())), r: 2.3, class: "order" })),
        s("line", { x1: x(row.epe), x2: x(row.epe), y1: base - height + 14, y2: base + 4, class: "true", "data-part": row.key }),
        s("text", { x: x(row.epe) + (x(row.epe) > width - 120 ? -5 : 5), y: base - height + 22, "text-anchor": x(row.epe) > width - 120 ? "end" : "start", class: "name" }, `true order ${number(row.epe, 2)}`)];
    })), about);
}

// Share of shuffled frame orders with a lower error than the true one: a dot a clip, a bar for the mean, and across the bar
// a dashed line for the mean of mispaired clips, where it was measured.
export function shuffleplot(rows) {
  const height = 34;
  const left = 190;
  const width = 640;
  const x = (v) => left + v * (width - left - 60);
  const total = rows.length * height + 34;
  const share = (v) => `${(v * 100).toFixed(0)} %`;
  // Where the value is written: past all dots, and past a dashed line that would run through it.
  const end = (value, clips, chance) => {
    const last = Math.max(value, ...clips, 0);
    return typeof chance === "number" && chance > last && chance < last + 0.12 ? chance : last;
  };
  const { run } = state;
  const scores = rows.map((row) => Object.entries(run.scores[row.key] ?? {}).find(([name]) => /shuffle/i.test(name))?.[1]).filter(Boolean);
  const each = (told) => [...new Set(told.filter(Boolean))].join(" / ") || "not told";
  const measured = rows.some((row) => typeof row.chance === "number");
  const about = { title: "Shuffle test: share of shuffled frame orders with a lower end-point error than the true order (%)", marks: marks(),
    down: "model", across: "orders with a lower end-point error than the true one, %", dashed: measured ? "the same over mispaired clips (chance), one for each bar" : "",
    facts: [ofRun(), `Convention: ${each(scores.map((one) => one.convention))}; ${each(scores.map((one) => one.frames))}; scored ${each(rows.map((row) => scoredFrom(run, run.kept.includes(row.key))))}.`,
      `Clips: ${each(scores.map((one) => String(one.n)))}. A bar: their mean. A dot: a clip.`] };
  return describe(s("svg", { class: "nv-shuffle", viewBox: `0 0 ${width} ${total}`, role: "img", "aria-label": `Shuffle test: ${rows.map((row) => `${row.title} ${share(row.value)}, mispaired clips ${typeof row.chance === "number" ? share(row.chance) : "not measured"}`).join("; ")}` },
    [0, 0.25, 0.5, 0.75, 1].map((v) => [
      s("line", { x1: x(v), x2: x(v), y1: 4, y2: total - 24, class: "grid" }),
      s("text", { x: x(v), y: total - 8, "text-anchor": "middle" }, `${v * 100} %`)]),
    rows.map(({ title, key, value, clips, chance }, i) => {
      const y = 4 + i * height;
      return [
        s("text", { x: left - 12, y: y + height / 2 + 4, "text-anchor": "end", class: "name", ...squeezed(title) }, title),
        s("rect", { x: x(0), y: y + 8, width: Math.max(1, x(value) - x(0)), height: height - 16, class: "bar", "data-part": key }),
        clips.slice(0, 400).map((v, j) => s("circle", { cx: x(v), cy: y + height / 2 + (((j * 0.618) % 1) - 0.5) * (height - 14), r: 1.8, class: "dot" })),
        typeof chance === "number" ? s("line", { x1: x(chance), x2: x(chance), y1: y + 3, y2: y + height - 3, class: "chance", "data-part": key }, s("title", {}, `${title}, mispaired clips: ${share(chance)}`)) : null,
        s("text", { x: x(end(value, clips, chance)) + 10, y: y + height / 2 + 4, class: "value" }, share(value))];
    })), about);
}

export function csv(rows) {
  return rows.map((row) => row.map((cell) => (/[",\n]/.test(String(cell)) ? `"${String(cell).replaceAll('"', '""')}"` : String(cell))).join(",")).join("\n");
}

// A picture to keep: a canvas enlarged at least twice, with room `below` it and a pen that writes there.
export function sheet(canvas, below, smooth = false) {
  const scale = Math.max(2, Math.ceil(1600 / canvas.width));
  const [width, height] = [canvas.width * scale, canvas.height * scale];
  const page = h("canvas", { width, height: height + below });
  const pen = page.getContext("2d");
  const style = getComputedStyle(document.querySelector(".nv-root"));
  pen.fillStyle = style.getPropertyValue("--nv-panel");
  pen.fillRect(0, 0, width, page.height);
  pen.imageSmoothingEnabled = smooth;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(canvas, 0, 0, width, height);
  const write = (text, x, y, size, weight = 400) => {
    pen.fillStyle = style.getPropertyValue("--nv-ink");
    pen.font = `${weight} ${size}px ${style.fontFamily}`;
    pen.fillText(text, x, y, width - x - 24);
  };
  return { page, pen, width, height, write };
}

export function saveCanvas(name, canvas) {
  canvas.toBlob((blob) => download(name, blob, "image/png"));
}

export function download(name, content, type = "text/csv") {
  const url = URL.createObjectURL(new Blob([content], { type }));
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

// What a saved chart must say of itself, kept on the chart: `title` (the metric with its unit), `facts` (run, convention,
// clips; a line each), `across` and `down` (its axes, with units), `dashed` (what the dashed line is), `marks` (such as
// "Simulated data"). Of a chart without it, its figure on the page is read.
export function describe(svg, about) {
  svg.about = about;
  return svg;
}

// Break a text into lines of at most `most` letters, between words.
function wrap(text, most) {
  return text.split(" ").reduce((lines, word) => {
    const last = lines.at(-1);
    if (last && last.length + word.length < most) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
    return lines;
  }, []);
}

const LINE = 17; // height of a line of the text above and below a saved chart

// What the page says beside a chart: the caption of its figure, else the beginning of its own description.
function told(svg) {
  const figure = svg.closest("figure");
  const plain = (svg.getAttribute("aria-label") ?? "").split(": ")[0];
  const title = figure?.querySelector("figcaption b")?.textContent;
  const measured = title && withUnit(title, figure.dataset.metric);
  return { title: measured || plain, across: measured, facts: [figure?.querySelector("figcaption small")?.textContent].filter(Boolean).map((text) => `${text}.`) };
}

// Write above and below a copy of a chart what it shows, in a box that is as much higher.
function inscribe(copy, svg, name) {
  const about = svg.about ?? told(svg);
  const [left, top, width, height] = (copy.getAttribute("viewBox") ?? `0 0 ${svg.clientWidth} ${svg.clientHeight}`).split(/[ ,]+/).map(Number);
  const most = Math.max(24, Math.floor(width / 7.4));
  const title = about.title || name;
  const marks = about.marks ?? (/simulated/i.test(name) ? ["Simulated data"] : []);
  const dashed = about.dashed ?? (svg.querySelector(".chance") ? "chance" : "");
  const facts = [...(about.facts ?? []), about.down ? `Rows: ${about.down}.` : "", dashed ? `Dashed line: ${dashed}.` : "", marks.length ? `${marks.join("; ")}.` : ""].filter(Boolean);
  const head = [...wrap(title, most).map((text) => [text, 700]), ...facts.flatMap((fact) => wrap(fact, most).map((text) => [text, 400]))];
  const above = head.length * LINE + 10;
  const below = about.across ? LINE + 6 : 0;
  const look = getComputedStyle(document.querySelector(".nv-root"));
  const ink = look.getPropertyValue("--nv-ink").trim();
  const write = (text, x, y, weight, anchor) => s("text", { x, y, "text-anchor": anchor, "font-weight": weight, "font-size": 12, "font-family": look.fontFamily, fill: ink }, text);
  copy.querySelector(":scope > title")?.remove();
  copy.prepend(s("title", {}, title), s("desc", {}, [...facts, about.across ? `Across: ${about.across}.` : ""].filter(Boolean).join(" ")),
    s("rect", { x: left, y: top - above, width, height: height + above + below, fill: look.getPropertyValue("--nv-panel").trim() }));
  copy.append(...head.map(([text, weight], i) => write(text, left + 8, top - above + LINE * (i + 1), weight, "start")),
    ...(about.across ? [write(about.across, left + width / 2, top + height + LINE - 3, 400, "middle")] : []));
  for (const [key, value] of Object.entries({ viewBox: `${left} ${top - above} ${width} ${height + above + below}`, width, height: height + above + below })) copy.setAttribute(key, value);
}

// An SVG of the page as a file of its own, with the colours it has now, that says what it shows.
export function downloadSVG(name, svg) {
  const copy = svg.cloneNode(true);
  const live = [svg, ...svg.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((node, i) => {
    const style = getComputedStyle(live[i]);
    for (const key of ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-family", "font-size", "opacity"]) node.style.setProperty(key, style.getPropertyValue(key));
  });
  inscribe(copy, svg, name);
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  download(name, new XMLSerializer().serializeToString(copy), "image/svg+xml");
}
