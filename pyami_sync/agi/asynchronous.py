"""AsyncAGI: scripts for the calls that the dialplan hands to the AMI session, ``AGI(agi:async,ivr/en)``."""

from __future__ import annotations

import logging
import threading
from collections import deque
from itertools import count
from secrets import token_hex
from time import sleep
from typing import TYPE_CHECKING, Literal, Self

from ..deadline import Deadline
from ..exceptions import (
    ActionError,
    ActionTimeout,
    AMIError,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionLost,
    EventsLost,
)
from ..message import Event
from ..waiting import Waiters
from .call import STATUS_VARIABLE, AGICall
from .errors import CallLeft, CommandFailed, CommandTimeout, HungUp, ScriptNotFound
from .router import Router, split_path
from .scripts import LOST, REFUSED, ScriptThreads, run_script
from .wire import ASYNC_LINE, Environment, Reply, decode_result, parse_block, parse_environment

if TYPE_CHECKING:
    from ..client import AMIClient

__all__ = ["AsyncAGI", "AsyncTransport"]

logger = logging.getLogger("pyami_sync.agi")

PIPE = 1024
"""Bytes of an answer that the server puts into one event; what is longer comes with the next one."""
ENCODED = 2044
"""Characters of an encoded answer from which on the server may have cut it: its buffer has 2048."""
NOOP_ANSWER = b"200 result=0\n"
MOST_PIECES = 1024
BUFFER = 100_000  # events: each script has at most a few under way
REFUSAL = 5.0  # seconds that letting a call go may take
MOST_REFUSALS = 50
LOOKS = (0.0, 0.01, 0.03, 0.1, 0.3)  # seconds to wait before each look for what became of a channel


class AsyncTransport:
    """Commands to one channel by the action AGI, answers by the event AsyncAGIExec.

    Answers are matched by the CommandId that is sent with the command. A command whose event is lost ends with its
    timeout; the event of one that was given up is dropped when it comes.
    """

    kind = "async"
    limit = ASYNC_LINE

    def __init__(self, ami: AMIClient, channel: str, uniqueid: str) -> None:
        self.channel = channel
        self.uniqueid = uniqueid
        self._ami = ami
        self._prefix = token_hex(6)
        self._ids = count(1)
        # The dispatching thread appends events; only the script's thread takes them out.
        self._inbox: deque[Event | AMIError] = deque()
        self._arrivals = Waiters()
        self._over = False  # the server has said that the channel left AsyncAGI
        self._deaf = False  # no event of this channel will come any more
        self._end: AMIError | None = None
        self._unread = False  # the server's pipe may hold the rest of an answer
        self._busy = threading.Lock()

    # On the dispatching thread

    def deliver(self, event: Event | AMIError) -> None:
        """Hand over an answer, or the reason why there will be none."""
        if isinstance(event, Event):
            self.channel = event.get("Channel") or self.channel
        self._inbox.append(event)
        self._arrivals.notify_all()

    def finish(self, end: AMIError | None) -> None:
        """End it: the channel left AsyncAGI (no reason), the link is lost, or whatever runs the scripts stops."""
        if end is None:
            self._over = True
        elif self._end is None:
            self._end = end
        self._arrivals.notify_all()

    def cut_off(self, end: ConnectionClosed) -> None:
        """End it for good: no event will come any more, not even that the channel has left AsyncAGI."""
        self._deaf = True
        self.finish(end)

    # On the script's thread

    @property
    def hung_up(self) -> bool:
        """Whether the script has lost its call."""
        return self._over or self._end is not None

    def execute(self, line: bytes, command: str, timeout: float | None, *, free_text: bool = False) -> Reply:
        """Send a command and wait for its answer; see :class:`AGITransport`."""
        if not self._busy.acquire(blocking=False):
            raise ConcurrencyError("another thread uses this call: a call belongs to the thread of its script")
        try:
            return self._execute(line, command, Deadline(timeout))
        finally:
            self._busy.release()

    def _execute(self, line: bytes, command: str, deadline: Deadline) -> Reply:
        self._look_for_late()
        while self._unread:
            self._exchange(b"NOOP", command, deadline)  # what is left of an answer that nobody waits for any more
        text = self._exchange(line, command, deadline)
        raw = decode_result(text)
        cut = len(text) >= ENCODED
        pumped = 0
        # The rest comes with the answers to commands that do nothing; those answers are at its end.
        while self._unread:
            if pumped >= MOST_PIECES:
                raise CommandFailed(command, "its answer is too long for AsyncAGI")
            text = self._exchange(b"NOOP", command, deadline)
            raw += decode_result(text)
            cut = cut or len(text) >= ENCODED
            pumped += 1
        if cut:
            raise CommandFailed(command, "its answer is too long for AsyncAGI, and the server has cut it")
        if pumped:
            raw = raw.removesuffix(NOOP_ANSWER * pumped)
        return parse_block(raw)

    def _exchange(self, line: bytes, command: str, deadline: Deadline) -> str:
        """Send one line; return the answer as the event has it."""
        self._check()
        command_id = f"{self._prefix}-{next(self._ids)}"
        try:
            self._ami.send(
                "AGI",
                Channel=self.channel,
                Command=line.decode("utf-8", "surrogateescape"),
                CommandID=command_id,
                timeout=deadline.remaining(),
            )
        except ActionError as exc:
            self._refused(command, exc)
        except ActionTimeout as exc:
            raise CommandTimeout(command, deadline.timeout) from exc
        while True:
            self._arrivals.wait(lambda: self._inbox or self.hung_up, deadline.remaining())
            if self._inbox:
                came = self._inbox.popleft()
                if isinstance(came, AMIError):
                    raise came
                text = came.get("Result", "")
                self._note(text)
                if came.get("CommandId") == command_id:
                    return text
            elif self.hung_up:
                self._check()
            else:
                raise CommandTimeout(command, deadline.timeout)

    def _note(self, text: str) -> None:
        self._unread = len(text) >= ENCODED or len(decode_result(text)) >= PIPE

    def _look_for_late(self) -> None:
        while self._inbox:
            came = self._inbox.popleft()
            if isinstance(came, Event):
                self._note(came.get("Result", ""))

    def _check(self) -> None:
        if self._end is None and self._over:
            self._end = self._why_over()
        if self._end is not None:
            raise self._end

    def _refused(self, command: str, exc: ActionError) -> None:
        said = exc.response.message or ""
        if "does not exist" in said:
            self._over = True
            self._end = self._end or HungUp()
        elif "Failed to add" in said:
            self._over = True
            self._end = self._end or CallLeft("the channel is not in AsyncAGI any more")
        else:
            raise CommandFailed(command, str(exc)) from exc
        raise self._end from exc

    def _why_over(self) -> AMIError:
        """Ask the server why the channel left AsyncAGI: hung up, or on in the dialplan after a failed command."""
        for pause in LOOKS:
            sleep(pause)
            try:
                response = self._ami.send("Getvar", Channel=self.channel, Variable="AGISTATUS", check=False, timeout=5)
            except AMIError:
                break
            # It is set a moment after the event; a channel that is gone has none.
            status = response.get("Value") if response.ok else "HANGUP"
            if status in ("FAILURE", "SUCCESS"):
                return CallLeft("the call left the script: a command failed, or AsyncAGI was interrupted")
            if status:
                break
        return HungUp()

    def leave(self, timeout: float) -> None:
        """Let the channel go on in the dialplan, and wait until it does; also after the script was stopped. Idempotent.

        The server does it up to 0.1 s after its answer. A session that looked for calls without a script in that time
        would take this for one.
        """
        if self._over or isinstance(self._end, (HungUp, ConnectionLost)):
            return
        self._end = CallLeft("the call was given back to the dialplan")
        deadline = Deadline(timeout)
        try:
            self._ami.send("AGI", Channel=self.channel, Command="ASYNCAGI BREAK", timeout=timeout)
        except AMIError as exc:
            logger.debug("%s could not be given back to the dialplan: %s", self.channel, exc)
        else:
            self._arrivals.wait(lambda: self._over or self._deaf, deadline.remaining())


class AsyncAGI:
    """Runs scripts for the calls that a server hands to ``AGI(agi:async,ivr/en,argument,…)``.

    :meth:`~pyami_sync.AMIClient.agi` makes one. The first argument is the script's path, what follows are its arguments. The user
    needs the class ``agi`` to read and to write. All scripts use the one session, each on a thread of its own. When
    all threads are busy, and for a path that no route has, the call goes on in the dialplan with the variable
    ``AGISCRIPT`` set to ``REFUSED`` or ``NOTFOUND``; it is ``DONE`` or ``ERROR`` after a script.

    When the link is lost, scripts under way end with :exc:`~pyami_sync.ConnectionLost` at their command. When it is
    there again their calls go on in the dialplan, with ``AGISCRIPT`` set to ``LOST``; calls that came meanwhile, or
    before the start, get their scripts then (for this the user needs the class ``reporting`` or ``system``).

    After a fork it belongs to the parent. Close it before the client, or let the client's close do so.

    Args:
        ami: the session; open.
        scripts: the :class:`Router`; may be replaced, which counts for new calls.
        threads: most scripts at a time.
        timeout: seconds that a command may take unless its call says otherwise; :data:`None` for no limit.
        media_timeout: seconds for one that plays, listens or records, besides the time that it was told to listen.
        unknown: what to do with a call whose path no route has: ``"refuse"``, or ``"ignore"`` when another process
            serves it.
        adopt: give scripts to calls that wait for one from before the start. Not when another process that has the
            same routes may still be at work on them.

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
        """Calls that got a script so far."""
        self.refused = 0
        """Calls that were refused so far because all threads were busy."""
        self._ami = ami
        self._timeout = timeout
        self._media_timeout = media_timeout
        self._unknown = unknown
        self._adopts = adopt
        self._running = ScriptThreads(threads)
        self._refusals = ScriptThreads(MOST_REFUSALS)
        # The dispatching thread's own: others only read len() or copy the values.
        self._transports: dict[str, AsyncTransport] = {}
        self._orphans: set[str] = set()  # unique ids of calls whose scripts a lost link has ended
        self._closed = False
        self._stream = ami.events(
            *("AsyncAGIStart", "AsyncAGIExec", "AsyncAGIEnd", "ConnectionLost", "Reconnected"), maxsize=BUFFER
        )
        self._dispatcher = threading.Thread(target=self._dispatch, name="pyami-agi-events", daemon=True)
        self._dispatcher.start()

    @property
    def busy(self) -> int:
        """Scripts under way."""
        return len(self._running)

    def close(self, grace: float = 10.0) -> None:
        """Take no more calls, and wait for the scripts under way; idempotent, also from a script.

        A script that is not through after ``grace`` seconds gets :exc:`~pyami_sync.ConnectionClosed` from its
        command. The calls go on in the dialplan.
        """
        self._closed = True
        self._running.close()
        self._refusals.close()
        if self._running.join(Deadline(grace)):
            for transport in list(self._transports.values()):
                transport.finish(ConnectionClosed("AsyncAGI was closed"))
        # Each may have to give back its call, which takes two actions.
        left = self._running.join(Deadline(2 * REFUSAL)) + self._refusals.join(Deadline(2 * REFUSAL))
        self._stream.close()
        if threading.current_thread() is not self._dispatcher:
            self._dispatcher.join()
        for thread in left:
            logger.warning("%s is still running: its script does not return", thread.name)

    def after_fork(self) -> None:
        """Be closed in a forked child: the calls are the parent's."""
        self._closed = True
        self._stream.close()

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
                # Answers may be among them: whoever waits for one must not wait for ever.
                for transport in self._transports.values():
                    transport.deliver(exc)
                continue
            except ConnectionClosed as exc:  # the stream is closed, or the session is over
                self._end_all(exc)
                return
            try:
                self._handle(event)
            except Exception:  # a defect here must not silence all other scripts
                logger.exception("%r could not be handled", event)

    def _handle(self, event: Event) -> None:
        name = event.name
        if name == "ConnectionLost":
            self._orphans.update(self._transports)
            self._end_all(ConnectionLost(event.get("Reason") or "the link to the server was lost"))
        elif name == "Reconnected":
            self._adopt()
        elif name == "AsyncAGIStart":
            raw = event.get("Env", "")
            environment = decode_result(raw)
            cut = not environment.endswith(b"\n\n")
            self._begin(event, parse_environment(environment.split(b"\n"), cut=cut))
        else:
            uniqueid = event.get("Uniqueid", "")
            transport = self._transports.get(uniqueid)
            if transport is None:
                return
            if name == "AsyncAGIExec":
                transport.deliver(event)
            else:
                del self._transports[uniqueid]
                transport.finish(None)

    def _end_all(self, exc: ConnectionClosed) -> None:
        transports, self._transports = self._transports, {}
        for transport in transports.values():
            transport.cut_off(exc)

    def _begin(self, event: Event, environment: Environment) -> None:
        channel, uniqueid = event.get("Channel", ""), event.get("Uniqueid", "")
        if uniqueid in self._transports:
            return
        # The event's own headers are whole where the environment was cut, and no caller can forge them.
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
        self._transports[uniqueid] = transport
        scripts = self.scripts
        if self._running.start(f"pyami-agi-{uniqueid}", lambda: run_script(scripts, call)):
            self.served += 1
            return
        self.refused += 1
        call.log.warning("script %r was refused: %d scripts are under way", path, self.busy)
        self._let_go(call, REFUSED)

    def _let_go(self, call: AGICall, status: str) -> None:
        """Have a call go on in the dialplan, without waiting for it here."""
        if not self._refusals.start(f"pyami-agi-refuse-{call.uniqueid}", lambda: call.finish(status)):
            # Not even that can be waited for: two actions whose answers nobody looks at.
            for command in (f'SET VARIABLE "{STATUS_VARIABLE}" "{status}"', "ASYNCAGI BREAK"):
                try:
                    self._ami.submit("AGI", Channel=call.channel, Command=command, timeout=REFUSAL)
                except AMIError as exc:
                    call.log.warning("the call could not be refused: %s", exc)

    def _adopt(self) -> None:
        """Take over the calls that are in AsyncAGI without a script: those from before, and those of lost scripts."""
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
                self._begin(event, environment)

    def _release(self, event: Event, environment: Environment) -> None:
        channel, uniqueid = event.get("Channel", ""), event.get("Uniqueid", "")
        transport = self._transports[uniqueid] = AsyncTransport(self._ami, channel, uniqueid)
        call = AGICall(transport, environment, "", ())
        call.log.warning("the script of this call was ended by a lost link: the call goes on in the dialplan")
        self._let_go(call, LOST)


def _environment_of(event: Event, data: str) -> Environment:
    """Return what an item of CoreShowChannels tells of a call."""
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
