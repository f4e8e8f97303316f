"""on(), events(), wait_for() and expect(), the same for a client and for a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack, overload

from ..engine.deadline import DEFAULT
from ..engine.futures import ExpectedEvent
from ..exceptions import ConnectionClosed
from ..vocabulary.advice import advise_events
from ..wire.message import Event
from .dispatch import Subscriptions
from .selectors import Selector, Selectors, Where
from .subscribers import MAXSIZE, EventStream, Expectation, Overflow, Subscription

__all__ = ["DEFAULT", "Listener"]

# For up to four event classes the type of the events is exact; for names, globs or more classes it is Any, so that
# all attributes can be used.
E = TypeVar("E", bound=Event)
F = TypeVar("F", bound=Event)
G = TypeVar("G", bound=Event)
H = TypeVar("H", bound=Event)

Class: TypeAlias = type[Event]
Callback: TypeAlias = Callable[[E], object]
Chosen: TypeAlias = Selector | Callback[Any]
Register: TypeAlias = Callable[[Callback[E]], Subscription]
Expecting: TypeAlias = AbstractContextManager[ExpectedEvent[E]]


class CallbackOptions(TypedDict, total=False):
    """Keywords of :meth:`Listener.on`."""

    where: Where
    maxsize: int
    overflow: Overflow


class StreamOptions(CallbackOptions, total=False):
    """Keywords of :meth:`Listener.events`."""

    timeout: float | None


class Listener:
    """Mixin with the methods that subscribe to events."""

    subscriptions: Subscriptions

    def _default_timeout(self) -> float | None:
        """Return the default time limit of waiting, in seconds."""
        raise NotImplementedError

    def _before_listening(self, *, callback: bool) -> None:
        """Prepare for one more subscription; ``callback`` is true if it is a callback. Must not block."""

    def _over(self) -> bool:
        """Return True if no event will come any more."""
        raise NotImplementedError

    # An event class is callable, too, so that some of these overload signatures overlap for a type checker. The last
    # four are for classes followed by names: one for all would also accept a callback that does not fit its class.
    @overload
    def on(self, a: type[E], /, **more: Unpack[CallbackOptions]) -> Register[E]: ...  # type: ignore[overload-overlap]
    @overload
    def on(  # type: ignore[overload-overlap]
        self, a: type[E], b: type[F], /, **more: Unpack[CallbackOptions]
    ) -> Register[E | F]: ...
    @overload
    def on(  # type: ignore[overload-overlap]
        self, a: type[E], b: type[F], c: type[G], /, **more: Unpack[CallbackOptions]
    ) -> Register[E | F | G]: ...
    @overload
    def on(  # type: ignore[overload-overlap]
        self, a: type[E], b: type[F], c: type[G], d: type[H], /, **more: Unpack[CallbackOptions]
    ) -> Register[E | F | G | H]: ...
    @overload
    def on(  # type: ignore[overload-overlap]
        self, *selectors: Selector, **more: Unpack[CallbackOptions]
    ) -> Register[Any]: ...
    @overload
    def on(self, a: type[E], callback: Callback[E], /, **more: Unpack[CallbackOptions]) -> Subscription: ...
    @overload
    def on(
        self, a: type[E], b: type[F], callback: Callback[E | F], /, **more: Unpack[CallbackOptions]
    ) -> Subscription: ...
    @overload
    def on(
        self, a: type[E], b: type[F], c: type[G], callback: Callback[E | F | G], /, **more: Unpack[CallbackOptions]
    ) -> Subscription: ...
    @overload
    def on(
        self,
        a: type[E],
        b: type[F],
        c: type[G],
        d: type[H],
        callback: Callback[E | F | G | H],
        /,
        **more: Unpack[CallbackOptions],
    ) -> Subscription: ...
    @overload
    def on(self, callback: Callback[Any], /, **more: Unpack[CallbackOptions]) -> Subscription: ...
    @overload
    def on(self, name: str, /, *others: Chosen, **more: Unpack[CallbackOptions]) -> Subscription: ...
    @overload
    def on(self, a: Class, name: str, /, *others: Chosen, **more: Unpack[CallbackOptions]) -> Subscription: ...
    @overload
    def on(
        self, a: Class, b: Class, name: str, /, *others: Chosen, **more: Unpack[CallbackOptions]
    ) -> Subscription: ...
    @overload
    def on(
        self, a: Class, b: Class, c: Class, name: str, /, *others: Chosen, **more: Unpack[CallbackOptions]
    ) -> Subscription: ...
    @overload
    def on(
        self, a: Class, b: Class, c: Class, d: Class, e: Selector, /, *others: Chosen, **more: Unpack[CallbackOptions]
    ) -> Subscription: ...
    def on(
        self,
        *selectors: Any,
        where: Where = None,
        maxsize: int = MAXSIZE,
        overflow: Overflow = "error",
    ) -> Any:
        """Register a callback, as a decorator (``@ami.on("Hangup")``) or a call (``ami.on("Hangup", callback)``).

        Calls run one at a time, in wire order, on a callback thread; they may use the client in any way. One
        that raises is logged and reported to the error hooks; later events are still delivered.

        Args:
            selectors: event names, globs or event classes; none means every event. A name that looks like a typo
                of a known one brings a warning.
            where: a predicate, or a mapping of headers to values or globs (:data:`None`: absent).
            maxsize: most events in the callback's buffer.
            overflow: what happens when it is full: ``"error"`` drops the newest events and reports :exc:`EventsLost`
                to the error hooks; ``"drop_oldest"`` drops the oldest and counts them.

        Returns:
            A :class:`Subscription`; its ``cancel()`` ends it.

        """
        callback = None
        if selectors and callable(selectors[-1]) and not isinstance(selectors[-1], type):
            *chosen, callback = selectors
            selectors = tuple(chosen)
        advise_events(selectors)
        choice = Selectors(selectors)

        def register(function: Callable[[Any], object]) -> Subscription:
            self._before_listening(callback=True)
            subscription = Subscription(function, choice, where, maxsize, overflow, self.subscriptions)
            self.subscriptions.add(subscription)
            return subscription

        return register if callback is None else register(callback)

    @overload
    def events(self, a: type[E], /, **more: Unpack[StreamOptions]) -> EventStream[E]: ...
    @overload
    def events(self, a: type[E], b: type[F], /, **more: Unpack[StreamOptions]) -> EventStream[E | F]: ...
    @overload
    def events(
        self, a: type[E], b: type[F], c: type[G], /, **more: Unpack[StreamOptions]
    ) -> EventStream[E | F | G]: ...
    @overload
    def events(
        self, a: type[E], b: type[F], c: type[G], d: type[H], /, **more: Unpack[StreamOptions]
    ) -> EventStream[E | F | G | H]: ...
    @overload
    def events(self, *selectors: Selector, **more: Unpack[StreamOptions]) -> EventStream[Any]: ...
    def events(
        self,
        *selectors: Selector,
        where: Where = None,
        timeout: float | None = None,
        maxsize: int = MAXSIZE,
        overflow: Overflow = "error",
    ) -> EventStream[Any]:
        """Open a stream of the events from now on; iterate over it, and close it (``with``) when done.

        Args:
            selectors: event names, globs or event classes; none means every event.
            where: a predicate (runs on the iterating thread), or a mapping of headers to values or globs.
            timeout: seconds of silence after which iteration ends.
            maxsize: most events in the stream's buffer.
            overflow: what happens when it is full: ``"error"`` drops the newest events and raises :exc:`EventsLost`
                at their place; ``"drop_oldest"`` drops the oldest and counts them.

        """
        advise_events(selectors)
        self._before_listening(callback=False)
        stream: EventStream[Any] = EventStream(
            Selectors(selectors), where, maxsize, overflow, self.subscriptions, timeout
        )
        self.subscriptions.add(stream)
        if self._over():
            stream.finish(None)
        return stream

    @overload
    def wait_for(self, a: type[E], /, *, where: Where = ..., timeout: float | None = ...) -> E: ...
    @overload
    def wait_for(self, a: type[E], b: type[F], /, *, where: Where = ..., timeout: float | None = ...) -> E | F: ...
    @overload
    def wait_for(
        self, a: type[E], b: type[F], c: type[G], /, *, where: Where = ..., timeout: float | None = ...
    ) -> E | F | G: ...
    @overload
    def wait_for(
        self, a: type[E], b: type[F], c: type[G], d: type[H], /, *, where: Where = ..., timeout: float | None = ...
    ) -> E | F | G | H: ...
    @overload
    def wait_for(self, *selectors: Selector, where: Where = ..., timeout: float | None = ...) -> Any: ...
    def wait_for(self, *selectors: Any, where: Where = None, timeout: float | None = DEFAULT) -> Any:
        """Wait for one event from now on and return it. To wait for an event that an action causes, see :meth:`expect`.

        Raises:
            WaitTimeout: none came in time (the client's timeout unless given).
            ConnectionClosed: the session ended first.

        """
        advise_events(selectors)
        limit = self._default_timeout() if timeout is DEFAULT else timeout
        with self.events(*selectors, where=where, overflow="drop_oldest") as stream:
            return stream.get(limit)

    @overload
    def expect(self, a: type[E], /, *, where: Where = ..., timeout: float | None = ...) -> Expecting[E]: ...
    @overload
    def expect(
        self, a: type[E], b: type[F], /, *, where: Where = ..., timeout: float | None = ...
    ) -> Expecting[E | F]: ...
    @overload
    def expect(
        self, a: type[E], b: type[F], c: type[G], /, *, where: Where = ..., timeout: float | None = ...
    ) -> Expecting[E | F | G]: ...
    @overload
    def expect(
        self, a: type[E], b: type[F], c: type[G], d: type[H], /, *, where: Where = ...
    ) -> Expecting[E | F | G | H]: ...
    @overload
    def expect(self, *selectors: Selector, where: Where = ..., timeout: float | None = ...) -> Expecting[Any]: ...
    @contextmanager
    def expect(
        self, *selectors: Any, where: Where = None, timeout: float | None = DEFAULT
    ) -> Iterator[ExpectedEvent[Any]]:
        """Expect one event; enter the block before sending the action that causes it::

            with ami.expect("QueueMemberAdded", where={"Queue": "support"}) as added:
                ami.send("QueueAdd", Queue="support", Interface="PJSIP/1101")
            print(added.result()["MemberName"])

        Leaving the block waits for the event, so ``result()`` can be called inside and after it. An exception in the
        block cancels the expectation instead. Leaving does not wait if the future was cancelled, or if ``result()``
        has raised in the block.

        Args:
            selectors: event names, globs or event classes; none means every event.
            where: a predicate (runs on a callback thread, or on the waiting thread), or a mapping of headers to
                values or globs.
            timeout: seconds that leaving the block waits (the client's timeout unless given; :data:`None`: no limit).

        Raises:
            WaitTimeout: the event had not come in time when the block was left.
            ConnectionClosed: the session ended first.

        """
        advise_events(selectors, stacklevel=4)
        limit = self._default_timeout() if timeout is DEFAULT else timeout
        with self.expect_event(selectors, where, fail_on_loss=False) as future:
            yield future
            if not future.cancelled() and not future.reported:
                future.result(limit)

    @contextmanager
    def expect_event(
        self, selectors: tuple[Selector, ...], where: Where, *, fail_on_loss: bool
    ) -> Iterator[ExpectedEvent[Any]]:
        """Expect one event within the block; with ``fail_on_loss`` its future fails when the link is lost, even if
        the session will reconnect.
        """
        self._before_listening(callback=False)
        choice = Selectors(selectors)
        expectation = Expectation(choice, None if callable(where) else where, self.subscriptions, fail_on_loss)
        taker: Expectation | Judge = expectation
        if callable(where):
            taker = Judge(expectation, choice, where, self.subscriptions)
        self.subscriptions.add(taker)
        try:
            if self._over():
                expectation.finish(None)
            yield expectation.future
        finally:
            taker.cancel()
            expectation.cancel()
            expectation.future.cancel()  # nothing resolves it any more: result() must not wait for ever


class Judge(Subscription):
    """Runs the predicate of an expectation on each event, and gives the first that it accepts to the expectation.

    The predicate is user code: it runs on a callback thread, or on a thread that waits for the future.
    """

    def __init__(
        self, expectation: Expectation, selectors: Selectors, predicate: Callable[[Any], object], owner: Subscriptions
    ) -> None:
        super().__init__(lambda event: expectation.offer([event]), selectors, predicate, MAXSIZE, "drop_oldest", owner)
        self.fail_on_loss = expectation.fail_on_loss
        self._expectation = expectation
        expectation.future.help_with(lambda: self.ready, self.deliver)

    def wake(self) -> None:
        super().wake()
        self._expectation.future.look_again()

    def completed(self, exc: ConnectionClosed | None) -> None:
        # After the last event: the expected one may be among those on which the predicate has not run yet.
        self._expectation.finish(exc)
