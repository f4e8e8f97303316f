"use strict";

const token = document.body.dataset.token;

function notice(text, bad) {
  setClass($("notice"), bad ? "bad" : "");
  setText($("notice"), text);
}

async function ask(method, url, sent) {
  const options = { method, headers: { "X-CSRF-Token": token } };
  if (sent) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(sent);
  }
  try {
    const answer = await fetch(url, options);
    if (answer.status === 401) location.assign("/login");
    return [answer.ok, await answer.json()];
  } catch (error) {
    return [false, { error: "The wallboard's server can't be reached." }];
  }
}

async function act(button, method, url, sent) {
  button.disabled = true;
  const [ok, said] = await ask(method, url, sent);
  notice(ok ? said.message : said.error || "It failed.", !ok);
  button.disabled = false;
}

// Asks before it acts; resolves to the text of the field, "yes" without one, or null. One question after the other: a
// dialog tells of its end a moment after it was closed.
let asked = Promise.resolve();

function confirmed(text, yes, field) {
  const answer = asked.then(() => ask_in_dialog(text, yes, field));
  asked = answer;
  return answer;
}

function ask_in_dialog(text, yes, field) {
  setText($("confirm-text"), text);
  setText($("confirm-yes"), yes);
  $("confirm-field").hidden = !field;
  $("confirm-input").required = Boolean(field);
  $("confirm-input").value = "";
  if (field) setText(document.querySelector("label[for=confirm-input]"), field);
  $("confirm").returnValue = "";
  $("confirm").showModal();
  return new Promise((resolve) => {
    $("confirm").addEventListener("close", () => {
      const agreed = $("confirm").returnValue === "yes";
      resolve(agreed ? (field ? $("confirm-input").value.trim() || null : "yes") : null);
    }, { once: true });
  });
}

function button(text, className, label, click) {
  const made = node("button", text, className);
  made.type = "button";
  made.setAttribute("aria-label", label);
  made.addEventListener("click", () => click(made));
  return made;
}

function where(call) {
  return "?server=" + encodeURIComponent(call.server);
}

function makeCall(call) {
  const row = node("tr");
  row.append(node("td"), node("td"), node("td"), node("td", undefined, "time"), node("td", undefined, "buttons"));
  const name = who(call.from);
  row.lastChild.append(
    button("Listen", "plain", "Listen to the call of " + name, async (made) => {
      const device = await confirmed("Listen to the call of " + name + ". Which device shall ring?", "Listen", "Your device, such as PJSIP/alice");
      if (device) act(made, "POST", "/api/spies", { server: call.server, from: device, channel: row.call.from.channel });
    }),
    button("Transfer", "plain", "Transfer " + name, async (made) => {
      const number = await confirmed("Transfer " + name + " to which number?", "Transfer", "Number");
      if (number) act(made, "POST", "/api/transfers", { server: call.server, channel: row.call.from.channel, to: number });
    }),
    button("Hang up", "end", "Hang up the call of " + name, async (made) => {
      if (await confirmed("Hang up the call of " + name + " with " + who(row.call.to) + "?", "Hang up")) {
        act(made, "DELETE", "/api/channels/" + encodeURIComponent(row.call.from.channel) + where(call));
      }
    }),
  );
  return row;
}

function fillCall(row, call) {
  row.call = call;
  fillParty(row.cells[0], call.from);
  if (call.to.num || call.to.name || call.to.channel) fillParty(row.cells[1], call.to);
  else party(row.cells[1], "–");
  setText(row.cells[2], call.state + (call.queue && call.state === "queued" ? " in " + call.queue : ""));
  setText(row.cells[3], span(call.since));
}

function makeAgent(agent) {
  const row = node("tr");
  row.append(node("td"), node("td"), node("td"), node("td", undefined, "time"), node("td"), node("td", undefined, "buttons"));
  row.lastChild.append(
    button("Pause", "plain", "Pause " + agent.name, async (made) => {
      const paused = !row.agent.paused;
      const reason = paused ? await confirmed("Pause " + agent.name + " in all queues. Why?", "Pause", "Reason") : "";
      if (reason !== null) act(made, "POST", "/api/agents/pause", { server: agent.server, interface: agent.interface, paused, reason });
    }),
  );
  return row;
}

function fillAgent(row, agent) {
  row.agent = agent;
  party(row.cells[0], agent.name);
  party(row.cells[1], agent.queues.join(", "));
  setText(row.cells[2], agent.state + (agent.paused && agent.state !== "paused" ? ", paused" : "") + (agent.reason ? ": " + agent.reason : ""));
  setText(row.cells[3], span(agent.since));
  setText(row.cells[4], String(agent.taken));
  setText(row.lastChild.firstChild, agent.paused ? "Unpause" : "Pause");
}

function show({ queues, calls }) {
  if (follow($("calls"), calls, (each) => each.server + " " + each.id, makeCall, fillCall)) $("calls-title").focus();
  setText($("calls-count"), String(calls.length));
  $("no-calls").hidden = calls.length > 0;
  const agents = agentsOf(queues);
  follow($("agents"), agents, (each) => each.key, makeAgent, fillAgent);
  setText($("agents-count"), String(agents.length));
}

const words = {
  answered: "answered", busy: "busy", no_answer: "no answer", congestion: "congestion", rejected: "rejected",
  unreachable: "unreachable", cancelled: "cancelled", failed: "failed", unknown: "outcome unknown",
};

async function progress(id, device) {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, 500));
    const [ok, said] = await ask("GET", "/api/calls/" + encodeURIComponent(id));
    if (!ok) return notice(said.error || "It failed.", true);
    if (said.outcome === null) notice(device + " is ringing…");
    else {
      const text = device + ": " + (words[said.outcome.toLowerCase()] || said.outcome) + (said.cause ? ", cause " + said.cause : "");
      const talked = said.talk_time ? ", talked " + duration(said.talk_time) : "";
      notice(text + talked, said.outcome !== "ANSWERED");
      if (said.state === "ended" || said.outcome !== "ANSWERED") return;
    }
  }
}

$("dial").addEventListener("submit", async (event) => {
  event.preventDefault();
  const made = event.submitter || $("dial").querySelector("button");
  const device = $("from").value.trim();
  made.disabled = true;
  notice("Calling " + device + "…");
  const [ok, said] = await ask("POST", "/api/calls", { from: device, to: $("to").value.trim(), server: chosenServers[0] || "" });
  made.disabled = false;
  if (ok) progress(said.id, device);
  else notice(said.error || "It failed.", true);
});

// Not a submit button: the Enter key in the field would press the first of these.
$("confirm-no").addEventListener("click", () => $("confirm").close());

$("logout").addEventListener("click", async () => {
  await ask("POST", "/logout");
  location.assign("/");
});

listen(show);
