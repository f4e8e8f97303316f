"""The simulator's answers to the login, and to the actions of manager.c itself."""

from __future__ import annotations

import hashlib
import random
import time

from ..filters import BadFilter
from ..rights import ALL, CLASSES, User, names_of, parse_mask
from ..wire import frame
from .registry import HANDLERS, Call, handler

__all__: list[str] = []


@handler("Challenge", about="begin a login by MD5")
def challenge(call: Call) -> bytes:
    if call.get("AuthType").lower() != "md5":
        return call.error("Must specify AuthType")
    session = call.session
    session.challenge = session.challenge or str(random.randrange(100_000_000, 1_000_000_000))
    return call.response("Success", ("Challenge", session.challenge))


@handler("Login", about="log in")
def login(call: Call) -> bytes | None:
    session, simulator = call.session, call.simulator
    if session.user is not None:
        return call.success("Already authenticated")
    name = call.get("Username").lower()
    user = next((user for known, user in simulator.users.items() if known.lower() == name), None)
    if simulator.any_login and user is None:
        user = User("")
    if user is not None and not simulator.refusing:
        if simulator.any_login:
            accepted = True
        elif call.get("AuthType").lower() == "md5":
            proof = hashlib.md5((session.challenge + user.secret).encode(), usedforsecurity=False).hexdigest()
            accepted = bool(session.challenge) and call.get("Key") == proof
        else:
            accepted = call.get("Secret") == user.secret
        if accepted:
            session.log_in(name, user)
            mask = parse_mask(call.get("Events"))
            session.mask = ALL if mask is None else mask
            answer = call.success("Authentication accepted") + fully_booted(call)
            simulator.logged_in(session)
            return answer
    refusal = call.error("Authentication failed")

    def refuse() -> None:
        call.release(refusal)
        session.end()

    simulator.loop.call_later(simulator.login_pause, refuse)
    return None


def fully_booted(call: Call) -> bytes:
    """Return the FullyBooted event after a login, for a session with events of class ``system``."""
    session, simulator = call.session, call.simulator
    if (
        session.user is None
        or not simulator.tells_boot
        or not session.mask & session.user.read_bits & CLASSES["system"]
    ):
        return b""
    uptime = int(time.time() - simulator.started) if simulator.major >= 14 else None
    return frame(
        [
            ("Event", "FullyBooted"),
            ("Privilege", "system,all"),
            ("Uptime", uptime),
            ("LastReload", uptime),
            ("Status", "Fully Booted"),
        ]
    )


@handler("Logoff", about="end the session")
def logoff(call: Call) -> bytes:
    call.session.connection.send(call.response("Goodbye", ("Message", "Thanks for all the fish.")))
    call.session.end()
    return b""


@handler("Ping", about="keep the connection alive")
def ping(call: Call) -> bytes:
    return call.response("Success", ("Ping", "Pong"), ("Timestamp", f"{time.time():.6f}"))


@handler("Events", about="choose which events are sent")
def events(call: Call) -> bytes:
    mask = parse_mask(call.get("EventMask"))
    if mask is None:
        return call.error("Invalid event mask")
    call.session.mask = mask
    return call.response("Success", ("Events", "On" if mask else "Off"))


@handler("ListCommands", about="list the actions that this user may send")
def list_commands(call: Call) -> bytes:
    user = call.session.user
    lines = []
    for known in sorted(HANDLERS.values(), key=lambda each: each.name.lower()):
        if call.simulator.major not in known.versions:
            continue
        if known.bits and user is not None and not known.bits & user.write_bits:
            continue
        lines.append((known.name, f"{known.about}  (Priv: {names_of(known.bits)})"))
    return call.response("Success", *lines)


@handler("CoreSettings", "system,reporting", about="tell settings and versions")
def core_settings(call: Call) -> bytes:
    simulator = call.simulator
    return call.response(
        "Success",
        ("AMIversion", simulator.ami_version),
        ("AsteriskVersion", simulator.version),
        ("SystemName", simulator.system_name),
        ("CoreMaxCalls", 0),
        ("CoreMaxLoadAvg", "0.000000"),
        ("CoreRunUser", ""),
        ("CoreRunGroup", ""),
        ("CoreMaxFilehandles", 0),
        ("CoreRealTimeEnabled", "No"),
        ("CoreCDRenabled", "Yes"),
        ("CoreHTTPenabled", "No"),
        ("SoundsSearchCustomDir", "No" if simulator.major >= 16 else None),
    )


@handler("Filter", "system", about="add an event filter to this session")
def add_filter(call: Call) -> bytes:
    if call.get("Operation") != "Add":
        return call.error("Unknown operation")
    pattern = call.get("Filter")
    criteria = call.get("MatchCriteria") if call.simulator.major >= 18 else ""  # older ones do not look at it
    try:
        call.session.filters.add(pattern, criteria or None)
    except BadFilter as exc:
        return call.error(str(exc))
    return call.success("Success")


@handler("UserEvent", "user", about="send an event of your own")
def user_event(call: Call) -> bytes:
    name = call.get("UserEvent")
    pairs = [("UserEvent", name)]
    pairs += [(key, value) for key, value in call.action.items() if key.lower() not in ("action", "userevent")]
    # Its sender may name any header, and change nothing by it.
    call.simulator.publish("UserEvent", pairs, own_classes=False)
    return call.success("Event Sent")
