// One queue: how it stands, what is taken from it next, and what can be done with it.

import { act, ask, get } from "./app.js";
import { age, code, empty, h, number, rate, table, taskLink, tile } from "./dom.js";

export const load = ({ of }) => get("queue", { name: of });
export const every = 5;

export function draw({ moment, data, asked, session }) {
  const queue = moment.queues.find(({ name }) => name === asked.of) ?? { name: asked.of, ready: data.why.of };
  const others = moment.queues.filter(({ name, parked }) => name !== queue.name && !parked).map(({ name }) => name);
  return [
    h("div.head", {}, h("h1", {}, h("span.dim", {}, "Queue "), queue.name, queue.paused ? h("span.tag.late", {}, "paused") : null),
      session.act && !queue.parked ? h("span.buttons", {},
        h("button", { type: "button", onclick: () => pause(queue) }, queue.paused ? "Resume" : "Pause"),
        h("button", { type: "button", disabled: !queue.ready || !others.length, onclick: () => move(queue, others) }, "Move …")) : null),
    why(data.why),
    h("section.tiles", { "aria-label": "In numbers" }, [
      ["waiting", number(queue.ready)], ["taken by workers", number(queue.unacked)], ["oldest", queue.ready ? age(queue.oldest_age_s) : "–"],
      ["in, a second", rate(queue.in_s)], ["out, a second", rate(queue.out_s)], ["readers", number(queue.consumers)],
    ].map(([label, value]) => tile(label, value))),
    h("section.panel", {}, h("h2", {}, "Taken next"), data.unseen ? empty(data.unseen) : data.messages.length
      ? table([["", ".num.dim"], ["Task", ".mono"], ["Age", ".num"], ["Priority", ".num"]], data.messages.map((one, n) =>
        [null, [n + 1, one.id ? taskLink(one.id, one.call) : one.call, age(one.age_s), one.priority ?? "–"]]))
      : empty("Nothing waits here.", "Send something: ", code(`celeryfleet send TASK --queue ${queue.name}`))),
  ];
}

/** Say how something stands, why it is not further, and what to do. */
export function why(found) {
  return h("section.panel.why", { "aria-label": "Why" }, h("ul", {}, found.because.map((text) => h("li", {}, text))),
    found.hints.length ? h("p.hints", {}, found.hints.map((hint) => code(hint))) : null);
}

async function pause(queue) {
  const done = queue.paused ? "is read again" : "is left alone; what waits there stays";
  await act(queue.paused ? "resume" : "pause", { queue: queue.name }, `${queue.name} ${done}.`);
}

async function move(queue, others) {
  const given = await ask(`Move messages of ${queue.name}`, {
    yes: "Move", text: "In their order and with their priority. What workers have taken stays with them.",
    fields: [h("label", {}, "To", h("select", { name: "to" }, others.map((name) => h("option", { value: name }, name)))),
      h("label", {}, "How many, from the front (empty: all)", h("input", { name: "count", type: "number", min: "1" })),
      h("label", {}, "Only tasks called", h("input", { name: "task", value: "*" }))],
  });
  if (!given) return;
  const body = { queue: queue.name, to: given.to, task: given.task || "*", ...(given.count ? { count: Number(given.count) } : {}) };
  await act("move", body, ({ moved }) => `${number(moved)} moved to ${given.to}.`);
}

