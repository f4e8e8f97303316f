"""AsyncAGI: runs scripts for the calls that the dialplan passes to ``AGI(agi:async,ivr/en)``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, Self

from ..engine.deadline import Deadline
from ..exceptions import AMIError, ConnectionClosed, ConnectionLost, EventsLost
from ..subscriptions.selectors import Selectors
from ..subscriptions.subscribers import Subscriber
from ..wire.message import Event
from .async_transport import AsyncTransport
from .call import STATUS_VARIABLE, AGICall
from .errors import ScriptNotFound
from .router import Router, split_path
from .scripts import LOST, REFUSED, ScriptThreads, run_script
from .wire import Environment, decode_result, parse_environment

if TYPE_CHECKING:
    from ..client import AMIClient

__all__ = ["AsyncAGI"]

logger = logging.getLogger("pyami_sync.agi")

BUFFER = 100_000  # events: a script has two
REFUSAL = 5.0  # seconds that returning a call to the dialplan may take
MOST_REFUSALS = 50


class AnswerTap(Subscriber):
    """Gives each answer to the script that waits for it, on the thread that has read it; see :class:`Subscriber`.

    It has no buffer, since a script has one command under way. A script that reads the connection itself, as a lone
    caller does, finds its answer there without being woken by another thread.
    """

    def __init__(self, scripts: Callable[[], dict[str, AsyncTransport]]) -> None:
        super().__init__(Selectors(("AsyncAGIExec",)), None, BUFFER, "error")
        self._scripts = scripts

    def store(self, events: list[Event]) -> None:
        scripts = self._scripts()
        if self.missed:
            lost, self.missed = EventsLost(self.missed), 0
            for transport in list(scripts.values()):
                transport.deliver(lost)
        for event in events:
            # Reading a dict is atomic. A script is there before its first command is sent, so before any answer.
            waiting = scripts.get(event.get("Uniqueid", ""))
            if waiting is not None:
                waiting.deliver(event)

    def wake(self) -> None:
        """Nobody to wake: :meth:`store` has done that."""

    def __repr__(self) -> str:
        return "<answers to AsyncAGI commands>"


class AsyncAGI:
    """Runs scripts for the calls that the dialplan passes to ``AGI(agi:async,ivr/en,argument,…)``.

    Made by :meth:`~pyami_sync.AMIClient.agi`. The first argument after ``agi:async`` is the script's path, the others
    are its arguments. The user needs the read and write class ``agi``. All scripts share the session; each runs on a
    thread of its own. When all threads are busy, or no route has the path, the call continues in the dialplan with
    the variable ``AGISCRIPT`` set to ``REFUSED`` or ``NOTFOUND``; after a script it is ``DONE`` or ``ERROR``.

    When the link is lost, the commands of running scripts raise :exc:`~pyami_sync.ConnectionLost`. When it is
    restored, their calls continue in the dialplan, with ``AGISCRIPT`` set to ``LOST``; scripts are then started for
    calls that arrived meanwhile, or before the start (this needs the write class ``reporting`` or ``system``).

    In a forked child it is closed. Close it before the client; otherwise the client's ``close()`` closes it.

    Args:
        ami: the session; open.
        scripts: the :class:`Router`; may be replaced, which affects new calls.
        threads: most scripts at a time.
        timeout: default time limit of a command in seconds; :data:`None` for no limit.
        media_timeout: seconds for one that plays, listens or records, in addition to the time that it is to listen.
        unknown: what to do with a call whose path no route has: ``"refuse"``, or ``"ignore"`` when another process
            serves it.
        adopt: whether to run scripts for calls that were waiting before the start. Don't use it if another process
            with the same routes may still be running their scripts.

    """

    def __init__(
        self,
        ami: AMIClient,
        scripts: Router,
        *,
        threads: int = 100,
        timeout: float | None = 10.0,
        media_timeout: float | None = 300.0,
        unknown: Literal["refuse", "ignore"] = "refuse",
        adopt: bool = True,
    ) -> None:
        if unknown not in ("refuse", "ignore"):
            raise ValueError(f"unknown is 'refuse' or 'ignore', not {unknown!r}")
        self.scripts = scripts
        self.threads = threads
        self.served = 0
        """Number of calls for which a script was started."""
        self.refused = 0
        """Number of calls that were refused because all threads were busy."""
        self._ami = ami
        self._timeout = timeout
        self._media_timeout = media_timeout
        self._unknown = unknown
        self._adopts = adopt
        self._running = ScriptThreads(threads)
        self._refusals = ScriptThreads(MOST_REFUSALS)
        # Guards changes of _transports and served; reentrant, for a signal handler that calls close().
        self._lock = threading.RLock()
        self._transports: dict[str, AsyncTransport] = {}
        self._orphans: set[str] = set()  # unique ids of calls whose scripts were ended by a lost link
        self._closed = False
        self._answers = AnswerTap(lambda: self._transports)
        self._stream = ami.events(*("AsyncAGIStart", "AsyncAGIEnd", "ConnectionLost", "Reconnected"), maxsize=BUFFER)
        ami.subscriptions.add(self._answers)
        self._dispatcher = threading.Thread(target=self._dispatch, name="pyami-agi-events", daemon=True)
        self._dispatcher.start()

    @property
    def busy(self) -> int:
        """Number of running scripts."""
        return len(self._running)

    def close(self, grace: float | None = 10.0) -> None:
        """Accept no more calls, and wait for the running scripts. Idempotent; may be called from a script.

        After ``grace`` seconds, the commands of scripts that still run raise :exc:`~pyami_sync.ConnectionClosed`.
        Their calls continue in the dialplan.
        """
        self._closed = True
        self._running.close()
        self._refusals.close()
        if self._running.join(Deadline(grace)):
            for transport in self._all():
                transport.finish(ConnectionClosed("AsyncAGI was closed"))
        # Each may have to return its call to the dialplan, which takes two actions.
        left = self._running.join(Deadline(2 * REFUSAL)) + self._refusals.join(Deadline(2 * REFUSAL))
        self._stop_listening()
        if threading.current_thread() is not self._dispatcher:
            self._dispatcher.join()
        for thread in left:
            logger.warning("%s is still running: its script does not return", thread.name)

    def after_fork(self) -> None:
        """Become closed in a forked child, since the calls belong to the parent."""
        self._closed = True
        self._stop_listening()

    def _stop_listening(self) -> None:
        self._stream.close()
        self._ami.subscriptions.remove(self._answers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<AsyncAGI of {self._ami!r}, {self.busy} of {self.threads} threads busy>"

    # On the dispatching thread

    def _dispatch(self) -> None:
        if self._adopts:
            self._adopt()
        while True:
            try:
                event = self._stream.get()
            except EventsLost as exc:
                # Ends may be among the lost events: scripts that wait for one must not wait for ever.
                for transport in self._all():
                    transport.deliver(exc)
                continue
            except ConnectionClosed as exc:  # the stream or the session was closed
                self._end_all(exc)
                return
            try:
                self._handle(event)
            except Exception:  # a bug here must not stop all other scripts
                logger.exception("%r could not be handled", event)

    def _handle(self, event: Event) -> None:
        name = event.name
        if name == "ConnectionLost":
            self._orphans.update(transport.uniqueid for transport in self._all())
            self._end_all(ConnectionLost(event.get("Reason") or "the link to the server was lost"))
        elif name == "Reconnected":
            self._adopt()
        elif name == "AsyncAGIStart":
            raw = event.get("Env", "")
            environment = decode_result(raw)
            cut = not environment.endswith(b"\n\n")
            before = self._transports.get(event.get("Uniqueid", ""))
            if before is not None:
                if before.adopted:  # the channel was found in the list before this event arrived
                    before.adopted = False
                    return
                # The AsyncAGIEnd of the earlier script was lost.
                self._drop(before)
                before.finish(None)
            self._begin(event, parse_environment(environment.split(b"\n"), cut=cut))
        else:
            uniqueid = event.get("Uniqueid", "")
            transport = self._transports.get(uniqueid)
            if transport is not None:
                self._drop(transport)
                transport.finish(None)

    def _all(self) -> list[AsyncTransport]:
        with self._lock:
            return list(self._transports.values())

    def _keep(self, transport: AsyncTransport) -> None:
        with self._lock:
            self._transports[transport.uniqueid] = transport

    def _drop(self, transport: AsyncTransport) -> None:
        with self._lock:
            # The channel may have entered AsyncAGI again by now, with another transport.
            if self._transports.get(transport.uniqueid) is transport:
                del self._transports[transport.uniqueid]

    def _end_all(self, exc: ConnectionClosed) -> None:
        with self._lock:
            transports, self._transports = self._transports, {}
        for transport in transports.values():
            transport.cut_off(exc)

    def _begin(self, event: Event, environment: Environment, *, adopted: bool = False) -> None:
        channel, uniqueid = event.get("Channel", ""), event.get("Uniqueid", "")
        # The event's own headers are complete even if the environment was cut, and a caller can't forge them.
        environment.values.update(channel=channel, uniqueid=uniqueid)
        raw, *arguments = environment.arguments or ("",)
        try:
            path, params = split_path(raw)
        except ScriptNotFound:
            path, params = raw, {}
        transport = AsyncTransport(self._ami, channel, uniqueid)
        call = AGICall(
            transport, environment, path, arguments, timeout=self._timeout, media_timeout=self._media_timeout
        )
        call.params.update(params)
        if self._unknown == "ignore":
            try:
                self.scripts.resolve(path)
            except ScriptNotFound:
                return
        transport.adopted = adopted
        self._keep(transport)
        if self._running.start(f"pyami-agi-{uniqueid}", lambda: self._run(transport, call)):
            return
        self.refused += 1
        call.log.warning("script %r was refused: %d scripts are under way", path, self.busy)
        self._let_go(call, REFUSED)

    def _run(self, transport: AsyncTransport, call: AGICall) -> None:
        # Before the script runs, so that a thread that has seen its effects finds it counted.
        with self._lock:
            self.served += 1
        try:
            run_script(self.scripts, call)
        finally:
            self._drop(transport)

    def _let_go(self, call: AGICall, status: str) -> None:
        """Return a call to the dialplan, without waiting for that."""
        if not self._refusals.start(f"pyami-agi-refuse-{call.uniqueid}", lambda: call.finish(status)):
            # No thread is free to wait: send two actions and ignore their answers.
            for command in (f'SET VARIABLE "{STATUS_VARIABLE}" "{status}"', "ASYNCAGI BREAK"):
                try:
                    self._ami.submit("AGI", Channel=call.channel, Command=command, timeout=REFUSAL)
                except AMIError as exc:
                    call.log.warning("the call could not be refused: %s", exc)

    def _adopt(self) -> None:
        """Start scripts for calls that wait in AsyncAGI, and return the calls of lost scripts to the dialplan."""
        orphans, self._orphans = self._orphans, set()
        try:
            channels = self._ami.send("CoreShowChannels").events
        except ConnectionClosed:
            self._orphans |= orphans
            return
        except AMIError as exc:
            logger.warning("calls that wait for a script from before can't be found: %s", exc)
            return
        for event in channels:
            data = event.get("ApplicationData", "")
            uniqueid = event.get("Uniqueid", "")
            if event.get("Application", "").lower() != "agi" or not data.lower().startswith("agi:async"):
                continue
            if uniqueid in self._transports or self._closed:
                continue
            environment = _environment_of(event, data)
            if uniqueid in orphans:
                self._release(event, environment)
            else:
                self._begin(event, environment, adopted=True)

    def _release(self, event: Event, environment: Environment) -> None:
        channel, uniqueid = event.get("Channel", ""), event.get("Uniqueid", "")
        transport = AsyncTransport(self._ami, channel, uniqueid)
        self._keep(transport)
        call = AGICall(transport, environment, "", ())
        call.log.warning("the script of this call was ended by a lost link: the call goes on in the dialplan")
        self._let_go(call, LOST)


def _environment_of(event: Event, data: str) -> Environment:
    """Return the environment of a call from an item of CoreShowChannels."""
    headers = {
        "channel": "Channel",
        "uniqueid": "Uniqueid",
        "language": "Language",
        "callerid": "CallerIDNum",
        "calleridname": "CallerIDName",
        "context": "Context",
        "extension": "Exten",
        "priority": "Priority",
        "accountcode": "AccountCode",
    }
    values = {name: event.get(header, "") for name, header in headers.items()}
    for name in ("callerid", "calleridname"):
        if values[name] in ("", "<unknown>"):
            values[name] = "unknown"
    return Environment({"request": "async", **values}, tuple(data.split(",")[1:]), cut=True)
