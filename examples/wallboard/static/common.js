"use strict";

// Texts from callers are only ever set as text, never as HTML. `bdi` keeps right-to-left names from turning the line round.
const $ = (id) => document.getElementById(id);
const thresholds = JSON.parse(document.body.dataset.thresholds || "{}");
const wanted = new URLSearchParams(location.search);
const chosen = (name) => (wanted.get(name) || "").split(",").map((each) => each.trim()).filter(Boolean);
const chosenServers = chosen("server");
const chosenQueues = chosen("queue");
let clock = 0; // the server's clock minus ours, in seconds
let latest = null;

function node(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined && text !== null) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

function now() {
  return Date.now() / 1000 + clock;
}

function span(since) {
  if (since === null || since === undefined || since === "") return "";
  const total = Math.max(0, Math.floor(now() - since));
  const pad = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(total / 3600);
  return (hours ? hours + ":" + pad(Math.floor(total / 60) % 60) : String(Math.floor(total / 60))) + ":" + pad(total % 60);
}

function duration(seconds) {
  return Math.floor(seconds / 60) + ":" + String(Math.floor(seconds) % 60).padStart(2, "0");
}

function who(party) {
  if (party.name && party.num && party.name !== party.num) return party.name + " (" + party.num + ")";
  return party.name || party.num || device(party.channel) || "unknown";
}

function device(channel) {
  return channel ? channel.replace(/-[0-9a-f]{8}(;[12])?$/, "") : "";
}

// The text may be cut at its end, wherever its script ends; the tail behind it is not.
function party(element, text, tail = "") {
  if (element.firstChild === null) element.append(node("bdi"), node("span"));
  setText(element.firstChild, text);
  setText(element.lastChild, tail);
  element.style.setProperty("--tail", Math.max(0, tail.length - 1) + "ch");
  if (element.title !== text + tail) element.title = text + tail;
}

function fillParty(element, person, more = "") {
  const named = person.name && person.num && person.name !== person.num;
  party(element, named ? person.name : who(person), (named ? " (" + person.num + ")" : "") + more);
}

// "", "amber" or "red"; the second threshold is the worse one, whichever way they run.
function grade(name, value) {
  const [first, second] = thresholds[name] || [];
  if (value === null || first === undefined) return "";
  const beyond = (limit) => (second >= first ? value >= limit : value < limit);
  return beyond(second) ? "red" : beyond(first) ? "amber" : "";
}

// The children of a list follow the items: rows keep their elements, so that focus and screen readers stay where they are.
function follow(list, items, key, make, fill) {
  const known = new Map([...list.children].map((child) => [child.dataset.key, child]));
  items.forEach((item, index) => {
    const id = key(item);
    let child = known.get(id);
    if (child) known.delete(id);
    else {
      child = make(item);
      child.dataset.key = id;
    }
    fill(child, item);
    if (list.children[index] !== child) list.insertBefore(child, list.children[index] || null);
  });
  let focused = false;
  for (const child of known.values()) {
    focused = focused || child.contains(document.activeElement);
    child.remove();
  }
  return focused;
}

const texts = {
  connected: "connected", connecting: "connecting…", loading: "loading…", reconnecting: "connection lost, reconnecting…",
  gap: "connection lost, reconnecting…", down: "can't be reached", refused: "login refused", offline: "the wallboard's server can't be reached, trying again…",
};

function showServers(servers) {
  follow($("servers"), servers, (each) => each.id, () => node("li"), (item, each) => {
    const stale = each.stale_since && each.state !== "connected" ? " (as of " + new Date(each.stale_since * 1000).toLocaleTimeString() + ")" : "";
    setText(item, (each.id ? each.id + ": " : "") + (texts[each.state] || each.state) + stale + (each.detail ? ": " + each.detail : ""));
    setClass(item, each.state === "connected" ? "" : ["down", "refused", "offline"].includes(each.state) ? "bad" : "wait");
  });
  document.body.classList.toggle("stale", servers.length > 0 && servers.every((each) => each.state !== "connected"));
}

function mine(picture) {
  const server = (each) => !chosenServers.length || chosenServers.includes(each.server);
  const queues = picture.queues.filter((each) => server(each) && (!chosenQueues.length || chosenQueues.includes(each.name)));
  const calls = picture.calls.filter((each) => server(each) && (!chosenQueues.length || chosenQueues.includes(each.queue)));
  const servers = picture.servers.filter((each) => !chosenServers.length || chosenServers.includes(each.id));
  return { servers, queues, calls };
}

// An agent who serves several queues is one agent: the state that says most counts.
const order = ["talking", "ringing", "in use", "busy", "on hold", "paused", "free", "unknown", "unavailable", "invalid"];

function agentsOf(queues) {
  const found = new Map();
  for (const queue of queues) {
    for (const agent of queue.agents) {
      const key = queue.server + " " + agent.interface;
      const known = found.get(key);
      if (!known) found.set(key, { ...agent, server: queue.server, queues: [queue.name], key });
      else {
        known.queues.push(queue.name);
        known.taken += agent.taken;
        if (order.indexOf(agent.state) < order.indexOf(known.state)) Object.assign(known, { state: agent.state, since: agent.since, reason: agent.reason });
      }
    }
  }
  return [...found.values()];
}

function listen(show) {
  const update = (picture) => {
    latest = picture;
    clock = picture.at - Date.now() / 1000;
    showServers(mine(picture).servers);
    show(mine(picture));
  };
  const stream = new EventSource("/api/stream");
  stream.addEventListener("message", (event) => update(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    const servers = latest ? mine(latest).servers : [{ id: "" }];
    showServers(servers.map((each) => ({ ...each, detail: "", state: "offline", stale_since: latest ? latest.at : null })));
  });
  setInterval(() => { if (latest) show(mine(latest)); }, 1000);
}
