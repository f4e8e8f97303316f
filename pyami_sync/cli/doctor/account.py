"""The checks from the login on: login, rights, eventfilters, events, version, clock and delays."""

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
from ...wire.message import Event
from ..exits import LOGIN_REJECTED, NO_CONNECTION, TIMEOUT
from .findings import Finding, Stop
from .managerconf import ManagerConf, describe_filters
from .uses import Use, check_use, classes_of

__all__ = ["Account", "check_account"]

FLOW_WAIT = 2.0
LEAST_WAIT = 0.2
OFFSET_MOST = 2.0
OLDEST = 13
PINGS = 5
SLOW = 0.5
MIRRORED = frozenset({"read", "write", "eventfilter"})

_permission = re.compile(r"(read|write) perm\w*\s*:\s*(.*)", re.IGNORECASE)
_release = re.compile(r"(\d+)\.(\d+)")


class Account:
    """A session of the doctor, and its findings.

    Args:
        options: of the session.
        conf: the server's manager.conf, if it is readable.
        deadline: for all checks.
        use: the use to check the rights for, if one was given.

    """

    def __init__(self, options: Options, conf: ManagerConf | None, deadline: Deadline, use: Use | None = None) -> None:
        self.options = options
        self.conf = conf
        self.use = use
        self.deadline = deadline
        self.client = AMIClient.from_options(options)
        self.seen: set[str] = set()
        """Names of the events that arrived."""
        self._any = threading.Event()
        self._own: Event | None = None  # the doctor's own user event, once it has come back
        self._offset: float | None = None  # seconds by which the server's clock is ahead
        self.read: set[str] | None = None
        """The read classes, None if not known; :attr:`write` likewise has the write classes."""
        self.write: set[str] | None = None
        self.filters: list[str] = []
        """The user's eventfilters, as far as they are known."""

    def check(self) -> Iterator[Finding]:
        """Run all checks.

        Raises:
            Stop: later checks are not possible.

        """
        self.client.on(self._note)  # before the login, so that FullyBooted is not missed
        yield self._log_in()
        try:
            yield self._answers()
            yield self._version()
            offered = self._look_up_rights()
            yield from self._rights()
            if self.use is not None:
                yield from check_use(self.use, self.options.username, self.read, offered)
            if self.filters:
                yield self._filtered()
            yield self._flow()
            if (finding := self._booted()) is not None:
                yield finding
            yield self._clock()
            yield self._lateness()
        except ActionTimeout as exc:
            raise Stop(
                Finding("answers", "fail", f"the server has stalled: {exc}", "look at its log and its load", TIMEOUT)
            ) from None
        except AMIError as exc:
            raise Stop(
                Finding(
                    "answers", "fail", str(exc), "the server stopped or closed the session: see its log", NO_CONNECTION
                )
            ) from None
        finally:
            self.client.close(self._left(1.0))

    def _left(self, most: float | None = None) -> float | None:
        """Return how many seconds a step may take, which is never quite 0."""
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
                    "look at the server's log and its load; if it shuts down, wait until it has restarted",
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
        if "already in use" in said.lower():
            return Finding(
                "login",
                "fail",
                f"{options.username} is logged in already, and may be only once (allowmultiplelogin = no)",
                "end the other session (asterisk -rx 'manager show connected'), give each program a user of its own, or"
                " allowmultiplelogin = yes in manager.conf",
                LOGIN_REJECTED,
            )
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
        """Return this machine's address as the server sees it, as far as it is known."""
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
        if ami is not None and str(ami).startswith("1."):
            age = "1.4 or older" if str(ami).startswith("1.0") else "11 or older"
            return Finding(
                "version",
                "warn",
                f"AMI {ami}: Asterisk {age}, whose lists and events have other names and forms",
                "what you rely on may be missing or look different: try it, and plan an upgrade",
            )
        version = self.client.server_version
        if version is None:
            return Finding(
                "version",
                "ok",
                f"AMI {ami or 'unknown'}; the user may not ask for Asterisk's own (write: system or reporting)",
            )
        found = _release.search(version)
        text = f"Asterisk {version}, AMI {ami or 'unknown'}"
        if found and int(found[1]) < OLDEST:
            return Finding("version", "warn", text, f"older than {OLDEST}: lists and events differ; plan an upgrade")
        return Finding("version", "ok", text)

    # Rights

    def _look_up_rights(self) -> set[str]:
        """Find out the user's classes and eventfilters; return the actions that the server offers to the user.

        The classes are in the console's output and in manager.conf, if the user may read one of them; the actions
        offered prove write classes.
        """
        user = self.options.username
        response = self.client.send("Command", Command=f"manager show user {user}", check=False, timeout=self._left())
        for line in response.output:
            if found := _permission.search(line):
                setattr(self, found[1].lower(), _classes(found[2]))
        for name, value in self._section():
            if name == "eventfilter":
                self.filters.append(value)
            elif getattr(self, name) is None:
                setattr(self, name, _classes(value))
        try:
            offered = set(self.client.send("ListCommands", timeout=self._left()))
        except ActionError:
            return set()
        if self.write is None:
            self.write = classes_of({name.lower() for name in offered})
        return offered

    def _section(self) -> list[tuple[str, str]]:
        """Return the user's section in manager.conf, from the file or from the server, without the secret."""
        user = self.options.username
        if self.conf is not None and (account := self.conf.account(user)) is not None:
            return [(name, value) for name, value in account.entries if name in MIRRORED]
        response = self.client.send(
            "GetConfig", Filename="manager.conf", Category=user, check=False, timeout=self._left()
        )
        lines = [value.partition("=") for name, value in response.items() if name.lower().startswith("line-")]
        return [(name.strip().lower(), value.strip()) for name, _, value in lines if name.strip().lower() in MIRRORED]

    def _rights(self) -> Iterator[Finding]:
        """Check the user's classes and eventfilters."""
        user = self.options.username
        for kind, classes, noun in (("read", self.read, "events"), ("write", self.write, "actions")):
            if classes is None:
                continue
            if not classes:
                yield Finding(
                    "rights",
                    "warn" if kind == "write" else "fail",
                    f"{kind} = (nothing): {user} has no right to any {noun}",
                    f"{kind} = all, or the classes that are needed, in [{user}] of manager.conf, then log in again",
                )
                continue
            yield Finding("rights", "ok", f"{kind} ({noun}): {', '.join(sorted(classes))}")

    def _filtered(self) -> Finding:
        user = self.options.username
        return Finding(
            "filters",
            "warn",
            f"an eventfilter of [{user}] in manager.conf {describe_filters(self.filters)}",
            "everything that your program waits for has to pass it: check it when an event never comes",
        )

    # Events

    def _flow(self) -> Finding:
        """Send a user event, which changes nothing, and check that it comes back."""
        user = self.options.username
        if self.read is not None and not self.read:
            return Finding("events", "skip", f"{user} has no class of events, so none can come")
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
        if self.read is not None and "user" in self.read:
            return Finding(
                "events",
                "warn",
                f"{user} has the read class user, but no event of that class comes: an eventfilter keeps it out",
                f"look at eventfilter = in [{user}] of manager.conf: it may keep out what your program waits for, too",
            )
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
        """Check that other events arrive, for a user who may not send user events."""
        self._any.wait(self._left(FLOW_WAIT))
        user = self.options.username
        if self.seen:
            return Finding("events", "ok", f"events come: {', '.join(sorted(self.seen)[:5])}")
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

    def _booted(self) -> Finding | None:
        """Check for FullyBooted, which a server sends after the login, or once it has loaded its modules."""
        if "FullyBooted" in self.seen or self.filters or self.read is None or "system" not in self.read:
            return None
        return Finding(
            "boot",
            "warn",
            "the server has not said that it is fully booted: it is still loading its modules",
            "what it answers now may be incomplete; on the server: asterisk -rx 'core waitfullybooted'",
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
        """Compare the timestamp of the doctor's event with its arrival."""
        event = self._own
        if event is None or self._offset is None or event.received_at is None:
            return Finding("lateness", "skip", "no event of ours came back, or the server does not tell its time")
        if event.timestamp is None:
            return Finding(
                "lateness",
                "ok",
                "events carry no Timestamp, so that only Pings show when the server stalls"
                " (timestampevents = yes in manager.conf lets clients notice events that come late)",
            )
        late = max(0.0, (event.received_at - event.timestamp).total_seconds() + self._offset)
        text = f"an event came {late * 1000:.1f} ms after it had happened"
        if late > SLOW:
            return Finding("lateness", "warn", text, "the server stalls, or the network: look at its load, and its log")
        return Finding("lateness", "ok", text)


def _classes(text: str) -> set[str]:
    """Parse a list of classes from manager.conf or the console."""
    named = {each.strip() for each in text.lower().split(",")} - {"", "<none>"}
    return set(EVENT_CLASSES) if "all" in named else named & EVENT_CLASSES


def check_account(
    options: Options, conf: ManagerConf | None, deadline: Deadline, use: Use | None = None
) -> Iterator[Finding]:
    """Log in and check what follows; see :meth:`Account.check`."""
    return Account(options, conf, deadline, use).check()
