// Throughput, wait and run time over a quarter of an hour or a day, drawn by hand.

import { draw as redraw, get, refine } from "./app.js";
import { choice, code, empty, h, rate, seconds } from "./dom.js";

export const every = 15;
export const load = ({ span = "15m", queue = "" }) => get("chart", { span, queue });
export const leave = () => { at = null; };

const [HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [200, 52, 10, 10, 22];
let at = null;

export function draw({ moment, data, asked }) {
  const { span = "15m", queue = "" } = asked;
  const { points } = data;
  const all = Math.max(280, document.getElementById("main").clientWidth - (innerWidth > 820 ? 86 : 58));
  const half = innerWidth > 1000 ? (all - 56) / 2 : all;
  const [wait, run] = ["wait", "run"].map((key) => [0, 1].map((n) => points.map((point) => point[key]?.[n] ?? null)));
  return [
    h("div.head", {}, h("h1", {}, "Charts"), h("span.filters", {},
      h("span.segments", { role: "group", "aria-label": "Span" }, [["15m", "15 minutes"], ["24h", "24 hours"]].map(([key, text]) =>
        h("button", { type: "button", "aria-pressed": String(span === key), onclick: () => refine({ span: key }) }, text))),
      choice("Queue", queue, [["", "all queues"], ...moment.queues.filter(({ parked }) => !parked).map(({ name }) => [name])], (name) => refine({ queue: name })))),
    data.count ? null : empty("No task has ended in that time.", "Send some: ", code("celeryfleet send add 4 4 --count 100 --no-wait")),
    chart("Throughput", "tasks a second", data, all, [["done", points.map((p) => p.done_s)], ["failed", points.map((p) => p.failed_s)]], rate, true),
    h("div.halves", {}, chart("Wait", "from when it was sent to its start", data, half, [["p95", wait[1]], ["p50", wait[0]]], seconds),
      chart("Run", "how long tasks ran", data, half, [["p95", run[1]], ["p50", run[0]]], seconds)),
  ];
}

/** Round a highest value up to one that divides well. */
function ceiling(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * [1, 2, 2.5, 5, 10].find((factor) => factor * unit >= value * 0.999);
}

function chart(title, subtitle, { points, step_s: step }, width, series, written, filled = false) {
  const known = series.flatMap(([, values]) => values).filter((value) => value !== null);
  const most = ceiling(Math.max(...known, 1e-3));
  const x = (n) => LEFT + (n / Math.max(1, points.length - 1)) * (width - LEFT - RIGHT);
  const y = (value) => TOP + (1 - value / most) * (HEIGHT - TOP - BOTTOM);
  const last = points.length - 1;
  const time = (n) => new Date(points[n].at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const shown = at ?? last;
  const point = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const n = Math.round((((event.clientX - box.left) / box.width) * width - LEFT) / (width - LEFT - RIGHT) * last);
    at = Math.min(last, Math.max(0, n));
    redraw();
  };
  const keys = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    at = Math.min(last, Math.max(0, shown + by));
    redraw();
  };
  return h("section.panel.chart", { "data-key": title, "aria-label": title },
    h("div.head", {}, h("h2", {}, title, h("span.dim", {}, ` ${subtitle}`)),
      h("span.legend", {}, h("span.dim", {}, at === null ? "lately" : `${time(shown)}`),
        series.map(([name, values], n) => h(`span.s${n}`, {}, h("i"), `${name} `, h("b", {}, written(values[shown])))))),
    h("svg", {
      viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", tabindex: "0", onpointermove: point, onkeydown: keys, onpointerleave: () => { at = null; redraw(); },
      "aria-label": `${title} over ${points.length} steps of ${step} seconds; the highest is ${written(Math.max(...known, 0))}. Arrow keys read it.`,
    },
    [0, 0.5, 1].map((part) => [h("line.grid", { x1: LEFT, x2: width - RIGHT, y1: y(part * most), y2: y(part * most) }),
      h("text", { x: LEFT - 8, y: y(part * most) + 4, "text-anchor": "end" }, written(part * most))]),
    [0, 0.25, 0.5, 0.75, 1].map((part) => h("text", {
      x: x(part * last), y: HEIGHT - 5, "text-anchor": part === 1 ? "end" : part ? "middle" : "start",
    }, time(Math.round(part * last)))),
    series.map(([, values], n) => line(values, n, x, y, filled && !n)),
    at === null ? null : h("line.cursor", { x1: x(at), x2: x(at), y1: TOP, y2: HEIGHT - BOTTOM })));
}

/** Draw a line that is broken where nothing is known. */
function line(values, n, x, y, filled) {
  const parts = [];
  values.forEach((value, step) => {
    if (value === null) return;
    const spot = `${x(step).toFixed(1)},${y(value).toFixed(1)}`;
    if (step && values[step - 1] !== null) parts.at(-1).push(spot);
    else parts.push([spot]);
  });
  const [floor, d] = [y(0).toFixed(1), parts.map((spots) => `M${spots.join(" L")}${spots.length > 1 ? "" : " h0.01"}`).join(" ")];
  const area = parts.map((spots) => `M${spots[0].split(",")[0]},${floor} L${spots.join(" L")} L${spots.at(-1).split(",")[0]},${floor} Z`).join(" ");
  return h(`g.s${n}`, {}, filled ? h("path.area", { d: area }) : null, h("path.line", { d }));
}

