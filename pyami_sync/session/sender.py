"""Sending actions and getting their answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future
from difflib import get_close_matches
from os import getpid
from threading import get_ident
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Unpack, cast, overload

from ..connection.connection import Connection
from ..connection.request import LEAST, PING, FutureRequest
from ..engine import forks
from ..engine.deadline import DEFAULT, Deadline
from ..engine.engine import Engine
from ..engine.futures import DetachedFuture
from ..engine.hooks import ActionHook
from ..exceptions import ActionError, ActionTimeout, ConnectionClosed, InvalidAction
from ..subscriptions.listener import Listener
from ..vocabulary.advice import advise, advise_timeout, is_header
from ..wire.action import Action, HeaderValue
from ..wire.response import Response
from .keywords import OriginateHeaders
from .options import Options
from .session import Session

if TYPE_CHECKING:
    from ..events import OriginateResponse

__all__ = ["Sender"]

R = TypeVar("R", bound=Response)
Route = Callable[[Action[Any], float | None], Connection]
"""Finds the connection to send an action on, within so many seconds."""
LESSONS = frozenset({"events", "filter"})  # actions whose success a session must know of when it reconnects
MOST_BARE = 200
RING = 30.0  # seconds that a phone may ring when Originate does not say
RING_MARGIN = 5.0  # seconds from the end of the ringing to the event that tells of it
MOST_RING = 2_000_000.0  # seconds; the server reads milliseconds into 31 bits
_bare: dict[tuple[str, str], Action[Any]] = {}
"""Actions without headers, by name and encoding, which need not be made again: they can't change."""


class Sender(Listener):
    """Something that sends actions over a session."""

    options: Options
    engine: Engine
    _session: Session
    _action_hook: ActionHook

    def _submit(self, job: Callable[[], None]) -> None:
        """Run a job on a callback thread."""
        raise NotImplementedError

    def _check(self, doing: str) -> None:
        """Refuse to block the engine's thread."""
        raise NotImplementedError

    @overload
    def send(self, action: Action[R], /, *, timeout: float | None = ..., check: bool = ...) -> R: ...
    @overload
    def send(
        self, action: str, /, *, timeout: float | None = ..., check: bool = ..., **headers: HeaderValue
    ) -> Response: ...
    def send(
        self,
        action: Action[Any] | str,
        /,
        *,
        timeout: float | None = DEFAULT,
        check: bool = True,
        **headers: HeaderValue,
    ) -> Response:
        """Send an action and wait for its whole answer.

        The answer of a list action holds its items in ``events`` and its closing event in ``complete``.

        Args:
            action: a typed action, an :class:`~pyami_sync.Action`, or a name.
            timeout: seconds that the whole may take, waiting for a lost link included; the client's own
                unless given, :data:`None` for no limit.
            check: whether ``Response: Error`` raises; if not, it is returned.
            headers: of an action given by name; see :class:`~pyami_sync.Action` for what values may be.

        Raises:
            ActionError: the server answered with an error.
            ActionTimeout: no complete answer in time; ``partial`` holds the items that had come.
            ConnectionLost: the link ended first; the action may or may not have run.
            ConnectionClosed: the session is not open.
            InvalidAction: it can't be sent, and was not.
            ConcurrencyError: on a thread that must not block.

        """
        made = self._make(action, headers, timeout)
        return self._send_on(self._route, made, self.options.timeout if timeout is DEFAULT else timeout, check)

    def _send_on(
        self, route: Route, made: Action[Any], limit: float | None, check: bool, *, observed: bool = False
    ) -> Response:
        if get_ident() == self.engine.ident:
            self._check(made.name)
        if self._action_hook.observers and not observed:
            return self._send_observed(route, made, limit, check)
        metrics = self._session.metrics
        started = monotonic()
        try:
            response = route(made, limit).call(made, limit, started)
        except ActionError as exc:
            metrics.count("error", monotonic() - started)
            if check:
                raise
            return exc.response
        except ActionTimeout:
            metrics.count("timeout")
            raise
        except ConnectionClosed:
            metrics.count("lost")
            raise
        metrics.count("ok", monotonic() - started)
        if made.name.lower() in LESSONS:
            self._learn(made, response)
        return response

    def _send_observed(self, route: Route, made: Action[Any], limit: float | None, check: bool) -> Response:
        end = self._action_hook.begin(made)
        try:
            response = self._send_on(route, made, limit, check, observed=True)
        except BaseException as exc:
            end(None, exc)
            raise
        end(response, None)
        return response

    @overload
    def submit(self, action: Action[R], /, *, timeout: float | None = ..., check: bool = ...) -> DetachedFuture[R]: ...
    @overload
    def submit(
        self, action: str, /, *, timeout: float | None = ..., check: bool = ..., **headers: HeaderValue
    ) -> DetachedFuture[Response]: ...
    def submit(
        self,
        action: Action[Any] | str,
        /,
        *,
        timeout: float | None = DEFAULT,
        check: bool = True,
        **headers: HeaderValue,
    ) -> DetachedFuture[Any]:
        """Send an action and return a :class:`concurrent.futures.Future` of its answer.

        It ends by itself after ``timeout`` seconds, can be cancelled (the action may still run), and runs
        its done-callbacks on a callback thread. While the link is down, or thousands of actions wait for a
        peer that reads too slowly, this blocks as :meth:`send` does.

        Raises:
            InvalidAction: it can't be sent.
            ConnectionClosed: the session is not open, or the link was not restored in time.

        """
        made = self._make(action, headers, timeout)
        return self._submit_on(self._route, made, self.options.timeout if timeout is DEFAULT else timeout, check)

    def _submit_on(self, route: Route, made: Action[Any], limit: float | None, check: bool) -> DetachedFuture[Any]:
        if not self._action_hook.observers:
            return self._start(route, made, limit, check)
        end = self._action_hook.begin(made)
        try:
            future = self._start(route, made, limit, check)
        except BaseException as exc:
            end(None, exc)
            raise
        future.add_done_callback(lambda done: end(*_outcome(done)))
        return future

    def _start(self, route: Route, made: Action[Any], limit: float | None, check: bool) -> DetachedFuture[Any]:
        started = monotonic()
        connection = route(made, limit)
        future: DetachedFuture[Any] = DetachedFuture(self._submit, lambda: self._cancelled(connection, call))
        key = connection.pending.new_key() if made.action_id is None else connection.make_key(made)
        call = FutureRequest(made, key, connection.find_rule(made.name), limit, started, future, check)
        future.observe(lambda: self._count_future(made, future, started))
        try:
            connection.submit(call, None if call.deadline is None else max(call.deadline, monotonic() + LEAST))
        except BaseException:
            self._cancelled(connection, call)
            raise
        return future

    def _make(
        self,
        action: Action[Any] | str,
        headers: Mapping[str, HeaderValue],
        timeout: float | None,
        *,
        stacklevel: int = 4,
    ) -> Action[Any]:
        if isinstance(action, str):
            if timeout is not DEFAULT:
                advise_timeout(action, headers, timeout, stacklevel=stacklevel)
            encoding = self.options.encoding
            if headers or type(action) is not str:  # another class of text may look otherwise than it compares
                made = Action(action, headers, encoding=encoding)
                if headers:
                    advise(action, headers, stacklevel=stacklevel)
                return made
            bare = _bare.get((action, encoding))
            if bare is None:
                bare = Action(action, encoding=encoding)
                if len(_bare) < MOST_BARE:
                    _bare[action, encoding] = bare
            return bare
        if not isinstance(action, Action):
            raise TypeError(f"an action is an Action or its name, not {type(action).__name__}")
        if headers:
            raise TypeError("headers go with an action's name; an Action brings its own")
        return action

    def _route(self, action: Action[Any], limit: float | None) -> Connection:
        connection = self._session.current
        if connection is not None and connection.close_exc is None and getpid() == forks._pid:
            return connection
        try:
            return self._session.connection(Deadline(limit))
        except ActionTimeout:
            raise ActionTimeout(action.name, limit, sent=False) from self._session.last_error

    def _cancelled(self, connection: Connection, call: FutureRequest) -> None:
        connection.pending.give_up(call)
        call.cancel_timer()

    def _count_future(self, action: Action[Any], future: DetachedFuture[Any], started: float) -> None:
        assert future.outcome is not None  # it is an observer of the future
        response, exc = future.outcome
        if exc is None:
            end = "ok" if response.ok else "error"
            if action.name.lower() in LESSONS:
                self._learn(action, response)
        elif isinstance(exc, ActionError):
            end = "error"
        elif isinstance(exc, CancelledError):
            end = "cancelled"
        else:
            end = "timeout" if isinstance(exc, ActionTimeout) else "lost"
        self._session.metrics.count(end, monotonic() - started if end in ("ok", "error") else None)

    def _learn(self, action: Action[Any], response: Response) -> None:
        if response.ok:
            self._session.learn(action, response)

    def ping(self, *, timeout: float | None = DEFAULT) -> float:
        """Send a Ping; the round trip in seconds. Raises as :meth:`send` does."""
        started = perf_counter()
        self.send(PING, timeout=timeout)
        return perf_counter() - started

    def command(self, text: str, *, timeout: float | None = DEFAULT) -> list[str]:
        """Run a console command (write class ``command``); its lines of output, as typed on the console.

        A command that fails or does not exist answers with lines too, and raises nothing: consoles know no
        errors. Raises :exc:`ActionError` when the server refuses to run it, else as :meth:`send` does.
        """
        response = self.send("Command", Command=text, check=False, timeout=timeout)
        if not response.ok and "Output" not in response:
            raise ActionError("Command", response)
        return response.output

    @overload
    def originate(
        self,
        channel: str,
        *,
        wait: Literal[False] = ...,
        ring: float | None = ...,
        timeout: float | None = ...,
        **headers: Unpack[OriginateHeaders],
    ) -> Response: ...
    @overload
    def originate(
        self,
        channel: str,
        *,
        wait: Literal[True],
        ring: float | None = ...,
        timeout: float | None = ...,
        **headers: Unpack[OriginateHeaders],
    ) -> OriginateResponse: ...
    @overload
    def originate(
        self,
        channel: str,
        *,
        wait: bool,
        ring: float | None = ...,
        timeout: float | None = ...,
        **headers: Unpack[OriginateHeaders],
    ) -> Response | OriginateResponse: ...
    def originate(
        self,
        channel: str,
        *,
        wait: bool = False,
        ring: float | None = None,
        timeout: float | None = DEFAULT,
        **headers: Unpack[OriginateHeaders],
    ) -> Any:
        """Place a call; the server does it asynchronously, so that no other action waits for it.

        Args:
            channel: whom to call, such as ``"PJSIP/1101"``.
            wait: whether to wait for the outcome.
            ring: seconds that it may ring; the server's own 30 unless given. It is sent as the header ``Timeout``,
                which is in milliseconds: a ``Timeout`` below 1000 brings a warning.
            timeout: seconds for the answer. The outcome is waited for so long, 5 s at least, after the phone may
                have rung to the end; when this is given without ``ring``, so long from the answer on.
                :data:`None` for no limit.
            headers: of Originate: ``Context``, ``Exten`` and ``Priority``, or ``Application`` and ``Data``;
                ``CallerID``, ``Timeout``, ``Variable`` (a mapping), … A ``ChannelId`` of your own had better
                have the length of all others: Asterisk 22 fails a call whose id is the beginning of one in use.

        Returns:
            The :class:`~pyami_sync.Response` that says that it is queued, or with ``wait`` the event
            ``OriginateResponse``: its ``Response`` is ``Success`` or ``Failure``, its ``outcome`` says why in words.

        Raises:
            WaitTimeout: no outcome in time (the user needs the read class ``call``, and an event mask that
                includes it).
            InvalidAction: it can't be sent; ``ring`` is no length of time, or both it and ``Timeout`` are given.

        """
        pairs: dict[str, HeaderValue] = {}
        for name, value in cast("dict[str, HeaderValue]", headers).items():
            near = get_close_matches(name, ("wait", "ring", "timeout"), n=1)
            if near and not is_header("Originate", name):
                raise TypeError(f"originate() has no argument {name!r}; did you mean {near[0]!r}?")
            if name.lower() != "async":
                pairs[name] = value
        ringing = _ringing(ring, pairs)
        action = Action("Originate", {"Channel": channel, "Async": "true", **pairs}, encoding=self.options.encoding)
        advise(action.name, pairs)
        if not wait:
            return self.send(action, timeout=timeout)
        limit = self.options.timeout if timeout is DEFAULT else timeout
        if limit is None:
            until = None
        elif ring is None and timeout is not DEFAULT:
            until = limit  # the caller chose it for the outcome
        else:
            until = ringing + max(limit, RING_MARGIN)
        action = action.with_action_id(action.action_id or self._route(action, limit).pending.new_id())
        where = {"ActionID": action.action_id}
        with self.expect_event(("OriginateResponse",), where, fail_on_loss=True) as future:
            self.send(action, timeout=timeout)
            return future.result(until)


def _ringing(ring: float | None, headers: dict[str, HeaderValue]) -> float:
    """Return how many seconds the phone may ring, and put them into the headers."""
    name = next((each for each in headers if each.lower() == "timeout" and headers[each] is not None), None)
    if ring is not None:
        if name is not None:
            raise InvalidAction(f"Originate: both ring={ring!r} and {name}={headers[name]!r} are given", header=name)
        if not isinstance(ring, int | float) or not 0 < ring < MOST_RING:
            raise InvalidAction(f"Originate: ring must be a number of seconds, not {ring!r}", header="Timeout")
        headers["Timeout"] = max(1, round(ring * 1000))
        return float(ring)
    if name is None:
        return RING
    try:
        milliseconds = float(str(headers[name]))
    except ValueError:
        return RING  # the server refuses it, and says so
    if 0 < milliseconds < 1000:
        warnings.warn(
            f"{name}={headers[name]} of Originate is in milliseconds: the phone may ring for"
            f" {milliseconds / 1000:g} s; ring={milliseconds:g} would be seconds",
            stacklevel=3,
        )
    return milliseconds / 1000 if 0 < milliseconds < MOST_RING * 1000 else RING


def _outcome(future: Future[Any]) -> tuple[Response | None, BaseException | None]:
    """A done future's response or exception."""
    try:
        return future.result(), None
    except BaseException as exc:
        return None, exc
