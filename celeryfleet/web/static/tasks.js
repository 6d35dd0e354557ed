// Tasks: those that run or have ended, one with all that is known of it, and those that went wrong.

import { act, ask, draw as redraw, get, refine } from "./app.js";
import { ago, choice, clock, code, counted, empty, finder, h, logLink, number, queueLink, seconds, table, taskLink } from "./dom.js";
import { why } from "./queue.js";

const STATES = ["running", "taken", "scheduled", "retrying", "waiting", "succeeded", "failed", "lost", "revoked", "expired"];
const pill = (how) => h(`span.pill.${how}`, {}, how);
const name = (one) => [taskLink(one.id, one.task || "?"), h("span.id", {}, one.id.slice(0, 8))];
const filters = (...fields) => h("form.filters", { role: "search", onsubmit: (event) => event.preventDefault() }, fields);

// --- Many ------------------------------------------------------------------------------------------------

const TITLES = [["Task"], ["State"], ["Queue", ".wide"], ["Worker", ".wide"], ["Waited", ".num.wide"], ["Ran", ".num"], ["Ended", ".num.dim"]];

export const list = {
  every: 3,
  load: ({ find = "", state = "" }) => get("tasks", { find, state }),
  draw({ data, asked }) {
    const { find = "", state = "" } = asked;
    return [
      h("div.head", {}, h("h1", {}, "Tasks"), filters(
        finder("Id, or how it begins; a name", find, (text) => refine({ find: text })),
        choice("State", state, [["", "any state"], ...STATES.map((each) => [each])], (how) => refine({ state: how })))),
      data.tasks.length ? h("section.panel", {}, table(TITLES, data.tasks.map((one) => [`${one.id}${one.ended ?? ""}`, [
        name(one), pill(one.state), one.queue ? queueLink(one.queue) : "–", one.worker || "–", seconds(one.wait_s),
        seconds(one.ended ? one.runtime_s : one.started && (Date.now() - one.started) / 1000), ago(one.ended)]])))
        : find || state ? empty("No task fits.", "Those that wait in a queue are seen on its page.")
          : empty("No task has run yet.", "Send one: ", code("celeryfleet send add 4 4")),
      data.tasks.length >= data.most ? h("p.dim", {}, `The latest ${data.most}.`) : null,
    ];
  },
};

// --- A canvas --------------------------------------------------------------------------------------------

const OVER = ["succeeded", "failed", "lost", "revoked", "expired"];
const MOST = 20;

/** Draw the tasks that belong together, each under the one that led to it, and how many of them are over. */
function canvas(tasks, id) {
  const ids = new Set(tasks.map((one) => one.id));
  const under = new Map();
  for (const one of tasks) {
    const parent = ids.has(one.parent) && one.parent !== one.id ? one.parent : "";
    under.set(parent, [...(under.get(parent) ?? []), one]);
  }
  const branch = (parent) => {
    const found = under.get(parent) ?? [];
    const shown = found.slice(0, MOST);
    return found.length ? h("ul.tree", {}, shown.map((one) => h("li", { "data-key": one.id },
      one.id === id ? h("strong", {}, one.task) : taskLink(one.id, one.task || "?"), " ", pill(one.state), h("span.dim", {}, one.runtime_s === null ? "" : ` ${seconds(one.runtime_s)}`),
      branch(one.id))), found.length > MOST ? h("li.dim", {}, `${number(found.length - MOST)} more`) : null) : null;
  };
  const over = tasks.filter((one) => OVER.includes(one.state)).length;
  return h("section.panel", {}, h("h2", {}, "Canvas"), h("progress", { max: tasks.length, value: over, "aria-label": "Tasks that are over" }),
    h("p.dim", {}, `${number(over)} of the ${number(tasks.length)} tasks that workers have had are over; those that still wait in a queue are not known here.`), branch(""));
}

// --- One -------------------------------------------------------------------------------------------------

export const one = {
  every: 2,
  load: ({ of }) => get("task", { id: of }),
  draw({ data, asked, session }) {
    const { task, why: found } = data;
    const id = found.id ?? task?.id ?? asked.of;
    const over = OVER.includes(found.state);
    const times = task ? [["sent", task.sent], ["received", task.received], ["due", task.eta], ["started", task.started], ["ended", task.ended]].filter(([, at]) => at) : [];
    const facts = task ? [
      ["queue", task.queue ? queueLink(task.queue) : null],
      ["worker", task.worker ? logLink(task.worker) : null],
      ["pid", task.pid], ["retries", task.max_retries === null ? task.retries : `${task.retries} of ${task.max_retries}`],
      ["waited", task.wait_s === null ? null : seconds(task.wait_s)], ["ran", task.runtime_s === null ? null : seconds(task.runtime_s)],
      ...times.map(([name, at]) => [name, h("time", { datetime: new Date(at).toISOString(), title: new Date(at).toISOString() }, `${clock(at)} · ${at > Date.now() ? "to come" : ago(at)}`)]),
      ["sent again as", task.retried_as ? taskLink(task.retried_as, task.retried_as) : null], ["sent again from", data.retry_of ? taskLink(data.retry_of, data.retry_of) : null],
    ].filter(([, value]) => value) : [];
    return [
      h("div.head", {}, h("div", {}, h("h1", {}, found.task ?? task?.task ?? "Unknown task", " ", pill(found.state)), h("p.mono.dim.id-line", {}, id)),
        session.act ? h("span.buttons", {},
          task && over && found.state !== "succeeded" ? h("button.main", { type: "button", disabled: Boolean(data.refusal), title: data.refusal || false, onclick: () => retry([id]) }, "Retry") : null,
          over ? null : h("button", { type: "button", onclick: () => revoke(id, found.state === "running") }, "Revoke")) : null),
      why(found),
      data.refusal && over && found.state !== "succeeded" ? h("p.dim", {}, `It can't be sent again from here: ${data.refusal}.`) : null,
      facts.length ? h("section.panel", {}, h("dl", {}, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]))) : null,
      task?.call ? h("section.panel", {}, h("h2", {}, "Call"), h("pre", {}, task.call)) : null,
      data.canvas?.length ? canvas(data.canvas, id) : null,
      task?.error ? h("section.panel.bad", {}, h("h2", {}, "Error"), h("pre", {}, task.error), task.traceback
        ? h("details", { open: true }, h("summary", {}, "Traceback"), h("pre", {}, task.traceback)) : null) : null,
      found.state === "unknown" ? empty("Nothing is known of it.", "An id, or how it begins; the ledger remembers tasks for some days.") : null,
    ];
  },
};

async function retry(ids) {
  await act("retry", { ids }, told);
}

function told({ sent, refused }) {
  return `${counted(sent, "task")} sent again${refused.length ? `, ${number(refused.length)} not: ${refused[0]}` : ""}.`;
}

async function revoke(id, runs) {
  const fields = runs ? [h("label.check", {}, h("input", { type: "checkbox", name: "terminate" }), "End it now, by SIGTERM")] : [];
  const given = await ask("Revoke this task?", { yes: "Revoke", danger: true, fields, text: "Whoever takes it drops it." });
  if (given) await act("revoke", { id, terminate: given.terminate === "on" }, ({ said }) => said);
}

// --- Those that went wrong -------------------------------------------------------------------------------

const chosen = new Set();

export const failed = {
  every: 5,
  load: async ({ hours = "24", task = "" }) => get("failed", { hours, task: task ? `*${task}*` : "*" }),
  leave: () => chosen.clear(),
  draw({ data, asked, session }) {
    const { hours = "24", task = "" } = asked;
    const open = data.tasks.filter((each) => !each.retried_as);
    for (const id of chosen) if (!open.some((each) => each.id === id)) chosen.delete(id);
    const pick = (ids, on) => { ids.forEach((id) => (on ? chosen.add(id) : chosen.delete(id))); redraw(); };
    const box = (label, ids, checked) => h("input", {
      type: "checkbox", "aria-label": label, checked, disabled: !ids.length, onchange: ({ target }) => pick(ids, target.checked),
    });
    const may = (cell) => (session.act ? [cell] : []);
    const titles = [...may([box("Choose all", open.map((each) => each.id), open.length > 0 && chosen.size === open.length)]),
      ["Task"], ["Error", ".error"], ["Queue", ".wide"], ["Worker", ".wide"], ["When", ".num.dim"]];
    return [
      h("div.head", {}, h("h1", {}, "Failed", h("span.dim", {}, ` ${number(data.count)}`)), filters(
        finder("Only tasks whose name has", task, (text) => refine({ task: text })),
        choice("Since", hours, [["1", "last hour"], ["24", "last day"], ["168", "last week"]], (value) => refine({ hours: value })),
        session.act && data.count ? [
          h("button", { type: "button", disabled: !chosen.size, onclick: () => retry([...chosen]) }, `Retry ${chosen.size || "chosen"}`),
          h("button.main", { type: "button", disabled: !open.length, onclick: () => retryAll(hours, task, data.count) }, "Retry all"),
        ] : null)),
      data.tasks.length ? h("section.panel", {}, table(titles, data.tasks.map((each) => [each.id, [
        ...may(box(`Choose ${each.id}`, each.retried_as ? [] : [each.id], chosen.has(each.id))),
        [name(each), each.retried_as ? h("span.tag", {}, "sent again") : null],
        h("div", {}, each.error), each.queue || "–", each.worker || "–", ago(each.at * 1000)]])))
        : empty("No task has failed.", task || hours !== "168" ? "In that time, of that name." : "Good."),
      data.count > data.tasks.length ? h("p.dim", {}, `The latest ${data.tasks.length} of ${number(data.count)}.`) : null,
    ];
  },
};

async function retryAll(hours, task, count) {
  const text = `Up to ${counted(count, "task")}${task ? ` whose name has “${task}”` : ""}: the same task, arguments and queue, each under a new id, and each once.`;
  const given = await ask("Send all of these again?", { yes: "Retry all", text });
  if (given) await act("retry", { hours: Number(hours), task: task ? `*${task}*` : "*" }, told);
}
