"""What users hold: one session with one server, for blocking code and any number of threads."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar, overload

from .action import Action, HeaderValue
from .connection import Connection
from .deadline import Deadline
from .dialing import Dialer
from .engine import Engine
from .exceptions import ActionError, ActionTimeout, ConnectionClosed, EventsLost
from .futures import DetachedFuture
from .hooks import ActionHook, Hook
from .link import Publisher
from .listening import DEFAULT, Listener
from .message import Event, Response
from .metrics import Stats, SubscriptionStats
from .model import event_class
from .options import Options, make_options, options_from_url
from .pending import FutureCall
from .protocol import AMIVersion
from .redaction import redact
from .selection import Selector, Where
from .session import Session, State
from .subscriptions import Subscription, Subscriptions

__all__ = ["AMIClient", "connect"]

logger = logging.getLogger("pyami_sync")
R = TypeVar("R", bound=Response)
Route = Callable[[Action[Any], float | None], Connection]
"""Finds the connection to send an action on, within so many seconds."""


clients: weakref.WeakSet[AMIClient] = weakref.WeakSet()


class AMIClient(Listener):
    """A session with one server.

    Any thread may use it. Blocking methods block the calling thread alone, and may be called in callbacks.
    After :func:`os.fork` the child has a closed copy that connects by itself on first use.

    Args:
        host: name or address of the server.
        port: 5038 unless given, 5039 with TLS.
        username: the user in manager.conf.
        secret: its secret; never logged or shown.
        auth: ``"md5"`` answers a challenge, ``"plain"`` sends the secret as it is. Neither falls back to the
            other.
        event_mask: classes of events to receive, such as ``"call,agent"``; ``"off"`` for none,
            :data:`None` for all that the user may read.
        tls: :data:`True` for TLS that verifies the server, a :class:`~pyami_sync.TLS` for more, or an
            :class:`ssl.SSLContext`.
        timeout: seconds that an action may take unless its call says otherwise; :data:`None` for no limit.
        connect_timeout: seconds that connecting, TLS and login together may take.
        keepalive: seconds of silence after which a Ping is sent; :data:`None` for never.
        keepalive_timeout: seconds without any answer to it after which the link counts as lost.
        reconnect: a :class:`~pyami_sync.ReconnectPolicy`; :data:`False` or :data:`None` ends the session with
            the link.
        when_down: what a call does while the link is down: ``"wait"`` for it within its own timeout, or
            ``"fail"`` at once.
        wait_fully_booted: whether :meth:`open` waits until the server has loaded its modules. A user without
            the read class ``system`` and the write class ``command`` can't know and does not wait.
        encoding: of text; bytes that it can't decode are kept (``surrogateescape``).
        name: what the names of the threads begin with.
        limits: how much the server may send, a :class:`~pyami_sync.Limits`.
        transport: a connected socket-like object to use in place of a connection of its own; the session
            ends with it.
        callback_threads: most threads for callbacks; so many may block at a time.

    Raises:
        TypeError: an unknown option.
        ValueError: a value that can't be.

    """

    def __init__(
        self,
        host: str = "localhost",
        port: int | None = None,
        *,
        username: str = "",
        secret: str = "",
        transport: Any = None,
        callback_threads: int = 32,
        **options: Any,
    ) -> None:
        given = {"host": host, "username": username, "secret": secret, **options}
        if port is not None:
            given["port"] = port
        if transport is not None:
            given.setdefault("reconnect", None)  # there is no way to connect the like of it again
        self._setup(make_options(given), transport, callback_threads)

    @classmethod
    def from_url(cls, url: str | None = None, **options: Any) -> Self:
        """Make a client from ``ami://user:secret@host:5038/?timeout=5``, not opened yet.

        ``amis://`` is TLS. Without a URL ``AMI_URL`` of the environment is read. Options win over the URL.

        Raises:
            ValueError: it can't be read; the message never shows the secret.

        """
        transport = options.pop("transport", None)
        callback_threads = options.pop("callback_threads", 32)
        client = cls.__new__(cls)
        client._setup(options_from_url(url, options), transport, callback_threads)
        return client

    @classmethod
    def from_options(cls, options: Options, *, engine: Engine | None = None, **more: Any) -> Self:
        """Make a client of options, on an engine that others use too; closing it leaves the engine running."""
        client = cls.__new__(cls)
        client._setup(options, None, 32, engine=engine, **more)
        return client

    def _setup(
        self,
        options: Options,
        transport: Any,
        callback_threads: int,
        *,
        engine: Engine | None = None,
        publisher: Callable[[Subscriptions], Publisher] | None = None,
        dialer: Dialer | None = None,
        observe: Callable[[], None] | None = None,
    ) -> None:
        """Make everything; the last four are for a client that is one of many.

        Args:
            options: how the session is to be.
            transport: a connected socket-like object, or :data:`None`.
            callback_threads: of an engine of its own.
            engine: one that others use too; closing the client leaves it running.
            publisher: makes of the client's subscriptions what gets its events.
            dialer: connects in the background.
            observe: see :class:`~pyami_sync.session.Session`.

        """
        self.options = options
        self._own_engine = engine is None
        self._callback_threads = callback_threads
        self.engine = engine or Engine(options.name, callback_threads)
        self._state_hook = Hook("states", self._submit)
        self._error_hook = Hook("errors", self._submit)
        self._wire_hook = Hook("the wire", self._submit)
        self._action_hook = ActionHook()
        self.subscriptions = Subscriptions(self._submit, event_class, self._report, self._check)
        self._session = Session(
            options,
            self.engine,
            self.subscriptions if publisher is None else publisher(self.subscriptions),
            run=self._submit,
            transport=transport,
            on_state=self._state_hook,
            tap=self._tap,
            dialer=dialer,
            observe=observe,
        )
        self._exit: SystemExit | None = None
        self._version: str | None = None
        clients.add(self)

    # Life

    def open(self, timeout: float | None = None) -> Self:
        """Connect and log in; blocks. Does nothing when it is open.

        Args:
            timeout: seconds in place of ``connect_timeout``.

        Raises:
            ConnectError: not reached, TLS failed, or no AMI; it says which, and what to check.
            LoginRejected: the server refused the user, the secret or this address.

        """
        if self._own_engine and self.engine.closed:
            self.engine = self._session.engine = Engine(self.options.name, self._callback_threads)
            for hook in (self._state_hook, self._error_hook, self._wire_hook):
                hook.after_fork()  # what the last engine's threads had not begun is not theirs to do any more
            self.subscriptions.reopen()
        try:
            self._session.open(Deadline(self.options.connect_timeout if timeout is None else timeout))
        except BaseException:
            if self._own_engine:
                self.engine.close()
            raise
        return self

    def close(self, timeout: float | None = 5.0) -> None:
        """End the session: every pending call fails, streams end, all threads are joined.

        Idempotent and safe from any thread, a callback included.

        Args:
            timeout: seconds to wait for callbacks under way; one that goes on longer is left to itself, with
                a warning.

        """
        self._session.close()
        self.subscriptions.finish(None)
        if self._own_engine:
            self.engine.close(timeout)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(exc, KeyboardInterrupt) and self._exit is not None:
            raise self._exit

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Block until the session ends for good, as a script does that only has callbacks.

        Args:
            timeout: seconds; :data:`None` for no limit.

        Returns:
            Whether it has ended.

        """
        self._check("waiting for the end")
        return self._session.wait_closed(timeout)

    # Actions

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
        made = self._make(action, headers)
        return self._send_on(self._route, made, self.options.timeout if timeout is DEFAULT else timeout, check)

    def _send_on(self, route: Route, made: Action[Any], limit: float | None, check: bool) -> Response:
        self._check(made.name)
        if not self._action_hook:
            return self._send(route, made, limit, check)
        end = self._action_hook.begin(made)
        try:
            response = self._send(route, made, limit, check)
        except BaseException as exc:
            end(None, exc)
            raise
        end(response, None)
        return response

    def _send(self, route: Route, made: Action[Any], limit: float | None, check: bool) -> Response:
        metrics = self._session.metrics
        started = time.monotonic()
        try:
            response = route(made, limit).call(made, _left(limit, started))
        except ActionError as exc:
            metrics.count("error", time.monotonic() - started)
            if check:
                raise
            return exc.response
        except ActionTimeout:
            metrics.count("timeout")
            raise
        except ConnectionClosed:
            metrics.count("lost")
            raise
        metrics.count("ok", time.monotonic() - started)
        self._learn(made, response)
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
            ConnectionClosed: the session is not open, or the link did not come back in time.

        """
        made = self._make(action, headers)
        return self._submit_on(self._route, made, self.options.timeout if timeout is DEFAULT else timeout, check)

    def _submit_on(self, route: Route, made: Action[Any], limit: float | None, check: bool) -> DetachedFuture[Any]:
        if not self._action_hook:
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
        started = time.monotonic()
        connection = route(made, limit)
        future: DetachedFuture[Any] = DetachedFuture(self._submit, lambda: self._cancelled(connection, call))
        call = FutureCall(made, connection.make_key(made), connection.rule(made), _left(limit, started), future, check)
        future.observe(lambda: self._count_future(made, future, started))
        if call.deadline is not None:
            call.timer = self.engine.call_at(call.deadline, lambda: connection.pending.expire(call))
        try:
            connection.request(call)
        except BaseException:
            if call.timer is not None:
                call.timer.cancel()
            raise
        return future

    def _make(self, action: Action[Any] | str, headers: Mapping[str, HeaderValue]) -> Action[Any]:
        if isinstance(action, str):
            return Action(action, headers, encoding=self.options.encoding)
        if not isinstance(action, Action):
            raise TypeError(f"an action is an Action or its name, not {type(action).__name__}")
        if headers:
            raise TypeError("headers go with an action's name; an Action brings its own")
        return action

    def _route(self, action: Action[Any], limit: float | None) -> Connection:
        try:
            return self._session.connection(Deadline(limit))
        except ActionTimeout:
            raise ActionTimeout(action.name, limit, sent=False) from None

    def _cancelled(self, connection: Connection, call: FutureCall) -> None:
        call.given_up = True
        connection.pending.remove(call)
        if call.timer is not None:
            call.timer.cancel()

    def _count_future(self, action: Action[Any], future: DetachedFuture[Any], started: float) -> None:
        metrics = self._session.metrics
        if future.cancelled():
            metrics.count("cancelled")
            return
        exc = future.exception()
        if exc is None:
            response = future.result()
            metrics.count("ok" if response.ok else "error", time.monotonic() - started)
            self._learn(action, response)
        elif isinstance(exc, ActionError):
            metrics.count("error", time.monotonic() - started)
        else:
            metrics.count("timeout" if isinstance(exc, ActionTimeout) else "lost")

    def _learn(self, action: Action[Any], response: Response) -> None:
        if action.name.lower() in ("filter", "events") and response.ok:
            self._session.learn(action, response)

    def ping(self, *, timeout: float | None = DEFAULT) -> float:
        """Send a Ping; the round trip in seconds. Raises as :meth:`send` does."""
        started = time.perf_counter()
        self.send(PING, timeout=timeout)
        return time.perf_counter() - started

    def command(self, text: str, *, timeout: float | None = DEFAULT) -> list[str]:
        """Run a console command (write class ``command``); its lines of output, as typed on the console.

        A command that fails or does not exist answers with lines too, and raises nothing: consoles know no
        errors. Raises :exc:`ActionError` when the server refuses to run it, else as :meth:`send` does.
        """
        response = self.send("Command", Command=text, check=False, timeout=timeout)
        if not response.ok and "Output" not in response:
            raise ActionError("Command", response)
        return response.output

    def originate(
        self, channel: str, *, wait: bool = False, timeout: float | None = DEFAULT, **headers: HeaderValue
    ) -> Any:
        """Place a call, asynchronously, so that nothing waits behind it.

        Args:
            channel: whom to call, such as ``"PJSIP/1101"``.
            wait: whether to wait for the outcome.
            timeout: seconds for the answer, and again for the outcome; note that the header ``Timeout``,
                in milliseconds, is how long it may ring.
            headers: of Originate: ``Context``, ``Exten`` and ``Priority``, or ``Application`` and ``Data``;
                ``CallerID``, ``Timeout``, ``Variable`` (a mapping), …

        Returns:
            The :class:`~pyami_sync.Response` that says that it is queued, or with ``wait`` the event
            ``OriginateResponse``: its ``Response`` is ``Success`` or ``Failure``, its ``Reason`` says why.

        Raises:
            WaitTimeout: no outcome in time (the user needs the read class ``call``, and an event mask that
                includes it).

        """
        pairs = {name: value for name, value in headers.items() if name.lower() != "async"}
        action = Action("Originate", {"Channel": channel, "Async": "true", **pairs}, encoding=self.options.encoding)
        if not wait:
            return self.send(action, timeout=timeout)
        limit = self.options.timeout if timeout is DEFAULT else timeout
        action = action.with_action_id(action.action_id or self._route(action, limit).pending.new_id())
        where = {"ActionID": action.action_id}
        with self.expect_event(("OriginateResponse",), where, fail_on_loss=True) as future:
            self.send(action, timeout=timeout)
            return future.result(limit)

    # Looking

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._session.state

    @property
    def ami_version(self) -> AMIVersion | None:
        """The protocol's version from the greeting; :data:`None` before, or if the greeting names none."""
        greeting = self._session.greeting
        return greeting.version if greeting else None

    @property
    def server_version(self) -> str | None:
        """Asterisk's version, such as ``"22.10.1"``; asks the server (blocks) the first time.

        :data:`None` if the user may not ask (write class ``system`` or ``reporting``).
        """
        if self._version is None:
            response = self.send("CoreSettings", check=False)
            self._version = response.get("AsteriskVersion")
        return self._version

    def stats(self) -> Stats:
        """A picture of what has been counted; cheap."""
        session, metrics = self._session, self._session.metrics
        connection = session.current
        return Stats(
            state=session.state.value,
            connects=metrics.connects,
            losses=metrics.losses,
            attempts=metrics.attempts,
            outage_total=metrics.outage_total,
            outage_last=metrics.outage_last,
            actions=metrics.actions(),
            round_trip=metrics.round_trip(),
            pending=len(connection.pending) if connection else 0,
            events_received=metrics.events_before + (connection.events_received if connection else 0),
            bytes_received=metrics.bytes_before + (connection.bytes_received if connection else 0),
            subscriptions=tuple(
                SubscriptionStats(
                    type(each).__name__, each.selectors.text, each.delivered, each.lost, each.pending, each.maxsize
                )
                for each in self.subscriptions
            ),
        )

    # Hooks: each calls its callbacks one at a time, in order, on a callback thread

    def on_state(self, callback: Callable[[State], object]) -> Callable[[], None]:
        """Call it with each new :class:`State`; call what is returned to stop."""
        return self._state_hook.add(callback)

    def on_error(self, callback: Callable[[BaseException, Subscription, Event | None], object]) -> Callable[[], None]:
        """Call ``callback(exception, subscription, event)`` when an event's callback raised, or lost events
        (:exc:`EventsLost`, with no event); call what is returned to stop."""
        return self._error_hook.add(callback)

    def on_action(
        self, observer: Callable[[Action[Any]], Callable[[Response | None, BaseException | None], object] | None]
    ) -> Callable[[], None]:
        """Call ``observer(action)`` as each action begins, and what that returns as it ends.

        It begins on the thread that sends, before anything is sent, so that it must be quick; what it returns
        is called as ``end(response, exception)``, one of them :data:`None`: after :meth:`send` on the same
        thread, after :meth:`submit` on a callback thread. Call what is returned to stop.
        """
        return self._action_hook.add(observer)

    def on_wire(self, callback: Callable[[str, bytes], object]) -> Callable[[], None]:
        """Tap the wire: ``callback("sent" or "received", raw)`` with whole messages, credentials replaced.

        Call what is returned to stop.
        """
        remove = self._wire_hook.add(lambda direction, raw: callback(direction, redact(raw)))
        self._session.set_tapping(True)

        def stop() -> None:
            remove()
            self._session.set_tapping(bool(self._wire_hook))

        return stop

    def observable(self, *selectors: Selector, where: Where = None, **buffer: Any) -> Any:
        """Events as a reactivex ``Observable`` (needs the extra ``rx``); see :mod:`pyami_sync.integrations.rx`.

        ``maxsize`` and ``overflow`` are those of :meth:`events`: Rx knows no back-pressure.
        """
        from .integrations.rx import observable

        return observable(self, *selectors, where=where, **buffer)

    # Inside

    def _submit(self, job: Callable[[], None]) -> None:
        self.engine.workers.submit(job)

    def _check(self, doing: str) -> None:
        self.engine.check_thread(doing)

    def _tap(self, direction: str, frames: list[bytes]) -> None:
        for frame in frames:
            self._wire_hook(direction, frame)

    def _report(self, exc: BaseException, subscription: Subscription, event: Event | None) -> None:
        if isinstance(exc, SystemExit):
            self._exit = exc
            interrupt_main()
        elif isinstance(exc, EventsLost):
            logger.warning("%r: %s", subscription, exc)
        else:
            logger.error("%r raised at %r", subscription, event, exc_info=exc)
        self._error_hook(exc, subscription, event)

    def _default_timeout(self) -> float | None:
        return self.options.timeout

    def _over(self) -> bool:
        return self._session.state is State.CLOSED and not self._session.dormant

    def after_fork(self) -> None:
        """Become the client of a forked child: same subscriptions, no connection until first use."""
        for hook in (self._state_hook, self._error_hook, self._wire_hook, self._action_hook):
            hook.after_fork()
        self.subscriptions.after_fork()
        self._session.after_fork()

    def __repr__(self) -> str:
        return f"<AMIClient {self.options.username}@{self.options.address} {self.state.value}>"


PING = Action("Ping")


def connect(url_or_host: str | None = None, **options: Any) -> AMIClient:
    """Open a session; blocks until it is logged in.

    ::

        with connect("ami://admin:secret@pbx") as ami:
            ami.send("QueueAdd", Queue="support", Interface="PJSIP/1101")

    Args:
        url_or_host: ``ami://user:secret@host:5038``, ``amis://`` for TLS, or a host with ``username`` and
            ``secret`` as options; ``AMI_URL`` of the environment when there is none.
        options: those of :class:`AMIClient`.

    Raises:
        ConnectError: no session; it says why and what to check. :exc:`LoginRejected` is one.
        ValueError: the URL can't be read, or an option can't be.

    """
    return AMIClient.from_url(url_or_host, **options).open()


def interrupt_main() -> None:
    """End the main thread's wait, as Ctrl-C does, because a callback called :func:`sys.exit`."""
    main = threading.main_thread()
    if main.ident is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main.ident, signal.SIGINT)
    else:
        _thread.interrupt_main()


def _outcome(future: Future[Any]) -> tuple[Response | None, BaseException | None]:
    """A done future's response or exception."""
    try:
        return future.result(), None
    except BaseException as exc:
        return None, exc


def _left(limit: float | None, started: float) -> float | None:
    """What is left of a call's time after it has waited for the link."""
    return None if limit is None else max(0.001, limit - (time.monotonic() - started))


def _after_fork() -> None:
    for client in list(clients):
        client.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)  # behind the engines' own, which is registered earlier
