// Small helpers to build the page. Text always goes in as text, never as HTML.

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function replace(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function panel(title, aside, ...body) {
  return h("section", { class: "nv-panel" }, h("header", {}, h("h2", {}, title), h("span", { class: "nv-aside" }, aside)), body);
}

export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : size >= 3 ? 2 : digits).replace("-", "−");
}

export function signed(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  return (value > 0 ? "+" : "") + number(value, digits);
}

const ICONS = {
  play: "M4 2.5v11l9.5-5.5z",
  pause: "M3.5 2.5h3.2v11H3.5zM9.3 2.5h3.2v11H9.3z",
  back: "M3 3h2v10H3zM13 3v10L5.8 8z",
  forward: "M11 3h2v10h-2zM3 3v10l7.2-5z",
  loop: "M3 8a5 5 0 0 1 8.6-3.5L13 3v4H9l1.5-1.5A3.5 3.5 0 1 0 11.5 8H13A5 5 0 1 1 3 8z",
  up: "M8 4l5.5 6.5h-11z",
  down: "M8 12L2.500 5.500h11z",
  dice: "M3 2h10a1 1 0 0 1 1 1v10a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V3a1 1 0 0 1 1-1zm2 2.200a1 1 0 1 0 0 2 1 1 0 0 0 0-2zM8 7a1 1 0 1 0 0 2 1 1 0 0 0 0-2zm3 2.800a1 1 0 1 0 0 2 1 1 0 0 0 0-2z",
  copy: "M5 1h8a1 1 0 0 1 1 1v9h-2V3H5zM3 5h7a1 1 0 0 1 1 1v8a1 1 0 0 1-1 1H3a1 1 0 0 1-1-1V6a1 1 0 0 1 1-1z",
};

export function icon(name) {
  return s("svg", { viewBox: "0 0 16 16", width: 14, height: 14, "aria-hidden": "true", fill: "currentColor", "fill-rule": "evenodd" }, s("path", { d: ICONS[name] }));
}

export function button(label, content, onclick, attributes = {}) {
  return h("button", { type: "button", "aria-label": label, title: label, onclick, ...attributes }, content);
}

// Do something once the browser has time for it, and within a quarter of a second.
export function later(work) {
  if (window.requestIdleCallback) requestIdleCallback(work, { timeout: 250 });
  else setTimeout(work, 60);
}

export async function getJSON(path) {
  const response = await fetch(path);
  const body = await response.json().catch(() => ({})); // a failure of the server's own comes as plain text
  if (!response.ok) throw new Error(body.error || `the server answered ${response.status}`);
  return body;
}

export async function getArray(path, Type) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`the server answered ${response.status}`);
  return new Type(await response.arrayBuffer());
}
