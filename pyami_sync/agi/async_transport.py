"""One channel in AsyncAGI: commands by the action AGI, answers by the event AsyncAGIExec."""

from __future__ import annotations

import logging
import threading
from collections import deque
from itertools import count
from secrets import token_hex
from time import sleep
from typing import TYPE_CHECKING

from ..engine.deadline import Deadline
from ..engine.waiting import Waiters
from ..exceptions import ActionError, ActionTimeout, AMIError, ConcurrencyError, ConnectionClosed, ConnectionLost
from ..wire.message import Event
from .errors import CallLeft, CommandFailed, CommandTimeout, HungUp
from .wire import ASYNC_LINE, Reply, decode_result, parse_block

if TYPE_CHECKING:
    from ..client import AMIClient

__all__ = ["AsyncTransport"]

logger = logging.getLogger("pyami_sync.agi")

PIPE = 1024
"""Bytes of an answer that the server puts into one event; what is longer comes with the next one."""
ENCODED = 2044
"""Characters of an encoded answer from which on the server may have cut it: its buffer has 2048."""
NOOP_ANSWER = b"200 result=0\n"
MOST_PIECES = 1024
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
        # The thread that reads the connection appends events; only the script's thread takes them out.
        self._inbox: deque[Event | AMIError] = deque()
        self._arrivals = Waiters()
        self._over = False  # the server has said that the channel left AsyncAGI
        self._deaf = False  # no event of this channel will come any more
        self._end: AMIError | None = None
        self._unread = False  # the server's pipe may hold the rest of an answer
        self._busy = threading.Lock()
        self.adopted = False
        """True if it was found in a list: the event that says that it began may yet come."""

    # On the thread that reads the connection, or the one that dispatches: must not block

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
        """True if the script has lost its call."""
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
        length = len(text)
        self._unread = length >= ENCODED or (length >= PIPE and len(decode_result(text)) >= PIPE)

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
