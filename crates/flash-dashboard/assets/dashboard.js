// Keeps a page up to date: fetches it again while somebody looks, and replaces the parts that have changed.
"use strict";

const PERIOD_MS = 1500;
const clockFormat = { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" };

// Times are in UTC as they come; here they are those of the reader.
function localise(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const at = new Date(time.dateTime);
    if (isNaN(at)) continue;
    const isToday = at.toDateString() === new Date().toDateString();
    const withDay = time.closest(".full") && !isToday;
    time.textContent = withDay
      ? at.toLocaleString([], { ...clockFormat, month: "short", day: "numeric" })
      : at.toLocaleTimeString([], clockFormat);
    time.title = at.toLocaleString([], { dateStyle: "medium", timeStyle: "long" });
  }
}

// Somebody selects text, writes, or has a menu open in there.
function isInUse(element) {
  const selection = document.getSelection();
  if (selection && !selection.isCollapsed && element.contains(selection.anchorNode)) return true;
  const active = document.activeElement;
  return element.contains(active) && active.matches("input, select, textarea");
}

function replace(old, fresh) {
  const active = document.activeElement;
  const focused = old.contains(active) ? position(old, active) : null;
  const open = new Set([...old.querySelectorAll("details[open][id]")].map((own) => own.id));
  const scrolled = new Map([...old.querySelectorAll(".scroll, pre, ol")].map((own, at) => [at, [own.scrollLeft, own.scrollTop]]));
  old.replaceChildren(...fresh.childNodes);
  for (const own of old.querySelectorAll("details[id]")) own.open = open.has(own.id);
  old.querySelectorAll(".scroll, pre, ol").forEach((own, at) => {
    if (scrolled.has(at)) [own.scrollLeft, own.scrollTop] = scrolled.get(at);
  });
  if (focused !== null) focusable(old)[focused]?.focus({ preventScroll: true });
}

function focusable(root) {
  return [...root.querySelectorAll("a[href], button, summary, [tabindex]")];
}

function position(root, element) {
  const at = focusable(root).indexOf(element);
  return at < 0 ? null : at;
}

function update(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  localise(fresh);
  for (const part of fresh.querySelectorAll("[data-live][id]")) {
    const old = document.getElementById(part.id);
    if (old && old.innerHTML !== part.innerHTML && !isInUse(old)) replace(old, part);
  }
  window.flashCharts?.update(fresh);
  return fresh;
}

const connection = document.querySelector("[data-live-state]");

function say(text) {
  if (connection && connection.textContent !== text) connection.textContent = text;
}

let waits = null;
let isAsking = false;

async function refresh() {
  waits = null;
  if (document.hidden || isAsking) return;
  isAsking = true;
  try {
    const answer = await fetch(location.href, { headers: { accept: "text/html" }, cache: "no-store" });
    if (answer.redirected && new URL(answer.url).pathname === "/_flash/login") return location.reload();
    update(await answer.text());
    say("");
  } catch {
    say("No connection to Flash. Trying again …");
  } finally {
    isAsking = false;
    waits ??= setTimeout(refresh, PERIOD_MS);
  }
}

function begin() {
  localise(document);
  window.flashCharts?.draw();
  const log = document.querySelector("[data-follow]");
  if (log) followLog(log);
  else if (document.querySelector("main [data-live]")) waits = setTimeout(refresh, PERIOD_MS);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && !log && waits === null) refresh();
  });
}

// The log: lines are sent as they are printed. The first ones are those that the page has, so the list begins anew.
const MOST_LINES = 2000;

function followLog(log) {
  const follow = document.getElementById("follow");
  const state = document.getElementById("log-state");
  let source = null;
  let waiting = [];
  const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 40;

  function draw() {
    if (!waiting.length) return;
    const stays = isAtEnd();
    const template = document.createElement("template");
    template.innerHTML = waiting.join("");
    waiting = [];
    localise(template.content);
    log.append(template.content);
    while (log.childElementCount > MOST_LINES) log.firstElementChild.remove();
    document.getElementById("log-empty")?.remove();
    if (stays) log.scrollTop = log.scrollHeight;
  }

  function open() {
    source = new EventSource(log.dataset.follow);
    source.addEventListener("begin", () => { log.replaceChildren(); waiting = []; state.textContent = "following"; });
    source.addEventListener("line", (event) => {
      if (!waiting.length) requestAnimationFrame(draw);
      waiting.push(event.data);
    });
    source.onerror = () => { state.textContent = "no connection; trying again …"; };
  }

  function close() {
    source?.close();
    source = null;
    state.textContent = follow.checked ? "" : "paused";
  }

  follow.addEventListener("change", () => (follow.checked ? open() : close()));
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else if (follow.checked && !source) open();
  });
  log.scrollTop = log.scrollHeight;
  open();
}

begin();
