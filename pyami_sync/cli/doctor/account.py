"""From the login on: who we are there, what we may do, whether events come, and how the server is."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

from ...client import AMIClient
from ...engine.deadline import Deadline
from ...exceptions import ActionError, ActionTimeout, AMIError, ConnectError, LoginRejected, WaitTimeout
from ...session.options import EVENT_CLASSES, Options
from ...vocabulary.catalogue.vocabulary import load_facts
from ...wire.message import Event
from ..exits import LOGIN_REJECTED, NO_CONNECTION, TIMEOUT
from .findings import Finding, Stop
from .managerconf import ManagerConf

__all__ = ["Account", "check_account"]

FLOW_WAIT = 2.0
LEAST_WAIT = 0.2
OFFSET_MOST = 2.0
OLDEST = 13
PINGS = 5
SLOW = 0.5
NEEDED = {
    "read": ("call", "agent", "system", "user", "dialplan", "reporting"),
    "write": ("call", "agent", "system", "user", "command", "originate", "reporting"),
}
"""Classes that programs usually need."""

_permission = re.compile(r"(read|write) perm\w*\s*:\s*(.*)", re.IGNORECASE)
_release = re.compile(r"(\d+)\.(\d+)")


class Account:
    """A login, and what it shows.

    Args:
        options: how to log in.
        conf: the server's manager.conf, if it can be read here.
        deadline: when all has to be done.

    """

    def __init__(self, options: Options, conf: ManagerConf | None, deadline: Deadline) -> None:
        self.options = options
        self.conf = conf
        self.deadline = deadline
        self.client = AMIClient.from_options(options)
        self.seen: set[str] = set()
        """Names of the events that came."""
        self._any = threading.Event()
        self._own: Event | None = None  # the event of ours that came back
        self._offset: float | None = None  # by how many seconds the server's clock is ahead
        self.read: set[str] | None = None
        self.write: set[str] | None = None

    def check(self) -> Iterator[Finding]:
        """Check everything.

        Raises:
            Stop: what follows can't be checked.

        """
        self.client.on(self._note)  # before the login, so that FullyBooted is not missed
        yield self._log_in()
        try:
            yield self._answers()
            yield self._version()
            yield from self._rights()
            yield self._flow()
            yield self._clock()
            yield self._lateness()
        except ActionTimeout as exc:
            raise Stop(
                Finding("answers", "fail", f"the server has stalled: {exc}", "look at its log and its load", TIMEOUT)
            ) from None
        except AMIError as exc:
            raise Stop(
                Finding("answers", "fail", str(exc), "did the server stop, or throw us out? See its log", NO_CONNECTION)
            ) from None
        finally:
            self.client.close(self._left(1.0))

    def _left(self, most: float | None = None) -> float | None:
        """Return how many seconds a step may take; an answer that is near always has a little."""
        left = self.deadline.remaining()
        if left is None or (most is not None and most < left):
            return most
        return max(LEAST_WAIT, left)

    def _note(self, event: object) -> None:
        self.seen.add(getattr(event, "name", ""))
        self._any.set()

    # The login

    def _log_in(self) -> Finding:
        options = self.options
        started = time.monotonic()
        try:
            self.client.open(timeout=self._left())
        except LoginRejected as exc:
            raise Stop(self._rejected(exc)) from None
        except ConnectError as exc:
            stalled = "no answer to" in exc.reason or "no greeting" in exc.reason
            raise Stop(
                Finding(
                    "login",
                    "fail",
                    f"{'the server has stalled: ' if stalled else ''}{exc.reason}",
                    "look at the server's log and its load; if it shuts down, wait until it is back",
                    TIMEOUT if stalled else NO_CONNECTION,
                )
            ) from None
        took = time.monotonic() - started
        how = "answering a challenge" if options.auth == "md5" else "in plain text"
        return Finding("login", "ok", f"logged in as {options.username} by {how} ({took * 1000:.0f} ms)")

    def _rejected(self, exc: LoginRejected) -> Finding:
        options = self.options
        address = self._own_address()
        said = exc.response.message if exc.response is not None else ""
        if said.lower() != "authentication failed":
            return Finding("login", "fail", f"the login was rejected: {exc.reason}", "see manager.conf", LOGIN_REJECTED)
        if self.conf is not None:
            cause, remedy = self.conf.why_refused(options.username, options.secret, address)
            if cause:
                return Finding("login", "fail", cause, remedy, LOGIN_REJECTED)
        return Finding(
            "login",
            "fail",
            f"the login as {options.username!r} was rejected: unknown user, wrong secret, or an ACL (permit/deny) that"
            f" keeps {address} out; the server answers all three alike",
            f"on the server: is there such a user (asterisk -rx 'manager show users')? which ACL has it"
            f" (asterisk -rx 'manager show user {options.username}')? its log names the cause"
            " (grep -i authenticate /var/log/asterisk/messages*). Its secret is in manager.conf, and after a change:"
            " asterisk -rx 'manager reload'. On the server itself, --manager-conf FILE tells which it is",
            LOGIN_REJECTED,
        )

    def _own_address(self) -> str:
        """The address that the server sees us under, as far as it can be known here."""
        try:
            with closing(socket.create_connection((self.options.host, self.options.port), self._left(2.0))) as sock:
                address = sock.getsockname()[0]
        except OSError:
            return "this address"
        return str(address).removeprefix("::ffff:")

    # The server

    def _answers(self) -> Finding:
        trips = [self.client.ping(timeout=self._left()) for _ in range(PINGS)]
        text = f"{PINGS} pings answered, in {min(trips) * 1000:.2f} to {max(trips) * 1000:.2f} ms"
        if max(trips) > SLOW:
            return Finding(
                "answers", "warn", text, "the server or the network is slow: look at its load, and at the route"
            )
        return Finding("answers", "ok", text)

    def _version(self) -> Finding:
        ami = self.client.ami_version
        version = self.client.server_version
        if version is None:
            return Finding(
                "version",
                "ok",
                f"AMI {ami or 'unknown'}; the user may not ask for Asterisk's own (write: system or reporting)",
            )
        found = _release.search(version)
        text = f"Asterisk {version}, AMI {ami or 'unknown'}"
        if found and int(found[1]) < OLDEST and int(found[1]) > 1:
            return Finding("version", "warn", text, f"older than {OLDEST}: lists and events differ; plan an upgrade")
        return Finding("version", "ok", text)

    # Rights

    def _rights(self) -> Iterator[Finding]:
        """The user's classes: told by the console where we may ask it, else found out by what is offered to us."""
        user = self.options.username
        response = self.client.send("Command", Command=f"manager show user {user}", check=False, timeout=self._left())
        for line in response.output:
            if found := _permission.search(line):
                named = {each.strip() for each in found[2].lower().split(",")} - {"", "<none>"}
                granted: set[str] = set(EVENT_CLASSES) if "all" in named else named & EVENT_CLASSES
                setattr(self, found[1].lower(), granted)
        if self.write is None:
            self.write = self._offered()
        rights = (("read", self.read, "events"), ("write", self.write, "actions"))
        for kind, classes, noun in rights:
            if classes is None:
                continue
            missing = [each for each in NEEDED[kind] if each not in classes]
            if not classes:
                yield Finding(
                    "rights",
                    "warn" if kind == "write" else "fail",
                    f"{kind} = (nothing): {user} has no class of {noun}",
                    f"{kind} = all, or the classes that are needed, in [{user}] of manager.conf, then log in again",
                )
                continue
            yield Finding("rights", "ok", f"{kind} ({noun}): {', '.join(sorted(classes))}")
            for each in missing:
                yield Finding(
                    "rights",
                    "warn",
                    f"{kind} class {each} is missing: {_example(kind, each)}",
                    f"if you need it, add {each} to {kind} = in [{user}] of manager.conf, then log in again",
                )

    def _offered(self) -> set[str]:
        """Write classes, by the actions that the server offers to this user: it lists no others."""
        try:
            offered = {name.lower() for name in self.client.send("ListCommands", timeout=self._left())}
        except ActionError:
            return set()
        granted: set[str] = set()
        for action in load_facts()["actions"]:
            if len(action["privileges"]) == 1 and action["name"].lower() in offered:
                granted.add(action["privileges"][0])
        return granted

    # Events

    def _flow(self) -> Finding:
        """Raise a user event, which touches nothing, and see whether it comes back."""
        user = self.options.username
        mark = f"doctor-{time.time_ns()}"
        started = time.monotonic()
        try:
            # Leaving the block waits for the event.
            with self.client.expect("UserEvent", where={"Mark": mark}, timeout=self._left(FLOW_WAIT)) as own:
                self.client.send("UserEvent", UserEvent="PyamiSyncDoctor", Mark=mark, timeout=self._left())
        except ActionError:
            return self._passive_flow()
        except WaitTimeout:
            pass
        else:
            took = (time.monotonic() - started) * 1000
            self._own = own.result()
            return Finding("events", "ok", f"an event of ours came back after {took:.1f} ms")
        others = sorted(self.seen)
        if others:
            return Finding(
                "events",
                "warn",
                f"events come ({', '.join(others[:5])}), but not those of class user",
                f"add user to read = in [{user}] of manager.conf; an eventfilter there may keep it out, too",
            )
        return Finding(
            "events",
            "fail",
            f"no events come: {user} has no right to read them (read = is empty or lacks their classes),"
            " or an eventfilter keeps them all out",
            f"read = all, or the classes that are needed, in [{user}] of manager.conf, then log in again",
        )

    def _passive_flow(self) -> Finding:
        """We may not raise an event: whatever came by itself has to do."""
        self._any.wait(self._left(FLOW_WAIT))
        user = self.options.username
        if self.seen:
            return Finding("events", "ok", f"events come: {', '.join(sorted(self.seen)[:5])}")
        if self.read is not None and not self.read:
            return Finding(
                "events", "fail", "no events come: read = is empty", f"read = all in [{user}] of manager.conf"
            )
        if not self.write:
            return Finding(
                "rights",
                "fail",
                f"{user} may do nothing: the server offers it no actions beyond those that need no right,"
                f" and no event came in {FLOW_WAIT:g} s",
                f"read = and write =, each with the classes that are needed, in [{user}] of manager.conf,"
                " then log in again",
            )
        return Finding(
            "events",
            "warn",
            f"no event came in {FLOW_WAIT:g} s, and {user} may not raise one to try it (write class user)",
            "make a call and look again; none then: check read = in manager.conf and its eventfilter",
        )

    # The clock

    def _clock(self) -> Finding:
        before = time.time()
        response = self.client.send("Ping", timeout=self._left())
        after = time.time()
        stamp = response.get("Timestamp", "")
        try:
            offset = float(stamp) - (before + after) / 2
        except ValueError:
            return Finding("clock", "skip", "the server does not tell its time")
        self._offset = offset
        text = f"the server's clock is {abs(offset):.3f} s {'ahead' if offset > 0 else 'behind'}"
        if abs(offset) > OFFSET_MOST:
            return Finding(
                "clock", "warn", text, "set both clocks by NTP (timedatectl): times in events and logs differ"
            )
        return Finding("clock", "ok", text)

    def _lateness(self) -> Finding:
        """Compare when our event was stamped with when it came."""
        event = self._own
        if event is None or self._offset is None or event.received_at is None:
            return Finding("lateness", "skip", "no event of ours came back, or the server does not tell its time")
        if event.timestamp is None:
            return Finding(
                "lateness",
                "skip",
                "events carry no Timestamp, so that only Pings show when the server stalls",
                "timestampevents = yes in [general] of manager.conf lets clients notice events that come late",
            )
        late = max(0.0, (event.received_at - event.timestamp).total_seconds() + self._offset)
        text = f"an event came {late * 1000:.1f} ms after it had happened"
        if late > SLOW:
            return Finding("lateness", "warn", text, "the server stalls, or the network: look at its load, and its log")
        return Finding("lateness", "ok", text)


def _example(kind: str, name: str) -> str:
    """What does not work without a class."""
    facts = load_facts()
    records = facts["events"] if kind == "read" else facts["actions"]
    names = [each["name"] for each in records if each["privileges"] == [name]][:3]
    return f"no {', '.join(names)}" if names else f"no {'events' if kind == 'read' else 'actions'} of that class"


def check_account(options: Options, conf: ManagerConf | None, deadline: Deadline) -> Iterator[Finding]:
    """Log in and check what follows; see :meth:`Account.check`."""
    return Account(options, conf, deadline).check()
