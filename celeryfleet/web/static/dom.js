// Makes elements and keeps them up to date. What tasks have said becomes text, never markup: nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";
const DRAWN = new Set(["svg", "path", "g", "line", "rect", "circle", "text", "title", "polyline"]);
const HANDLERS = ["onclick", "oninput", "onchange", "onsubmit", "onpointermove", "onpointerleave", "onkeydown", "onfocus"];
// What would turn the direction of a line, or is not seen at all, is spelled out.
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;

export const tame = (text) =>
  String(text).replace(UNSEEN, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);

/** Make an element: h("a.name", {href: "#/"}, "text", [more]). */
export function h(name, props, ...children) {
  const [tag, ...classes] = name.split(".");
  const node = DRAWN.has(tag) ? document.createElementNS(SVG, tag) : document.createElement(tag);
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (HANDLERS.includes(key)) node[key] = value;
    else node.setAttribute(key, value === true ? "" : tame(value));
  }
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    node.append(child instanceof Node ? child : tame(child));
  }
  return node;
}

const keyOf = (node) => (node.nodeType === 1 ? node.getAttribute("data-key") : null);

/** Make an element the same as another, with as little change as can be: focus, scrolling and selections stay. */
export function morph(old, fresh) {
  if (old.nodeType === 3 && fresh.nodeType === 3) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return;
  }
  if (old.nodeName !== fresh.nodeName || keyOf(old) !== keyOf(fresh)) {
    old.replaceWith(fresh);
    return;
  }
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value && !(name === "open" && old.nodeName === "DETAILS")) old.setAttribute(name, value);
  }
  if (old.type === "checkbox") old.checked = fresh.checked;
  for (const name of HANDLERS) if (old[name] !== fresh[name]) old[name] = fresh[name];
  const keyed = new Map([...old.children].filter(keyOf).map((node) => [keyOf(node), node]));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const key = keyOf(child);
    const match = key ? keyed.get(key) : at && !keyOf(at) ? at : null;
    if (!match) {
      old.insertBefore(child, at);
      continue;
    }
    if (match === at) at = at.nextSibling;
    else old.insertBefore(match, at);
    morph(match, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// --- How numbers are written -----------------------------------------------------------------------------

export const number = (value) => (value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en"));

export function rate(value) {
  if (value === null || value === undefined) return "–";
  return value >= 100 ? number(value) : value >= 10 ? value.toFixed(1) : value ? value.toFixed(value < 1 ? 2 : 1) : "0";
}

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  return value < 10 ? `${value.toFixed(1)} s` : age(value);
}

export function age(value) {
  if (value === null || value === undefined) return "–";
  const units = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const whole = Math.floor(value);
  const at = units.findIndex(([, each]) => whole >= each);
  if (at < 0) return "0s";
  const [unit, each] = units[at];
  const below = units[at + 1];
  const rest = below ? Math.floor((whole % each) / below[1]) : 0;
  return `${Math.floor(whole / each)}${unit}${rest ? ` ${rest}${below[0]}` : ""}`;
}

export const size = (bytes) =>
  !bytes ? "–" : bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`;

export const counted = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;

export const clock = (ms) =>
  new Date(ms).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const ago = (ms) => (ms ? `${age(Math.max(0, Date.now() / 1000 - ms / 1000))} ago` : "–");

/** Draw values as a small filled line; the highest of them is full. */
export function spark(values, label) {
  const [width, height] = [100, 24];
  const most = Math.max(...values, 1e-9);
  const step = width / Math.max(1, values.length - 1);
  const points = values.map((value, n) => `${(n * step).toFixed(1)},${(height - 1 - (value / most) * (height - 3)).toFixed(1)}`);
  if (points.length < 2) points.push(`${width},${height - 1}`);
  return h(`svg.spark${values.some(Boolean) ? "" : ".flat"}`, { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    h("path.area", { d: `M0,${height} L${points.join(" L")} L${width},${height} Z` }),
    h("path.line", { d: `M${points.join(" L")}` }));
}

/** Make a table: titles with their classes (".num"), and rows of a key and a cell for each title. */
export const table = (titles, rows, more = "") => h("div.scroll", {}, h(`table${more}`, {},
  h("thead", {}, h("tr", {}, titles.map(([title, kind = ""]) => h(`th${kind}`, { scope: "col" }, title)))),
  h("tbody", {}, rows.map(([key, cells]) => h("tr", { "data-key": key }, cells.map((cell, n) => h(`td${titles[n][1] ?? ""}`, {}, cell)))))));

/** Make a choice of one, of values and their texts. */
export const choice = (label, value, options, choose) => h("select", { "aria-label": label, onchange: ({ target }) => choose(target.value) },
  options.map(([key, text = key]) => h("option", { value: key, selected: key === value }, text)));

let typing = 0;

/** Make the field that "/" goes to. */
export const finder = (label, value, find) => h("input", {
  id: "find", type: "search", placeholder: label, "aria-label": label, value,
  oninput: ({ target }) => { clearTimeout(typing); typing = setTimeout(() => find(target.value), 200); },
});

export const tile = (label, value, more = null, mood = "") =>
  h(`div.tile${mood}`, {}, h("span.label", {}, label), h("b", {}, value), more);

/** Say that there is nothing, and what to do. */
export const empty = (what, ...more) => h("div.empty", {}, h("p", {}, what), more.length ? h("p.dim", {}, more) : null);

export const code = (text) => h("code", {}, text);

export const taskLink = (id, text) => h("a", { href: `#/task/${encodeURIComponent(id)}` }, text);
export const logLink = (name) => h("a", { href: `#/logs/${encodeURIComponent(name)}` }, name);
export const queueLink = (name) => h("a", { href: `#/queue/${encodeURIComponent(name)}` }, name);
