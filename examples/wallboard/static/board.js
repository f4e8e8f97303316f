"use strict";

// The newest picture replaces what is shown; rows keep their elements, so that focus and screen readers stay where they are.
const $ = (id) => document.getElementById(id);
const texts = {
  connected: "Connected to ", connecting: "Connecting…", reconnecting: "Link to the telephone system lost, coming back… ",
  down: "The telephone system can't be reached. ", refused: "", offline: "The wallboard's server can't be reached, trying again…",
};
let clock = 0; // the server's clock minus ours, in seconds

function node(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showLink(state, detail) {
  $("link").dataset.state = state;
  setText($("link-text"), texts[state] + (detail || ""));
  document.body.classList.toggle("stale", state !== "connected");
}

function span(since) {
  const total = Math.max(0, Math.floor(Date.now() / 1000 + clock - since));
  const pad = (value) => String(value).padStart(2, "0");
  const hours = Math.floor(total / 3600);
  return (hours ? hours + ":" : "") + pad(Math.floor(total / 60) % 60) + ":" + pad(total % 60);
}

function channelRow(channel) {
  const row = node("tr");
  row.id = "channel-" + channel.id;
  for (const label of [null, "Caller", "Talks to", "State", "For"]) {
    const cell = node("td");
    if (label) cell.dataset.label = label;
    row.append(cell);
  }
  row.cells[4].className = "time";
  const last = node("td", undefined, "end");
  const button = node("button", "Hang up", "end");
  button.type = "button";
  button.setAttribute("aria-label", "Hang up " + channel.name);
  button.addEventListener("click", () => hangUp(channel, button));
  last.append(button);
  row.append(last);
  return row;
}

function fillChannel(row, channel) {
  const caller = channel.caller_name ? channel.caller_name + (channel.caller ? " (" + channel.caller + ")" : "") : channel.caller;
  [channel.name, caller || "–", channel.connected || channel.exten || "–", channel.state].forEach((text, index) => setText(row.cells[index], text));
  row.dataset.since = channel.since;
  setText(row.cells[4], span(channel.since));
}

function showChannels(channels) {
  const body = $("channels");
  const wanted = new Set(channels.map((channel) => "channel-" + channel.id));
  for (const row of [...body.rows]) {
    if (wanted.has(row.id)) continue;
    const focused = row.contains(document.activeElement);
    row.remove();
    if (focused) $("channels-title").focus();
  }
  channels.forEach((channel, index) => {
    const row = document.getElementById("channel-" + channel.id) || channelRow(channel);
    fillChannel(row, channel);
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] || null);
  });
  setText($("count"), String(channels.length));
  $("none").hidden = channels.length > 0;
}

function queueCard(queue) {
  const card = node("article", undefined, "card queue");
  const title = node("h3", queue.name);
  title.id = "queue-" + queue.name;
  card.setAttribute("aria-labelledby", title.id);
  const figures = node("dl", undefined, "figures");
  for (const [label, value] of [["waiting", queue.callers.length], ["answered", queue.completed], ["gave up", queue.abandoned]]) {
    const pair = node("div");
    pair.append(node("dt", label), node("dd", String(value)));
    figures.append(pair);
  }
  const members = node("ul", undefined, "members");
  for (const member of queue.members) {
    const item = node("li");
    item.append(node("span", member.name), node("span", member.paused ? "paused" : member.state));
    members.append(item);
  }
  card.append(title, figures, queue.members.length ? members : node("p", "Nobody answers this queue.", "empty"));
  return card;
}

function show(picture) {
  clock = picture.at - Date.now() / 1000;
  showLink(picture.link.state, picture.link.detail);
  showChannels(picture.channels);
  const text = JSON.stringify(picture.queues);
  if ($("queues").dataset.shown !== text) {
    $("queues").dataset.shown = text;
    $("queues").replaceChildren(...(picture.queues.length ? picture.queues.map(queueCard) : [node("p", "No queues.", "empty")]));
  }
}

function notice(text, bad) {
  $("notice").className = bad ? "bad" : "";
  setText($("notice"), text);
}

async function call(method, url, wanted) {
  const options = { method, headers: {} };
  if (wanted) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(wanted);
  }
  try {
    const answer = await fetch(url, options);
    const said = await answer.json();
    return answer.ok ? [said.message, false] : [said.error || "It failed.", true];
  } catch (error) {
    return ["The wallboard's server can't be reached.", true];
  }
}

async function hangUp(channel, button) {
  button.disabled = true;
  notice(...await call("DELETE", "/api/channels/" + encodeURIComponent(channel.id)));
  button.disabled = false;
}

$("dial").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = event.submitter || $("dial").querySelector("button");
  button.disabled = true;
  notice("Calling…");
  notice(...await call("POST", "/api/calls", { from: $("from").value.trim(), to: $("to").value.trim() }));
  button.disabled = false;
});

setInterval(() => { for (const row of $("channels").rows) setText(row.cells[4], span(Number(row.dataset.since))); }, 1000);

const stream = new EventSource("/api/stream");
stream.addEventListener("message", (event) => show(JSON.parse(event.data)));
stream.addEventListener("error", () => showLink("offline"));
