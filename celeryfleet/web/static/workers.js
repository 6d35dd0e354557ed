// Every worker with what it does now.

import { act, ask, refine, state } from "./app.js";
import { age, empty, finder, h, logLink, number, rate, size, table, taskLink } from "./dom.js";
import { sizes } from "./fleet.js";

// What a phone has no room for is wide.
const TITLES = [
  ["Worker"], ["State"], ["Task"], ["For", ".num.wide"], ["Tasks/s", ".num.wide"], ["Done", ".num.wide"], ["Failed", ".num"],
  ["Restarts", ".num.wide"], ["Memory", ".num.wide"], ["Up", ".num.wide"],
];

export function draw({ moment, asked }) {
  const words = (asked.find ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const fits = (pool, worker) => {
    const text = [pool.name, worker.name, worker.state, ...worker.tasks.map((task) => task.task)].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const groups = moment.pools.map((pool) => [pool, pool.workers.filter((worker) => fits(pool, worker))])
    .filter(([pool, workers]) => workers.length || (!pool.workers.length && !words.length));
  return [
    h("div.head", {}, h("h1", {}, "Workers"), finder("Filter: pool, state, task", asked.find, (find) => refine({ find }))),
    groups.length ? null : empty("No worker fits.", words.length ? "Other words find others." : "Start the fleet: celeryfleet up -d"),
    groups.map(([pool, workers]) => h("section.panel", { "data-key": pool.name, "aria-label": pool.name },
      h("div.head", {}, h("h2", {}, pool.name, h("span.dim", {}, `  ${pool.ready} of ${pool.want} ready · ${pool.queues.join(", ") || "reads no queue"}`)),
        h("span.buttons", {}, sizes(pool), state.session.act
          ? h("button.small", { type: "button", onclick: () => restart(pool) }, "Restart") : null)),
      table(TITLES, workers.map((worker) => [worker.name, cells(worker)]), ".workers"))),
  ];
}

function cells(worker) {
  const [first, ...rest] = worker.tasks;
  const why = worker.cause || (worker.state !== "ready" && worker.last_exit?.reason) || "–";
  return [
    logLink(worker.name), h(`span.pill.${worker.state}`, {}, worker.state),
    first ? [taskLink(first.id, first.task), rest.length ? h("span.dim", {}, ` +${rest.length}`) : null] : h("span.dim", {}, why),
    first ? age(first.for_s) : "", rate(worker.rate), number(worker.processed),
    worker.failed ? h("span.bad", {}, number(worker.failed)) : "0", number(worker.restarts), size(worker.rss_bytes), age(worker.uptime_s),
  ];
}

async function restart(pool) {
  const text = "Each of its workers finishes its tasks first.";
  if (await ask(`Restart ${pool.name}?`, { yes: "Restart", text })) await act("restart", { pool: pool.name }, `${pool.name} restarts.`);
}
