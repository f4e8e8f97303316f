"""One action under way, and how its outcome reaches who asked: a waiting thread, a future, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, get_ident
from time import monotonic
from typing import Any

from .action import Action
from .catalogue.rules import AnswerRule
from .exceptions import ActionError, ActionTimeout
from .futures import DetachedFuture
from .message import Event
from .response import Response

__all__ = ["LEAST", "PING", "BlockingCall", "Call", "Fence", "FutureCall"]

NO_NAMES: frozenset[bytes] = frozenset()
PING: Action[Response] = Action("Ping")
LEAST = 0.001  # seconds that an answer is waited for, however late it is


class Call:
    """One action under way: what it asked, what has come of it so far."""

    __slots__ = (
        "action",
        "begun",
        "deadline",
        "given_up",
        "items",
        "key",
        "names",
        "response",
        "rule",
        "sent",
        "timeout",
    )

    def __init__(
        self,
        action: Action[Any],
        key: bytes,
        rule: AnswerRule | None,
        timeout: float | None,
        begun: float | None = None,
    ) -> None:
        self.action = action
        self.key = key
        self.rule = rule
        self.timeout = timeout
        self.begun = monotonic() if begun is None else begun
        self.deadline = None if timeout is None else self.begun + timeout
        if self.deadline != self.deadline:
            raise ValueError("timeout must be a number of seconds or None, not NaN")
        # The writer sets `sent` before it looks at `given_up`, a caller who gives up does the reverse: so an
        # action that is reported as not sent is certainly not sent.
        self.sent = False
        self.given_up = False
        self.response: Response | None = None  # the start of a list
        self.items: list[Event] = []
        self.names = NO_NAMES  # event names known to be items of this list, as spelled on the wire

    def settle(self, result: Response | BaseException) -> None:
        """Take the outcome; runs once, on the thread that took the call out of the table."""
        raise NotImplementedError

    def expire(self) -> None:
        """End for want of a complete answer; the table has let go of it already."""
        self.settle(self.timed_out())

    def timed_out(self) -> ActionTimeout:
        """What to tell who waited."""
        self.given_up = True
        return ActionTimeout(self.action.name, self.timeout, partial=list(self.items), sent=self.sent)


class BlockingCall(Call):
    """A call whose caller waits for it: a bare lock, the cheapest way to wake one thread."""

    __slots__ = ("_done", "outcome", "thread", "wait")

    def __init__(
        self,
        action: Action[Any],
        key: bytes,
        rule: AnswerRule | None,
        timeout: float | None,
        begun: float | None = None,
    ) -> None:
        super().__init__(action, key, rule, timeout, begun)
        self.thread = get_ident()
        self.outcome: Response | BaseException | None = None
        """The outcome, once :attr:`wait` has said that it is there."""
        self._done = done = Lock()
        self.wait = done.acquire
        """``wait(True, seconds)``: wait for the outcome, -1 for no limit; tells whether it is there."""
        self.wait()

    def settle(self, result: Response | BaseException) -> None:
        self.keep(result)
        self.wake()

    def keep(self, result: Response | BaseException) -> None:
        """Take the outcome; its caller is woken later."""
        self.outcome = result

    def wake(self) -> None:
        """Let its caller have the outcome; doing it again changes nothing."""
        try:
            self._done.release()
        except RuntimeError:
            pass


class FutureCall(Call):
    """A call whose caller holds a future."""

    __slots__ = ("check", "future", "timer")

    def __init__(
        self,
        action: Action[Any],
        key: bytes,
        rule: AnswerRule | None,
        timeout: float | None,
        begun: float,
        future: DetachedFuture[Any],
        check: bool,
    ) -> None:
        super().__init__(action, key, rule, timeout, begun)
        self.future = future
        self.check = check
        self.timer: Any = None

    def settle(self, result: Response | BaseException) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if isinstance(result, ActionError) and not self.check:
            result = result.response
        if isinstance(result, BaseException):
            self.future.fail(result)
        else:
            self.future.resolve(result)


class Fence(Call):
    """A Ping behind an action that may answer with nothing: its answer shows that nothing more comes."""

    __slots__ = ("_conclude", "_fenced")

    def __init__(self, key: bytes, fenced: Call, conclude: Callable[[Call], None]) -> None:
        super().__init__(PING, key, None, fenced.timeout)
        self._fenced = fenced
        self._conclude = conclude

    def settle(self, result: Response | BaseException) -> None:
        if isinstance(result, Response):
            self._conclude(self._fenced)
