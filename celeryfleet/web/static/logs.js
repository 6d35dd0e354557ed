// The end of the logs, as they are written.

import { draw as redraw, refine, state } from "./app.js";
import { choice, empty, finder, h } from "./dom.js";

const MOST = 1000;
let stream = null;
let lines = [];
let held = false;
let count = 0;

export function enter() {
  leave();
  stream = new EventSource(`api/log?${new URLSearchParams({ of: state.asked.of ?? "" })}`);
  stream.onmessage = (event) => {
    if (held) return;
    lines = [...lines, ...JSON.parse(event.data).map(([name, text]) => [name, text, ++count])].slice(-MOST);
    redraw();
  };
}

export function leave() {
  stream?.close();
  [stream, lines, held] = [null, [], false];
}

export function draw({ moment, asked }) {
  const { of = "", find = "" } = asked;
  const names = moment.pools.flatMap((pool) => [pool.name, ...pool.workers.map((worker) => worker.name)]);
  const shown = find ? lines.filter(([name, text]) => `${name} ${text}`.toLowerCase().includes(find.toLowerCase())) : lines;
  return [
    h("div.head", {}, h("h1", {}, "Logs"), h("span.filters", {},
      choice("Whose", of, [["", "all"], ["supervisor"], ...names.map((name) => [name])], (name) => { location.hash = `#/logs/${encodeURIComponent(name)}`; }),
      finder("Only lines with", find, (text) => refine({ find: text })),
      h("button", { type: "button", "aria-pressed": String(held), onclick: () => { held = !held; redraw(); } }, held ? "Go on" : "Hold"))),
    shown.length ? h("section.panel.log", { id: "log", tabindex: "0", "aria-label": "Lines" }, shown.map(([name, text, n]) =>
      h(`div${/\b(ERROR|CRITICAL|Traceback)\b/.test(text) ? ".bad" : /\bWARNING\b/.test(text) ? ".late" : ""}`, { "data-key": n }, h("b", {}, name), " ", text)))
      : empty(find ? "No line has that." : "No line yet.", "Workers write here what their tasks log."),
  ];
}

let bottom = true;
document.addEventListener("scroll", (event) => {
  if (event.target.id === "log") bottom = event.target.scrollTop + event.target.clientHeight > event.target.scrollHeight - 30;
}, true);

export function drawn() {
  const log = document.getElementById("log");
  if (log && bottom) log.scrollTop = log.scrollHeight;
}

