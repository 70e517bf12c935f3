// Keeps a page up to date: fetches it again while somebody looks, and changes what has changed.
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

// Somebody writes in there, or has a menu open.
function isInUse(element) {
  const active = document.activeElement;
  return element.contains(active) && active.matches("input, select, textarea");
}

// Makes the children of `old` like those of `fresh`, and leaves alone what is the same: focus, selected text, open parts
// and scrolled ones stay as they are, and only what has changed is drawn again.
function morph(old, fresh) {
  const named = new Map([...old.children].filter((own) => own.id).map((own) => [own.id, own]));
  let next = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const own = child.id ? named.get(child.id) : next;
    if (!own || own.nodeName !== child.nodeName || (own.id || "") !== (child.id || "")) {
      old.insertBefore(child, next);
      continue;
    }
    if (own === next) next = next.nextSibling;
    else old.insertBefore(own, next);
    if (own.nodeType === Node.ELEMENT_NODE) morphElement(own, child);
    else if (own.nodeValue !== child.nodeValue && !document.getSelection()?.containsNode(own, true)) own.nodeValue = child.nodeValue;
  }
  while (next) {
    const after = next.nextSibling;
    next.remove();
    next = after;
  }
}

function morphElement(own, fresh) {
  for (const { name, value } of fresh.attributes) {
    if (own.getAttribute(name) !== value) own.setAttribute(name, value);
  }
  for (const { name } of [...own.attributes]) {
    // Whoever looks has opened it.
    if (!fresh.hasAttribute(name) && name !== "open") own.removeAttribute(name);
  }
  morph(own, fresh);
}

function update(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  localise(fresh);
  for (const part of fresh.querySelectorAll("[data-live][id]")) {
    const old = document.getElementById(part.id);
    if (old && old.innerHTML !== part.innerHTML && !isInUse(old)) morph(old, part);
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
  // On a narrow screen it may be beyond the edge.
  document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
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
