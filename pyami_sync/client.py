"""What users hold: one session with one server, for blocking code and any number of threads."""

from __future__ import annotations

import _thread
import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from .action import Action
from .calling import Caller
from .deadline import Deadline
from .dialing import Dialer
from .engine import Engine
from .exceptions import EventsLost
from .hooks import ActionHook, Hook
from .link import Publisher
from .message import Event
from .metrics import Stats, SubscriptionStats
from .model import event_class, load_events
from .options import Options, make_options, options_from_url
from .protocol import AMIVersion
from .redaction import redact
from .response import Response
from .selection import Selector, Where
from .session import Session, State
from .subscriptions import Subscription, Subscriptions

if TYPE_CHECKING:
    from .live import Live

__all__ = ["AMIClient", "connect"]

logger = logging.getLogger("pyami_sync")

clients: weakref.WeakSet[AMIClient] = weakref.WeakSet()


class AMIClient(Caller):
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
        load_events()
        self.subscriptions = Subscriptions(self._submit, event_class, self._report, self._before_wait)
        self._session = Session(
            options,
            self.engine,
            self.subscriptions if publisher is None else publisher(self.subscriptions),
            run=lambda job: self.engine.connectors.submit(job),
            transport=transport,
            on_state=self._state_hook,
            tap=self._tap,
            dialer=dialer,
            observe=observe,
        )
        self._opening = Lock()
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
        with self._opening:  # a second thread waits for the first one's try, and then sees what came of it
            return self._open(timeout)

    def _open(self, timeout: float | None) -> Self:
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
            wire_lost=self._wire_hook.lost,
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

    def live(
        self,
        *areas: str,
        audit: float | None = None,
        history: int = 20_000,
        records: int = 1_000,
        timeout: float | None = 30.0,
    ) -> Live:
        """Start the live model of the server: its channels, calls, queues and so on, right at every moment.

        Blocks until the lists of the server have been taken up. Close it (``with``) when done; it ends with the client.

        Args:
            areas: what to keep: ``calls`` (with channels and bridges), ``queues``, ``conferences``, ``parking``,
                ``devices``, ``extensions``, ``endpoints``, ``mailboxes``; all of them when none is named. Only what is
                named is looked up and listened to; see also :func:`pyami_sync.live.event_mask`.
            audit: seconds between two comparisons with fresh lists; None for none.
            history: how many events are kept for :meth:`~pyami_sync.live.Live.explain`.
            records: how many records of ended calls are kept.
            timeout: seconds that loading may take.

        Raises:
            ValueError: there is no area of that name.
            WaitTimeout: the lists were not there in time.

        """
        from .live import Live

        return Live(self, areas, audit=audit, history=history, records=records, timeout=timeout)

    # Inside

    def _submit(self, job: Callable[[], None]) -> None:
        self.engine.submit(job)

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

    def _before_wait(self, doing: str) -> None:
        self._check(doing)
        self._session.prepare_to_listen()

    def _over(self) -> bool:
        return self._session.over

    def after_fork(self) -> None:
        """Become the client of a forked child: same subscriptions, no connection until first use."""
        for hook in (self._state_hook, self._error_hook, self._wire_hook, self._action_hook):
            hook.after_fork()
        self._opening = Lock()
        self.subscriptions.after_fork()
        self._session.after_fork()

    def __repr__(self) -> str:
        return f"<AMIClient {self.options.username}@{self.options.address} {self.state.value}>"


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


def _after_fork() -> None:
    for client in list(clients):
        client.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)  # behind the engines' own, which is registered earlier
