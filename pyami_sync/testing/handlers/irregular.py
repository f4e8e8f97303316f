"""The simulator's irregular answers, with which a client that expects regular ones would hang or fail."""

from __future__ import annotations

from ..agi.lines import async_command
from ..state import Pair
from ..wire import frame
from .registry import Call, Item, handler

__all__: list[str] = []


@handler("IAXpeers", "system,reporting", about="list IAX peers; the items have no ActionID")
def iax_peers(call: Call) -> bytes:
    peers = [_iax_peer(name, port) for name, port in (("branch", 9), ("office", 4569))]
    items = b"".join(frame([("Event", "PeerEntry"), *peer]) for peer in peers)
    return call.start("Peer status list will follow") + items + call.complete("PeerlistComplete", len(peers))


def _iax_peer(name: str, port: int) -> list[Pair]:
    return [
        ("Channeltype", "IAX2"),
        ("ObjectName", name),
        ("ChanObjectType", "peer"),
        ("IPaddress", "127.0.0.1"),
        ("IPport", port),
        ("Dynamic", "no"),
        ("Trunk", "no"),
        ("Encryption", "no"),
        ("Status", "Unmonitored"),
        ("Description", ""),
    ]


@handler("IAXnetstats", "system,reporting", about="show IAX statistics; text without headers")
def iax_netstats(call: Call) -> bytes:
    # A line for each call, with bare LF; with no calls a real server sends nothing but the line end.
    lines = [
        f"{name} 1000 -1 0 -1 -1 0 -1 0 0 0 0 0 0 0 0 Tx:NEW     Rx:ACK    \n" for name in call.simulator.pbx.channels
    ]
    return "".join(lines).encode("utf-8", "surrogateescape") + b"\r\n"


@handler("FAXSessions", "call", about="list fax sessions; EventList has a capital")
def fax_sessions(call: Call) -> bytes:
    start = call.start("FAXSessionsEntry event list will follow", "Start")
    return start + call.complete("FAXSessionsComplete", 0, [("Total", 0)])


@handler("FAXStats", "reporting", about="fax statistics; one event and no completion")
def fax_stats(call: Call) -> bytes:
    names = "CurrentSessions ReservedSessions TransmitAttempts ReceiveAttempts CompletedFAXes FailedFAXes".split()
    event = call.item("FAXStats", [(name, 0) for name in names])
    return call.success("FAXStats event will follow") + event


@handler("Agents", "agent", about="list agents; a line of an item may end in a bare LF")
def agents(call: Call) -> bytes:
    talking = "Agent: 1001\r\nName: Agent One\r\nStatus: AGENT_ONCALL\r\nTalkingToChan: PJSIP/alice-00000001\r\n"
    talking += "CallStarted: 1700000001\nLoggedInTime: 1700000000\r\n"
    action_id = f"ActionID: {call.id}\r\n" if call.id else ""
    first = f"Event: Agents\r\n{talking}{action_id}\r\n".encode("utf-8", "surrogateescape")
    idle: list[Pair] = [("Agent", 1002), ("Name", "Agent Two"), ("Status", "AGENT_LOGGEDOFF")]
    start = call.start("Agents will follow", uniform=False)
    return start + first + call.item("Agents", idle, id_last=True) + call.complete("AgentsComplete", 2, uniform=False)


@handler("SKINNYdevices", "system,reporting", about="list SKINNY devices; all in one message", until=20)
def skinny_devices(call: Call) -> bytes:
    def item(name: str) -> bytes:
        about: list[Pair] = [
            ("Channeltype", "SKINNY"),
            ("ObjectName", name),
            ("ChannelObjectType", "device"),
            ("DeviceId", "7960"),
            ("IPaddress", "-none-"),
            ("Type", "No Device"),
            ("Devicestatus", "unregistered"),
            ("NumberOfLines", 1),
        ]
        return call.item("DeviceEntry", about).removesuffix(b"\r\n")

    start = call.start("Device status list will follow")
    return start + item("SEPT01") + item("SEPT02") + call.complete("DevicelistComplete", 2)


@handler("SIPpeers", "system,reporting", about="list SIP peers", until=20)
def sip_peers(call: Call) -> bytes:
    flags = ["AutoForcerport", "Forcerport", "AutoComedia", "Comedia", "VideoSupport", "TextSupport", "ACL"]
    items: list[Item] = [
        (
            "PeerEntry",
            [
                ("Channeltype", "SIP"),
                ("ObjectName", name),
                ("ChanObjectType", "peer"),
                ("IPaddress", "-none-"),
                ("IPport", 0),
                ("Dynamic", "yes"),
                *((flag, "no") for flag in flags),
                ("Status", "Unmonitored"),
                ("RealtimeDevice", "no"),
                ("Description", ""),
                ("Accountcode", ""),
            ],
        )
        for name in ("desk1", "desk2")
    ]
    return call.listing("Peer status list will follow", items, "PeerlistComplete")


@handler("SIPshowpeer", "system,reporting", about="show a SIP peer; its error ends in two blank lines", until=20)
def sip_show_peer(call: Call) -> bytes:
    name = call.get("Peer")
    if not name:
        return call.error("Peer: <name> missing.")
    return call.error(f"Peer {name} not found.") + b"\r\n"


@handler("ModuleLoad", "system", about="load or unload a module; errors come three at a time")
def module_load(call: Call) -> bytes:
    if call.get("Module") and call.get("LoadType"):
        done = {"load": "Module loaded.", "unload": "Module unloaded.", "reload": "Module reloaded."}
        message = done.get(call.get("LoadType").lower())
        return call.success(message) if message else call.error("Incomplete ModuleLoad action.")
    incomplete = call.error("Incomplete ModuleLoad action.")
    if call.get("Module"):
        return incomplete + incomplete
    return incomplete + call.error("Need module name") + incomplete


@handler("ModuleCheck", "system", about="tell whether a module is loaded")
def module_check(call: Call) -> bytes:
    if call.get("Module").removesuffix(".so") in ("app_dial", "app_queue", "chan_pjsip", "res_pjsip"):
        return call.response("Success", ("Version", ""))
    return call.error("Module not loaded")


@handler("Reload", "system,config", about="read configuration again")
def reload(call: Call) -> bytes:
    module = call.get("Module")
    if module and module.removesuffix(".so") not in ("app_queue", "res_pjsip", "manager"):
        return call.error("No such module")
    call.simulator.pbx.emit("Reload", [("Module", module or "All"), ("Status", 0)])
    return call.success("Module Reloaded")


@handler("ShowDialPlan", "config,reporting", about="list the dialplan; an error may follow items")
def show_dialplan(call: Call) -> bytes:
    dialplan = call.simulator.pbx.dialplan
    wanted, exten = call.get("Context"), call.get("Extension")
    if wanted and wanted not in dialplan:
        return call.error(f"Did not find context {wanted}")
    items: list[Item] = []
    extensions = 0
    for context, found in dialplan.items():
        if wanted and context != wanted:
            continue
        for name, steps in found.items():
            if exten and name != exten:
                continue
            extensions += 1
            for number, (application, data) in enumerate(steps, 1):
                about: list[Pair] = [
                    ("Context", context),
                    ("Extension", name),
                    ("Priority", number),
                    ("Application", application),
                    ("AppData", data),
                    ("Registrar", "pbx_config"),
                ]
                items.append(("ListDialplan", about))
    if exten and not extensions:
        error = call.error(f"Did not find extension {exten}@{wanted}")
        if wanted != "members":
            return error
        # Switches and ignored patterns are listed before the extension turns out to be missing.
        switch: list[Pair] = [("Context", wanted), ("Switch", "Loopback/@default"), ("Registrar", "pbx_config")]
        return call.start("DialPlan list will follow") + call.item("ListDialplan", switch) + error
    extra = [
        ("ListExtensions", extensions),
        ("ListPriorities", len(items)),
        ("ListContexts", 1 if wanted else len(dialplan)),
    ]
    return call.listing("DialPlan list will follow", items, "ShowDialPlanComplete", extra=extra)


@handler("VoicemailUserStatus", "call,reporting", about="show a voicemail user; success without a list", since=13)
def voicemail_user_status(call: Call) -> bytes:
    if not call.get("Context") or not call.get("Mailbox"):
        return call.error("Need 'Context' and 'Mailbox' parameters.")
    return call.success("There is no voicemail user of the given info.")


@handler("VoicemailUsersList", "call,reporting", about="list voicemail users; success without a list")
def voicemail_users_list(call: Call) -> bytes:
    return call.success("There are no voicemail users currently defined.")


@handler("GetConfig", "system,config", about="read a configuration file; a list inside one message")
def get_config(call: Call) -> bytes:
    queues = call.simulator.pbx.queues
    if not call.get("Filename"):
        return call.error("Filename not specified")
    if call.get("Filename") != "queues.conf":
        return call.error("Config file not found")
    lines: list[Pair] = []
    for number, queue in enumerate(queues.values()):
        lines.append((f"Category-{number:06}", queue.name))
        values = [f"strategy={queue.strategy}"]
        values += [f"member={each.interface},{each.penalty},{each.name}" for each in queue.members.values()]
        lines += [(f"Line-{number:06}-{at:06}", value) for at, value in enumerate(values)]
    # A line without a colon says that there is nothing.
    return call.response("Success", *(lines or [("", "No categories found")]))


@handler("ListCategories", "config", about="list the sections of a configuration file")
def list_categories(call: Call) -> bytes:
    if not call.get("Filename"):
        return call.error("Filename not specified")
    if call.get("Filename") != "queues.conf":
        return call.error("Config file not found")
    names = [(f"Category-{number:06}", name) for number, name in enumerate(call.simulator.pbx.queues)]
    return call.response("Success", *(names or [("Error", "no categories found")]))


@handler("WaitEvent", about="wait for events; whatever happens lies between response and completion")
def wait_event(call: Call) -> bytes | None:
    session, loop = call.session, call.simulator.loop
    start = call.success("Waiting for Event completed.")
    complete = call.item("WaitEventComplete", [])

    def finish() -> None:
        held = session.take_held()
        if held or loop.now >= until:
            call.release(start + b"".join(held) + complete)
        else:
            loop.call_later(0.05, finish)

    seconds = call.number("Timeout", -1)
    until = loop.now + seconds if seconds >= 0 else float("inf")
    if not seconds:
        return start + b"".join(session.take_held()) + complete
    loop.call_later(0.0, finish)
    return None


@handler("JabberSend", "system", about="send a message; answered twice")
def jabber_send(call: Call) -> bytes:
    if not call.get("Jabber"):
        return call.error("No transport specified")
    return call.success("Attempting to send Jabber Message") + call.error("Failed to send Jabber Message")


@handler("AGI", "agi", about="give a command to a channel under control")
def agi(call: Call) -> bytes:
    name, command = call.get("Channel"), call.get("Command")
    if not name or not command:
        return call.error("Both, Channel and Command are *required*")
    channel = call.simulator.pbx.find(name)
    if channel is None:
        return call.error(f"Channel {name} does not exist.")
    if async_command(call.simulator.pbx, channel, command, call.get("CommandID")):
        return call.success("Added AGI command to queue")
    call.simulator.pbx.emit(
        "AsyncAGIExec",
        channel.snapshot(),
        [("CommandId", call.get("CommandID")), ("Result", "200%20result%3D0%0A")],
    )
    return call.success("Added AGI command to queue")


@handler("LoggerRotate", "system,reporting", about="begin new log files")
def logger_rotate(call: Call) -> bytes:
    return call.success("Reloaded the logger and rotated log files")
