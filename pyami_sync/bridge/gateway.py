"""Gateway: the local end of a bridged client; an AMI server on a loopback socket, connected to the broker.

A bridged client is an ordinary :class:`~pyami_sync.AMIClient` whose server is this gateway, in the same process. So
everything that works on a session works over a broker, down to the classes of answers and events. The gateway accepts
only logins with a random secret that never leaves the process.

Threads: one accepts connections; one receives answers from the broker; each connection has one that reads actions and
one that writes events. In a forked child the gateway starts again, on another socket.
"""

from __future__ import annotations

import hmac
import logging
import os
import secrets
import socket
import time
import uuid
import weakref
from collections.abc import Callable, Iterable
from hashlib import md5
from threading import Event as Flag
from threading import Lock, RLock, Thread, current_thread
from typing import Literal

from .. import AMIError, Message
from .envelope import Record, decode_body
from .errors import BrokerUnavailable, NotSupported
from .requests import Answer, Request
from .sequence import Sequence
from .transport import Reader, Start, Transport

__all__ = ["Gateway"]

logger = logging.getLogger("pyami_sync")

USERNAME = "bridge"
BANNER = b"Asterisk Call Manager/0 (pyami-sync bridge)\r\n"
BATCH = 1_000
IDLE = 0.25
PLACE_WAIT = 10.0  # seconds that the answer to a login waits for the place from which events are read
MARGIN = 0.4  # share of an action's time that is reserved for reporting that it has expired
MOST_MARGIN = 0.25
NOT_SUPPORTED = frozenset({"filter", "waitevent"})

Beginning = Start | Literal["snapshot"]

gateways: weakref.WeakSet[Gateway] = weakref.WeakSet()


class Gateway:
    """Gives one client the events of one node, and forwards its actions.

    Args:
        transport: the broker; closed with the gateway.
        node: the node.
        user: the user for the bridge's :class:`~pyami_sync.bridge.AllowList`; by default the environment variable
            ``AMI_BRIDGE_USER``, or ``default``.
        start: where the events begin; ``"snapshot"`` is at the latest Snapshot marker, or now if there is none.
        timeout: seconds within which an action must begin to run, for actions without their own time limit.

    """

    def __init__(
        self, transport: Transport, node: str, *, user: str | None, start: Beginning = "now", timeout: float = 10.0
    ) -> None:
        self.node = node
        self.secret = secrets.token_hex(16)
        self.sequence = Sequence(node)
        """The position up to which the latest connection got events; the next one continues after it."""
        self._transport = transport
        self._user = user or os.environ.get("AMI_BRIDGE_USER") or "default"
        self._start = start
        self._timeout = timeout
        self.moved: Callable[[int], None] = lambda port: None
        """Called in a forked child with the port of its own gateway."""
        self._listen()
        self._reset()
        gateways.add(self)

    def _listen(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def _reset(self) -> None:
        self.requester = uuid.uuid4().hex
        # Guards the following attributes. Reentrant: a signal handler may call close() while its own thread holds it.
        self._lock = RLock()
        self._waiting: dict[str, tuple[Request, str, _Connection]] = {}
        self._limits: dict[str, float] = {}  # changed by single steps, without the lock: any thread notes one
        self._connections: set[_Connection] = set()
        self._threads: list[Thread] = []
        self._closed = Flag()
        self._asked = Flag()  # set while an answer is pending; otherwise the broker is not polled
        self._started = False

    def start(self) -> None:
        """Start accepting connections; does nothing if it has started."""
        with self._lock:
            if self._started:
                return
            self._started = True
            for target, name in ((self._accept, "accept"), (self._take_answers, "answers")):
                thread = Thread(target=target, name=f"pyami-bridge-{name}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def limit(self, action_id: str, seconds: float | None) -> None:
        """Set the time limit, in seconds, within which the action with an ActionID must begin to run."""
        if len(self._limits) > 10_000:
            self._limits.clear()
        if seconds is not None:
            self._limits[action_id] = time.time() + seconds

    def stop(self) -> None:
        """End all connections and threads; does not wait."""
        self._closed.set()
        self._asked.set()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()

    def close(self, timeout: float = 5.0) -> None:
        """End all connections and threads, wait for them, and close the transport."""
        self.stop()
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            if thread is not current_thread():
                thread.join(timeout)
        self._transport.close()

    def after_fork(self) -> None:
        """Start again in a forked child, on another socket."""
        started, closed = self._started, self._closed.is_set()
        connections = self._connections
        self._reset()
        self.sequence = Sequence(self.node)
        self._start = "now"
        for connection in connections:
            connection.forget()
        self._listener.close()  # this process's copy; the parent's stays open
        if closed:
            self._closed.set()
            return
        self._listen()
        self.moved(self.port)
        if started:
            self.start()

    # The thread that accepts

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            connection = _Connection(self, sock)
            with self._lock:
                self._connections.add(connection)
                self._threads = [each for each in self._threads if each.is_alive()]
                self._threads += connection.threads
            for thread in connection.threads:
                thread.start()

    def forget(self, connection: _Connection) -> None:
        """Handle the end of a connection; its pending actions get no answer."""
        with self._lock:
            self._connections.discard(connection)
            for key in [key for key, (_, _, asker) in self._waiting.items() if asker is connection]:
                del self._waiting[key]

    # Actions

    def ask(self, action: Message, connection: _Connection) -> None:
        """Send an action to the bridge that leads the node; the answer is received on the answers' thread."""
        action_id = action.get("ActionID", "")
        limit = self._limits.pop(action_id, None)
        now = time.time()
        left = (self._timeout if limit is None else limit - now) or self._timeout
        deadline = now + max(0.0, left - min(MARGIN * left, MOST_MARGIN))
        request = Request(self.node, action.to_bytes(), self.requester, self._user, deadline)
        with self._lock:
            self._waiting[request.id] = (request, action_id, connection)
            self._asked.set()
        try:
            answer = self._transport.ask(request, max(0.05, left))
        except BrokerUnavailable as exc:
            # It may or may not have reached the broker. That can't be found out, and it must not be sent again.
            logger.warning("request %s of node %r: %s", request.id, self.node, exc)
            return
        if answer is not None:
            self._deliver([answer])

    def _take_answers(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._asked.clear()
            if self._closed.is_set():  # after the clearing, since stop() sets both
                return
            self._asked.wait()
            try:
                answers = self._transport.answers(self.requester, 0.05)
            except BrokerUnavailable as exc:
                logger.debug("answers: %s", exc)
                self._closed.wait(0.2)
                continue
            self._deliver(answers)
            now = time.time()
            with self._lock:
                due = [request for request, _, _ in self._waiting.values() if request.deadline <= now]
            for request in due:
                self._expire(request)

    def _expire(self, request: Request) -> None:
        """Withdraw a request that no bridge has taken in time; one that was taken may still be answered."""
        try:
            withdrawn = self._transport.withdraw(request)
        except BrokerUnavailable:
            withdrawn = False
        if withdrawn:
            self._deliver([Answer(request.id, "expired", "no bridge took it in time")])
        else:
            with self._lock:
                found = self._waiting.get(request.id)
                if found is not None:  # not withdrawn again; an answer may still arrive
                    later = Request(
                        request.node, b"", request.requester, request.user, request.deadline + 120.0, request.id
                    )
                    if request.action:
                        self._waiting[request.id] = (later, *found[1:])
                    else:
                        del self._waiting[request.id]

    def _deliver(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            with self._lock:
                found = self._waiting.pop(answer.id, None)
            if found is None:
                continue
            _, action_id, connection = found
            if answer.outcome == "done":
                connection.write(b"".join(answer.messages))
            elif answer.outcome == "unknown":
                # Send no answer: the caller's ActionTimeout reports correctly that the outcome is unknown.
                logger.warning("node %r: the outcome of an action is unknown: %s", self.node, answer.reason)
            else:
                text = answer.reason if answer.outcome == "refused" else f"expired: {answer.reason}; it has not run"
                connection.respond("Error", action_id, text)

    # Events

    def new_sequence(self) -> Sequence:
        """Return the sequence of a new connection, which continues after the events of the latest one."""
        self.sequence = Sequence(self.node, self.sequence.last)
        return self.sequence

    def first_records(self, sequence: Sequence) -> list[Record]:
        """Return the records that a connection gets before those of its reader: a snapshot, or nothing."""
        found = None
        if self._start == "snapshot" and sequence.last is None:
            found = self._transport.snapshot(self.node)
        return [found] if found is not None else []

    def open_reader(self, sequence: Sequence) -> Reader:
        """Return a reader of the node's events after those that have been delivered."""
        start = self._start if sequence.last is None else sequence.last
        if start == "snapshot":
            start = "now"
        return self._transport.reader([self.node], {self.node: start})

    @property
    def closed(self) -> Flag:
        """A flag that is set when the gateway is closed."""
        return self._closed


class _Connection:
    """One connection of the client."""

    def __init__(self, gateway: Gateway, sock: socket.socket) -> None:
        self._gateway = gateway
        self._sock = sock
        self._writing = Lock()  # held while bytes of one or more whole messages are written
        self._challenge = str(secrets.randbelow(10**9))
        self._over = Flag()
        self._listening = Flag()
        self._placed = Flag()
        """Set when events are read from their place on, or it is known that they can't be read now."""
        self._mask: frozenset[str] | None = None  # None: all classes
        self.threads = [
            Thread(target=self._read, name="pyami-bridge-actions", daemon=True),
            Thread(target=self._feed, name="pyami-bridge-events", daemon=True),
        ]

    def close(self) -> None:
        self._over.set()
        self._listening.set()
        self._placed.set()
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def forget(self) -> None:
        """Close this process's copy of the socket, in a forked child; the connection stays open in the parent."""
        self._sock.close()

    def write(self, data: bytes) -> None:
        try:
            with self._writing:
                self._sock.sendall(data)
        except OSError:
            self.close()

    def respond(self, status: str, action_id: str, message: str, *more: str) -> None:
        lines = [f"Response: {status}", *([f"ActionID: {action_id}"] if action_id else []), *more]
        lines.append("Message: " + " ".join(message.split()))
        self.write("\r\n".join(lines).encode("utf-8", "surrogateescape") + b"\r\n\r\n")

    # The thread that reads actions

    def _read(self) -> None:
        buffer = bytearray()
        logged_in = False
        try:
            self.write(BANNER)
            while not self._over.is_set():
                data = self._sock.recv(65536)
                if not data:
                    return
                buffer += data
                while (end := buffer.find(b"\r\n\r\n")) >= 0:
                    action = Message.from_bytes(bytes(buffer[: end + 4]))
                    del buffer[: end + 4]
                    if logged_in:
                        self._act(action)
                    else:
                        logged_in = self._log_in(action)
        except (OSError, ValueError) as exc:
            logger.debug("bridged connection: %s", exc)
        finally:
            self.close()
            self._gateway.forget(self)
            if self.threads[1].ident is not None:
                self.threads[1].join(5.0)
            self._sock.close()

    def _log_in(self, action: Message) -> bool:
        name, action_id = action.get("Action", "").lower(), action.get("ActionID", "")
        if name == "challenge":
            self.respond("Success", action_id, "Challenge", f"Challenge: {self._challenge}")
            return False
        secret = self._gateway.secret
        key = md5(f"{self._challenge}{secret}".encode(), usedforsecurity=False).hexdigest()
        given, expected = action.get("Key", ""), key
        if "Key" not in action:
            given, expected = action.get("Secret", ""), secret
        if name != "login" or not hmac.compare_digest(given.encode(), expected.encode()):
            self.respond("Error", action_id, "Authentication failed")
            self.close()
            return False
        self._set_mask(action.get("Events", "on"))
        self.respond("Success", action_id, "Authentication accepted")
        return True

    def _act(self, action: Message) -> None:
        name, action_id = action.get("Action", "").lower(), action.get("ActionID", "")
        if name == "logoff":
            self.respond("Goodbye", action_id, "Thanks for all the fish.")
            self.close()
        elif name == "events":
            self._set_mask(action.get("EventMask", "on"))
            state = "Events: Off" if self._mask == frozenset() else "Events: On"
            self.respond("Success", action_id, "Event mask set", state)
        elif name in NOT_SUPPORTED:
            self.respond("Error", action_id, str(NotSupported(action["Action"])))  # of a pool's node
        else:
            self._gateway.ask(action, self)

    def _set_mask(self, text: str) -> None:
        words = frozenset(word.strip().lower() for word in text.split(","))
        if words & {"on", "all", "yes", "true"}:
            self._mask = None
        elif words & {"off", "none", "no", "false"}:
            self._mask = frozenset()
        else:
            self._mask = words
        if self._mask != frozenset():
            self._listening.set()
            # Before the answer: a client that is told that events are on misses none that happens from then on.
            self._placed.wait(PLACE_WAIT)

    # The thread that writes events

    def _feed(self) -> None:
        self._listening.wait()
        sequence = self._gateway.new_sequence()
        reader: Reader | None = None
        try:
            while not self._over.is_set():
                try:
                    if reader is None:
                        self._pass_on(self._gateway.first_records(sequence), sequence)
                        reader = self._gateway.open_reader(sequence)
                        self._placed.set()
                    found = reader.read(BATCH, IDLE)
                except BrokerUnavailable as exc:
                    logger.info("events of node %r wait: %s", self._gateway.node, exc)
                    self._placed.set()
                    if reader is not None:
                        reader.close()
                        reader = None
                    self._over.wait(0.2)
                    continue
                if found:
                    self._pass_on(found, sequence)
        except AMIError as exc:
            logger.warning("events of node %r: %s", self._gateway.node, exc)
            self.close()
        finally:
            if reader is not None:
                reader.close()

    def _pass_on(self, records: list[Record], sequence: Sequence) -> None:
        accept = sequence.accept
        mask = self._mask
        frames = []
        for record in records:
            for each in accept(record):
                if mask is None or each.category in mask or each.category in ("bridge", "none"):
                    frames.append(decode_body(each.body))
        if frames:
            self.write(b"\r\n\r\n".join(frames) + b"\r\n\r\n")


def _after_fork() -> None:
    for gateway in list(gateways):
        gateway.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
