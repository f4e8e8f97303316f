"""A request: one pending action, and how its outcome reaches the caller: a waiting thread, a future, or nobody."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, get_ident
from time import monotonic
from typing import Any

from ..engine.futures import DetachedFuture
from ..engine.timers import Timer
from ..exceptions import ActionError, ActionTimeout
from ..vocabulary.catalogue.rules import AnswerRule
from ..wire.action import Action
from ..wire.message import Event
from ..wire.response import Response

__all__ = ["LEAST", "PING", "BlockingRequest", "Fence", "FutureRequest", "Request", "TimedRequest"]

NO_NAMES: frozenset[bytes] = frozenset()
PING: Action[Response] = Action("Ping")
LEAST = 0.001  # seconds that an answer is waited for, however late it is


class Request:
    """One action under way: what it asked, what has come of it so far."""

    __slots__ = (
        "action",
        "begun",
        "claims",
        "deadline",
        "given_up",
        "items",
        "key",
        "names",
        "order",
        "response",
        "rule",
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
        # The writer sets `order` before it looks at `given_up`, a caller that gives up does the reverse: so an action
        # that is reported as not sent is certainly not sent.
        self.order = 0
        """Its place in the order in which actions were sent on the connection; 0 while it was not sent."""
        self.given_up = False
        self.claims = [None]
        """The thread that takes the entry out, one atomic step, decides the outcome."""
        self.response: Response | None = None  # the start of a list
        self.items: list[Event] = []
        self.names = NO_NAMES  # event names known to be items of this list, as spelled on the wire

    @property
    def sent(self) -> bool:
        """True if the action may have reached the server."""
        return self.order > 0

    def resolve(self, result: Response | BaseException) -> None:
        """Accept the outcome; called once, on the thread that has claimed the request."""
        raise NotImplementedError

    def expire(self) -> None:
        """End for want of a complete answer."""
        self.resolve(self.timed_out())

    def timed_out(self) -> ActionTimeout:
        """Return what to raise for want of a complete answer."""
        self.given_up = True
        return ActionTimeout(self.action.name, self.timeout, partial=list(self.items), sent=self.sent)


class BlockingRequest(Request):
    """A request whose caller waits for it: a bare lock, the cheapest way to wake one thread."""

    __slots__ = ("_done", "outcome", "thread", "wait")

    def __init__(
        self,
        action: Action[Any],
        key: bytes,
        rule: AnswerRule | None,
        timeout: float | None,
        begun: float | None = None,
    ) -> None:
        Request.__init__(self, action, key, rule, timeout, begun)  # super() costs as much as the rest; each call counts
        self.thread = get_ident()
        self.outcome: Response | BaseException | None = None
        """The outcome, once :attr:`wait` has returned True. The thread that sets it also wakes the caller."""
        self._done = done = Lock()
        self.wait = done.acquire
        """``wait(True, seconds)``: wait for the outcome, and return whether it is there; -1 means no limit."""
        self.wait()

    def resolve(self, result: Response | BaseException) -> None:
        self.outcome = result
        self.wake()

    def wake(self) -> None:
        """Let its caller have the outcome; doing it again changes nothing."""
        try:
            self._done.release()
        except RuntimeError:
            pass


class TimedRequest(Request):
    """A request that no thread waits for: a timer of the engine ends it when its time is up."""

    __slots__ = ("timer",)

    def __init__(
        self,
        action: Action[Any],
        key: bytes,
        rule: AnswerRule | None,
        timeout: float | None,
        begun: float | None = None,
    ) -> None:
        Request.__init__(self, action, key, rule, timeout, begun)
        self.timer: Timer | None = None

    def cancel_timer(self) -> None:
        """Cancel its timer, if it has one."""
        if self.timer is not None:
            self.timer.cancel()


class FutureRequest(TimedRequest):
    """A request whose caller holds a future."""

    __slots__ = ("check", "future")

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
        TimedRequest.__init__(self, action, key, rule, timeout, begun)
        self.future = future
        self.check = check

    def resolve(self, result: Response | BaseException) -> None:
        self.cancel_timer()
        if isinstance(result, ActionError) and not self.check:
            result = result.response
        if isinstance(result, BaseException):
            self.future.fail(result)
        else:
            self.future.resolve(result)


class Fence(Request):
    """A Ping that follows an action which may answer with nothing: its answer shows that nothing more comes."""

    __slots__ = ("_conclude", "_fenced")

    def __init__(self, key: bytes, fenced: Request, conclude: Callable[[Request], None]) -> None:
        super().__init__(PING, key, None, fenced.timeout)
        self._fenced = fenced
        self._conclude = conclude

    def resolve(self, result: Response | BaseException) -> None:
        if isinstance(result, Response):
            self._conclude(self._fenced)
