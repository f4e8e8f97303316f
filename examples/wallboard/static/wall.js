"use strict";

const SVG = "http://www.w3.org/2000/svg";
const MOST_CALLERS = 5;
const MOST_CALLS = 12;

function figure(label) {
  const made = node("div", undefined, "figure");
  made.append(node("dt", label), node("dd"));
  return made;
}

function setFigure(element, text, mark) {
  setText(element.lastChild, text);
  setClass(element, "figure" + (mark ? " " + mark : ""));
}

function makeQueue() {
  const card = node("article");
  const title = node("h2");
  title.append(node("bdi"), " ", node("small"));
  const big = node("dl", undefined, "big");
  big.append(figure("waiting"), figure("longest wait"));
  const small = node("dl", undefined, "small");
  small.append(figure("service level"), figure("answered"), figure("abandoned"), figure("talk, average"));
  const chart = document.createElementNS(SVG, "svg");
  chart.setAttribute("class", "chart");
  chart.setAttribute("preserveAspectRatio", "none");
  chart.setAttribute("role", "img");
  for (const name of ["area", "line"]) {
    const path = document.createElementNS(SVG, "path");
    path.setAttribute("class", name);
    chart.append(path);
  }
  card.append(title, big, small, node("ul", undefined, "callers"), chart, node("p", undefined, "caption"));
  return card;
}

function fillQueue(card, queue) {
  const [title, big, small, callers, chart, caption] = card.children;
  setText(title.firstChild, queue.name);
  setText(title.lastChild, queue.server);
  const oldest = queue.callers.reduce((found, each) => (each.since && (!found || each.since < found) ? each.since : found), null);
  const total = queue.answered + queue.abandoned;
  const lost = total ? (100 * queue.abandoned) / total : 0;
  const marks = [
    grade("waiting", queue.callers.length),
    oldest ? grade("longest", now() - oldest) : "",
    queue.level === null ? "" : grade("level", queue.level),
    total ? grade("abandoned", lost) : "",
  ];
  setFigure(big.children[0], String(queue.callers.length), marks[0]);
  setFigure(big.children[1], oldest ? span(oldest) : "–", marks[1]);
  setFigure(small.children[0], queue.level === null ? "–" : Math.round(queue.level) + " %", marks[2]);
  setFigure(small.children[1], String(queue.answered), "");
  setFigure(small.children[2], String(queue.abandoned) + (total ? " (" + Math.round(lost) + " %)" : ""), marks[3]);
  setFigure(small.children[3], queue.talk ? duration(queue.talk) : "–", "");
  setClass(card, "queue" + (marks.includes("red") ? " red" : marks.includes("amber") ? " amber" : ""));
  card.setAttribute("aria-label", "Queue " + queue.name);
  const shown = queue.callers.slice(0, MOST_CALLERS);
  if (queue.callers.length > MOST_CALLERS) shown.push({ id: "more", name: "and " + (queue.callers.length - MOST_CALLERS) + " more", since: null });
  follow(callers, shown, (each) => each.id, () => {
    const item = node("li");
    item.append(node("span", undefined, "who"), node("span", undefined, "time"));
    return item;
  }, (item, each) => {
    fillParty(item.firstChild, each);
    setText(item.lastChild, span(each.since));
    setClass(item.lastChild, ("time " + (each.since ? grade("longest", now() - each.since) : "")).trim());
  });
  draw(chart, caption, queue.trend);
}

function draw(chart, caption, points) {
  const text = JSON.stringify(points);
  if (chart.dataset.shown === text) return;
  chart.dataset.shown = text;
  const some = points.length > 1;
  chart.classList.toggle("hidden", !some);
  setText(caption, some ? "Waiting, since " + new Date(points[0][0] * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : "");
  if (!some) return;
  const most = Math.max(1, ...points.map((point) => point[1]));
  const width = points[points.length - 1][0] - points[0][0] || 1;
  chart.setAttribute("viewBox", "0 0 " + width + " " + most);
  chart.setAttribute("aria-label", "Callers waiting since " + new Date(points[0][0] * 1000).toLocaleTimeString() + ", at most " + most);
  const line = points.map((point) => point[0] - points[0][0] + " " + (most - point[1])).join(" L ");
  chart.children[0].setAttribute("d", "M 0 " + most + " L " + line + " L " + width + " " + most + " Z");
  chart.children[1].setAttribute("d", "M " + line);
}

function makeAgent() {
  const item = node("li");
  item.append(node("span", undefined, "name"), node("span", undefined, "time"), node("span", undefined, "what"), node("span", undefined, "taken"));
  return item;
}

function fillAgent(item, agent) {
  const [name, time, what, taken] = item.children;
  party(name, agent.name);
  setText(time, span(agent.since));
  setText(what, agent.state + (agent.paused && agent.state !== "paused" ? ", paused" : "") + (agent.reason ? ": " + agent.reason : ""));
  setText(taken, agent.taken + (agent.taken === 1 ? " call" : " calls"));
  setClass(item, agent.state.replaceAll(" ", "-"));
}

function makeCall() {
  const item = node("li");
  item.append(node("span", undefined, "who"), node("span", undefined, "state"), node("span", undefined, "who"), node("span", undefined, "time"));
  return item;
}

const arrows = { talking: "↔", hold: "on hold", ringing: "ringing", dialing: "calling", queued: "waits in", parked: "parked", up: "in", new: "calls" };

function fillCall(item, call) {
  const [from, state, to, time] = item.children;
  fillParty(from, call.from);
  setText(state, arrows[call.state] || call.state);
  const others = call.more ? " and " + call.more + " more" : "";
  if (call.state === "queued" && call.queue) party(to, call.queue);
  else if (call.to.num || call.to.name || call.to.channel) fillParty(to, call.to, others);
  else party(to, "–");
  setText(time, span(call.since));
}

function show({ queues, calls }) {
  setText($("clock"), new Date(now() * 1000).toLocaleTimeString());
  follow($("queues"), queues, (each) => each.server + " " + each.name, makeQueue, fillQueue);
  const agents = agentsOf(queues);
  follow($("agents"), agents, (each) => each.key, makeAgent, fillAgent);
  const free = agents.filter((each) => each.state === "free").length;
  setText($("agents-count"), agents.length ? free + " of " + agents.length + " free" : "none");
  follow($("calls"), calls.slice(0, MOST_CALLS), (each) => each.server + " " + each.id, makeCall, fillCall);
  setText($("calls-count"), String(calls.length));
  $("no-calls").hidden = calls.length > 0;
}

listen(show);
