// The fleet alive: which tasks go to which queues, what waits there, and which pools read them.

import { act, ask, get, state } from "./app.js";
import { age, counted, empty, h, number, queueLink, rate, spark, tile } from "./dom.js";

export const load = () => get("topology");
export const every = 10;

export function draw({ moment, data }) {
  const workers = moment.pools.flatMap((pool) => pool.workers);
  const queues = moment.queues.filter((queue) => !queue.parked);
  const waiting = queues.reduce((sum, queue) => sum + (queue.ready ?? 0), 0);
  const oldest = queues.filter((queue) => queue.ready && queue.oldest_age_s !== null)
    .sort((a, b) => b.oldest_age_s - a.oldest_age_s)[0];
  const running = workers.reduce((sum, worker) => sum + worker.active, 0);
  const [ready, want] = ["ready", "want"].map((key) => moment.pools.reduce((sum, pool) => sum + pool[key], 0));
  const restarts = workers.reduce((sum, worker) => sum + worker.restarts, 0);
  return [
    h("h1.hidden", {}, "Fleet"),
    h("section.tiles", { "aria-label": "In short" },
      tile("tasks a second", rate(moment.rate), spark(moment.rates, "tasks a second, of late")),
      tile("waiting", number(waiting), h("span.dim", {}, `in ${counted(queues.length, "queue")}`)),
      tile("oldest", oldest ? age(oldest.oldest_age_s) : "–", h("span.dim", {}, oldest ? ["in ", queueLink(oldest.name)] : "nothing waits"),
        oldest && isLate(oldest) ? ".late" : ""),
      tile("running", number(running), h("span.dim", {}, running ? h("a", { href: "#/workers" }, "see what") : "no task")),
      tile("workers ready", `${number(ready)} / ${number(want)}`, h("span.dim", {}, `${counted(restarts, "restart")}`), ready < want ? ".late" : "")),
    data.hosts.length > 1 ? h("section.panel", {}, h("h2", {}, "Hosts"), h("div.hosts", {}, data.hosts.map((host) => h("span", {}, h("b", {}, host.name), " ",
      h(`span.pill.${host.state}`, {}, host.state), h("span.dim", {}, ` ${host.ready} of ${host.want} ready · ${host.here ? "this one" : host.age_s === null ? "never heard of" : `told ${age(host.age_s)} ago`}`))))) : null,
    h("section.flow", { id: "flow", "aria-label": "Routes, queues and pools" },
      h("div.column", {}, h("h2", {}, "Routes"), data.sources.map((source) => route(source))),
      h("div.column", {}, h("h2", {}, "Queues"), moment.queues.map((queue) => card(queue, data.queues.find(({ name }) => name === queue.name)))),
      h("div.column", {}, h("h2", {}, "Pools"), ordered(moment).map((pool) => poolCard(pool)),
        moment.pools.length ? null : empty("No pool runs.", "Start the fleet: celeryfleet up -d")),
      h("svg.edges", { id: "edges", "aria-hidden": "true" })),
  ];
}

const isLate = (queue) => queue.max_age !== null && queue.oldest_age_s > queue.max_age;

/** Put pools beside the queues that they read, so that few lines cross. */
function ordered(moment) {
  const at = (pool) => pool.queues.reduce((sum, name) => sum + moment.queues.findIndex((queue) => queue.name === name), 0) / (pool.queues.length || 1);
  return [...moment.pools].sort((a, b) => at(a) - at(b));
}

function route(source) {
  const goes = source.queues.length ? `→ ${source.queues.join(", ")}` : source.lost ? "→ nowhere" : "→ decided when it is sent";
  const kind = { beat: "beat", router: "router", default: "the rest" }[source.kind] ?? (source.line ? `line ${source.line}` : "");
  return h(`div.card.route${source.lost ? ".bad" : ""}`, { id: source.id, "data-key": source.id },
    h("span.mono.name", {}, source.text),
    h("span.meta", {}, h("span.dim", {}, kind), source.priority === null ? null : h("span.tag", {}, `priority ${source.priority}`),
      h("span.dim.goes", {}, goes)));
}

function card(queue, node) {
  const late = isLate(queue);
  const mood = queue.paused ? "paused" : late ? "late" : queue.consumers || queue.parked ? "" : "bad";
  return h(`div.card.queue${mood && `.${mood}`}`, { id: `queue:${queue.name}`, "data-key": `queue:${queue.name}` },
    h("div.row", {}, h("span.name", {}, queueLink(queue.name), node?.default ? h("span.tag", {}, "default") : null,
      queue.paused ? h("span.tag.late", {}, "paused") : null, queue.parked ? h("span.tag", {}, "set aside") : null),
    h("b.depth", { title: "waiting" }, number(queue.ready))),
    spark(queue.trend, `waiting in ${queue.name}, of late`),
    h("div.row.meta", {}, h(`span${late ? ".late" : ""}`, {}, queue.ready ? `oldest ${age(queue.oldest_age_s)}` : "nothing waits"),
      queue.parked ? h("a", { href: "#/failed" }, "see them") :
        h("span.dim", { title: "messages a second in and out" }, `${rate(queue.in_s)}/s in · ${rate(queue.out_s)}/s out`)));
}

const busy = (worker) => worker.active > 0 && worker.state === "ready";

function poolCard(pool) {
  const doing = pool.workers.filter(busy).length;
  const mood = pool.ready >= pool.want ? "" : pool.ready ? "late" : "bad";
  return h(`div.card.pool${mood && `.${mood}`}`, { id: `pool:${pool.name}`, "data-key": `pool:${pool.name}` },
    h("div.row", {}, h("span.name", {}, h("a", { href: `#/workers?find=${encodeURIComponent(pool.name)}` }, pool.name)),
      h("span", {}, h("b", {}, pool.ready), h("span.dim", {}, ` of ${pool.want}`), sizes(pool))),
    h("div.dots", { role: "img", "aria-label": `${pool.ready} of ${pool.want} ready, ${doing} busy` },
      pool.workers.map((worker) => h(`i.${worker.state}${busy(worker) ? ".busy" : ""}`, { title: `${worker.name}: ${busy(worker) ? worker.tasks[0]?.task ?? "busy" : worker.state}` }))),
    h("div.row.meta", {}, h("span.dim", {}, `${pool.implementation} × ${pool.concurrency}`), h("span.dim", {}, `${rate(pool.rate)}/s`)),
    h("div.goes.dim", {}, `← ${pool.queues.join(", ")}`),
    pool.reason && pool.ready < pool.want ? h("p.reason", {}, pool.reason.split("\n")[0]) : null);
}

/** Buttons that scale a pool, for who may. */
export function sizes(pool) {
  if (!state.session.act || pool.implementation === "beat") return null;
  return h("span.sizes", {},
    h("button.small", { type: "button", "aria-label": `a worker less in ${pool.name}`, disabled: pool.want === 0, onclick: () => scale(pool, pool.want - 1) }, "−"),
    h("button.small", { type: "button", "aria-label": `a worker more in ${pool.name}`, onclick: () => scale(pool, pool.want + 1) }, "+"));
}

async function scale(pool, replicas) {
  const text = "What waits for them stays in its queues.";
  if (!replicas && !(await ask(`Stop all workers of ${pool.name}?`, { yes: "Stop them", danger: true, text }))) return;
  await act("scale", { pool: pool.name, replicas }, `${pool.name}: ${counted(replicas, "worker")} wanted.`);
}

// --- The lines between ------------------------------------------------------------------------------------

/** Draw a line for each way that messages go, where there is room for columns. */
export function drawn() {
  const [flow, edges] = ["flow", "edges"].map((id) => document.getElementById(id));
  if (!flow || !state.data?.edges) return;
  const box = flow.getBoundingClientRect();
  const queues = Object.fromEntries(state.moment.queues.map((queue) => [`queue:${queue.name}`, queue]));
  const lines = [...ways()].map(([from, to, kind]) => {
    const [a, b] = [from, to].map((id) => document.getElementById(id)?.getBoundingClientRect());
    if (!a || !b) return null;
    const [x1, y1, x2, y2] = [a.right - box.left, a.top + a.height / 2 - box.top, b.left - box.left, b.top + b.height / 2 - box.top];
    const half = (x2 - x1) / 2;
    const flows = queues[to] ? queues[to].in_s > 0 : queues[from]?.out_s > 0;
    return h(`path.${kind}${flows ? ".flows" : ""}`, { d: `M${x1},${y1} C${x1 + half},${y1} ${x2 - half},${y2} ${x2},${y2}` });
  }).filter(Boolean);
  edges.setAttribute("viewBox", `0 0 ${box.width} ${box.height}`);
  edges.replaceChildren(...lines);
}

function* ways() {
  for (const source of state.data.sources) {
    for (const queue of source.queues) yield [source.id, `queue:${queue}`, source.kind === "router" ? "may" : "sends"];
  }
  for (const pool of state.moment.pools) {
    for (const queue of pool.queues) yield [`queue:${queue}`, `pool:${pool.name}`, "reads"];
  }
}

addEventListener("resize", () => state.moment && drawn());
