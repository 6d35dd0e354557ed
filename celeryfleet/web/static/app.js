// The frame of the page: which part is shown, what is asked of the server, signing in, and what is said.

import { h, morph, tame } from "./dom.js";
import * as charts from "./charts.js";
import * as fleet from "./fleet.js";
import * as logs from "./logs.js";
import * as queue from "./queue.js";
import * as tasks from "./tasks.js";
import * as workers from "./workers.js";

const $ = (id) => document.getElementById(id);
const VIEWS = {
  "": fleet, workers, queue, tasks: tasks.list, task: tasks.one, failed: tasks.failed, charts, logs,
};
const TABS = [["", "Fleet"], ["workers", "Workers"], ["tasks", "Tasks"], ["failed", "Failed"], ["charts", "Charts"], ["logs", "Logs"]];

/** What all parts read: who we are, how the fleet is, and the part's own data. */
export const state = { session: {}, moment: null, trouble: "", data: null, error: null, asked: {} };
let view = fleet;
let timer = 0;
let stream = null;
let turn = 0;

// --- The server ------------------------------------------------------------------------------------------

async function answer(response) {
  const found = await response.json().catch(() => ({ error: response.statusText }));
  if (response.ok) return found;
  if (response.status === 401) await enter();
  throw Object.assign(new Error(found.error), { hint: found.hint ?? "", status: response.status });
}

export const get = async (path, query = {}) =>
  answer(await fetch(`api/${path}?${new URLSearchParams(query)}`, { headers: { accept: "application/json" } }));

export const post = async (path, body) =>
  answer(await fetch(`api/${path}`, {
    method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" },
  }));

/** Have something done, say what came of it, and look again. */
export async function act(what, body, said) {
  try {
    const found = await post(`do/${what}`, body);
    say(typeof said === "function" ? said(found) : said);
    await load();
    return found;
  } catch (error) {
    say(`${error.message} ${error.hint ?? ""}`, true);
    return null;
  }
}

function listen() {
  stream?.close();
  stream = null;
  if (document.hidden || !state.session.look) return;
  stream = new EventSource("api/events");
  stream.onmessage = (event) => {
    const told = JSON.parse(event.data);
    state.trouble = told.trouble ?? "";
    if (!state.trouble) state.moment = told;
    draw();
  };
  stream.onerror = ({ target }) => {
    if (target.readyState === EventSource.CLOSED) setTimeout(() => target === stream && listen(), 2000); // a proxy has answered
    state.trouble = "The page's server does not answer. Is it stopped? Start it: celeryfleet ui";
    draw();
  };
}

// --- What is shown ---------------------------------------------------------------------------------------

// Somebody may have typed it.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function place() {
  const [path, search] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  return { name, of: decoded(rest.join("/")), query: Object.fromEntries(new URLSearchParams(search ?? "")) };
}

async function go() {
  if (location.hash === "#main") return;
  const { name, of, query } = place();
  view.leave?.();
  view = VIEWS[name] ?? fleet;
  state.asked = { of, ...query };
  state.data = state.error = null;
  document.title = tame(`${of || TABS.find(([key]) => key === name)?.[1] || "Fleet"} · ${state.session.fleet || "celeryfleet"}`);
  $("main").replaceChildren();
  draw();
  await load();
  view.enter?.();
}

/** Have the part show something else; the address says what. */
export function refine(changes) {
  Object.assign(state.asked, changes);
  const { of, ...query } = state.asked;
  history.replaceState(null, "", `#/${place().name}${of && `/${encodeURIComponent(of)}`}?${new URLSearchParams(query)}`);
  load();
}

/** Ask for what the part shows beside the live look; again every so many seconds. */
export async function load() {
  clearTimeout(timer);
  const mine = ++turn;
  if (!view.load || !state.session.look) return draw();
  try {
    const found = await view.load(state.asked);
    if (mine !== turn) return undefined;
    [state.data, state.error] = [found, null];
  } catch (error) {
    if (mine !== turn) return undefined;
    if (error.status || !state.data) state.error = error; // what was seen stays while nobody answers
  }
  draw();
  if (view.every && !document.hidden) timer = setTimeout(load, view.every * 1000);
  return undefined;
}

export function draw() {
  const { session, moment } = state;
  const { name } = place();
  const at = { queue: "", task: "tasks" }[name] ?? name;
  put("fleet", session.fleet || "celeryfleet");
  const how = state.trouble ? "away" : moment?.state ?? (session.look ? "looking" : "locked");
  $("state").className = `pill ${how}`;
  put("state", how);
  morph($("nav"), h("nav", { id: "nav", "aria-label": "Pages" }, TABS.map(([key, text]) =>
    h("a", { href: `#/${key}`, "aria-current": key === at ? "page" : false }, text))));
  morph($("banner"), h("div", { id: "banner" }, [...notes()].map(([kind, text]) => h(`p.note.${kind}`, {}, text))));
  $("sign").hidden = session.read_only && session.look;
  put("sign", session.act ? "Sign out" : "Sign in");
  const shown = session.look ? body() : locked();
  morph($("main"), h("main", { id: "main", tabindex: "-1" }, shown));
  if (session.look) view.drawn?.();
}

// What has not changed is not written again: a screen reader would say it again.
function put(id, text) {
  if ($(id).textContent !== tame(text)) $(id).textContent = tame(text);
}

function* notes() {
  const { moment } = state;
  if (state.trouble) yield ["bad", state.trouble];
  if (!moment) return;
  if (moment.reason) yield [moment.state === "down" ? "bad" : "late", moment.reason];
  for (const text of moment.notes) yield ["", text];
  if (!moment.ledger && moment.state !== "down") yield ["", "This fleet keeps no ledger: tasks, charts and rates of queues are not known."];
}

function body() {
  if (state.error) return h("div.empty", {}, h("p", {}, state.error.message), h("p.dim", {}, state.error.hint));
  if (!state.moment || (view.load && !state.data)) return h("p.dim.wait", {}, "Looking …");
  return view.draw(state);
}

function locked() {
  return h("div.empty", {}, h("p", {}, "It takes the token to look at this fleet."),
    h("p.dim", {}, "The command that serves this page says in which file it is."),
    h("button.main", { type: "button", onclick: signIn }, "Sign in"));
}

// --- What is said and asked ------------------------------------------------------------------------------

export function say(text, wrong = false) {
  const note = h(wrong ? "p.bad" : "p", { role: wrong ? "alert" : false }, text);
  $("said").append(note);
  setTimeout(() => note.remove(), wrong ? 9000 : 5000);
}

/** Ask in a dialog; give the fields of its form, or null. */
export function ask(question, { fields = [], yes = "Yes", danger = false, text = "" } = {}) {
  const dialog = $("dialog");
  const form = h("form", { method: "dialog" }, h("h2", { id: "question" }, question), text ? h("p.dim", {}, text) : null, fields,
    h("div.buttons", {}, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"),
      h(danger ? "button.danger" : "button.main", { value: "yes" }, yes)));
  dialog.replaceChildren(form);
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((settle) => {
    dialog.onclose = () => settle(dialog.returnValue ? Object.fromEntries(new FormData(form)) : null);
  });
}

async function signIn() {
  const field = h("label", {}, "Token", h("input", {
    type: "password", name: "token", required: true, autofocus: true, autocomplete: "current-password", spellcheck: "false",
  }));
  const text = "The command that serves this page says in which file it is.";
  const given = await ask("Sign in", { fields: [field], yes: "Sign in", text });
  if (!given) return;
  try {
    await post("login", { token: given.token });
    await enter();
    say("You are signed in for twelve hours.");
    await load();
  } catch (error) {
    say(error.message, true);
  }
}

async function signOut() {
  await post("logout", {});
  await enter();
  draw();
}

async function enter() {
  const before = state.session.look;
  state.session = await (await fetch("api/session")).json();
  if (state.session.look !== before) listen();
  draw();
}

// --- The frame -------------------------------------------------------------------------------------------

const THEMES = { "": ["◐", "as the system has them"], light: ["☀", "light"], dark: ["☾", "dark"] };

function theme(name) {
  const [sign, said] = THEMES[name] ?? THEMES[""];
  document.documentElement.dataset.theme = name;
  $("theme").textContent = sign;
  $("theme").setAttribute("aria-label", `Colours: ${said}`);
  $("theme").title = `Colours: ${said}`;
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const name = names[(names.indexOf(document.documentElement.dataset.theme ?? "") + 1) % names.length];
  localStorage.setItem("celeryfleet-theme", name);
  theme(name);
}

const KEYS = Object.fromEntries(TABS.map(([key], n) => [String(n + 1), `#/${key}`]));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.nodeName)) return;
  if ($("dialog").open) return;
  if (KEYS[event.key]) location.hash = KEYS[event.key];
  else if (event.key === "/") {
    event.preventDefault();
    if (document.querySelector("#find")) document.querySelector("#find").focus();
    else location.hash = "#/tasks";
  }
});
document.addEventListener("visibilitychange", () => {
  listen();
  if (!document.hidden) load();
});
addEventListener("hashchange", () => {
  go();
  $("main").focus({ preventScroll: true });
  scrollTo(0, 0);
});
$("theme").onclick = nextTheme;
$("sign").onclick = () => (state.session.act ? signOut() : signIn());
$("skip").onclick = (event) => {
  event.preventDefault();
  $("main").focus();
};
theme(localStorage.getItem("celeryfleet-theme") ?? "");
await enter();
listen();
await go();

