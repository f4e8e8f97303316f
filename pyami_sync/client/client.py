"""AMIClient: one session with one server; and connect(), which opens one."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from ..engine import forks
from ..engine.deadline import DEFAULT, Deadline
from ..engine.engine import Engine
from ..engine.handle import Handle
from ..engine.hooks import ActionHook, Hook
from ..exceptions import ConnectionClosed
from ..session import session as session_module
from ..session.connector import Connector
from ..session.filters import let_through
from ..session.gate import Publisher, WeakPublisher
from ..session.keywords import ClientOptions, ConnectOptions
from ..session.metrics import Stats, take_stats
from ..session.options import Options, broker_url, make_options, options_from_url
from ..session.session import Session, State
from ..subscriptions.dispatch import Subscriptions
from ..subscriptions.errors import ErrorCallback, ErrorReports
from ..subscriptions.subscribers import Subscriber
from ..vocabulary.model import event_class, load_events
from ..wire.action import Action
from ..wire.protocol import AMIVersion
from ..wire.redaction import redact
from ..wire.response import Response
from .features import Features

if TYPE_CHECKING:
    from ..agi import AsyncAGI

__all__ = ["AMIClient", "connect"]

StateCallback = TypeVar("StateCallback", bound=Callable[[State], object])
WireCallback = TypeVar("WireCallback", bound=Callable[[str, bytes], object])
ActionObserver = TypeVar(
    "ActionObserver",
    bound=Callable[[Action[Any]], Callable[[Response | None, BaseException | None], object] | None],
)

clients: weakref.WeakSet[AMIClient] = weakref.WeakSet()
anchors: set[AMIClient] = set()
"""Clients with callbacks: these are kept alive until close(), even without another reference."""


class Runner:
    """Runs jobs on the callback threads of an engine that may be replaced; holds no reference to the client."""

    __slots__ = ("engine",)

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job on a callback thread."""
        self.engine.submit(job)


class AMIClient(Features):
    """A session with one server.

    Any thread may use it. Blocking methods block only the calling thread, and may be called in callbacks. After
    :func:`os.fork` the child has a closed copy, which opens its own session on first use.

    Args:
        host: name or address of the server, optionally with the port (``host:port``).
        port: 5038 unless given, 5039 with TLS.
        username: the user in manager.conf.
        secret: its secret; never logged or shown.
        auth: ``"md5"`` answers a challenge, ``"plain"`` sends the secret in clear. Neither falls back to the other.
        event_mask: classes of events to receive, such as ``"call,agent"``; ``"off"`` for none,
            :data:`None` for all that the user may read.
        event_filter: ``"auto"`` makes filters from the subscriptions, so that the server sends only the events that
            they want (needs the write class ``system``); :data:`None` for everything. See :doc:`/guides/filters`.
        tls: :data:`True` for TLS that verifies the server, a :class:`~pyami_sync.TLS` for other settings, or an
            :class:`ssl.SSLContext`.
        timeout: default time limit of an action, in seconds; :data:`None` for no limit.
        connect_timeout: seconds that connecting, TLS and login together may take.
        keepalive: seconds of silence after which a Ping is sent; :data:`None` for never.
        keepalive_timeout: seconds without an answer to that Ping after which the link counts as lost.
        stall_after: seconds that events, or the answer to a Ping, may be late. A longer delay (a stall) is logged as
            a warning, counted in :meth:`stats`, and marked by :class:`~pyami_sync.events.Stalled`; :data:`None` for
            never.
        reconnect: a :class:`~pyami_sync.ReconnectPolicy`; with :data:`False` or :data:`None` the session ends when
            the link is lost.
        when_down: what a call does while the link is down: ``"wait"`` waits for it within the call's timeout,
            ``"fail"`` raises at once.
        wait_fully_booted: whether :meth:`open` waits until the server has loaded its modules. A user without
            the read class ``system`` and the write class ``command`` can't find that out, so :meth:`open` does not
            wait.
        encoding: encoding of text; bytes that it can't decode are kept (``surrogateescape``).
        name: prefix of the names of the threads.
        limits: how much the server may send, a :class:`~pyami_sync.Limits`.
        transport: a connected socket-like object to use instead of a new connection; the session ends with it.
        callback_threads: most callback threads, and so the number of callbacks that may block at a time.

    Raises:
        TypeError: an unknown option.
        ValueError: a value that is not allowed."""

    __module__ = "pyami_sync"  # its public path

    def __init__(
        self,
        host: str = "localhost",
        port: int | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        transport, callback_threads, given = _separate(options)
        given["host"] = host
        if port is not None:
            given["port"] = port
        if transport is not None:
            given.setdefault("reconnect", None)  # the library can't make another such object
        self._setup(make_options(given), transport, callback_threads)

    @classmethod
    def from_url(cls, url: str | None = None, **options: Unpack[ConnectOptions]) -> Self:
        """Return a client made from ``ami://user:secret@host:5038/?timeout=5``; it is not open yet.

        ``amis://`` uses TLS. Without a URL, the environment variable ``AMI_URL`` is read, and ``AMI_SECRET`` if that
        URL has no secret. Options take precedence over the URL. For the URL of a broker
        (``redis://broker/0?node=paris``, ``amqp://…``) the result is a :class:`~pyami_sync.bridge.BridgeClient`.

        Raises:
            ValueError: the URL is not valid; the message never contains the secret.

        """
        broker = broker_url(url)
        if broker is not None and cls is AMIClient:
            from ..bridge import BridgeClient

            return BridgeClient(broker, **options)  # type: ignore[return-value]
        transport, callback_threads, given = _separate(options)
        client = cls.__new__(cls)
        client._setup(options_from_url(url, given), transport, callback_threads)
        return client

    @classmethod
    def from_options(cls, options: Options, *, engine: Engine | None = None, **more: Any) -> Self:
        """Return a client on an engine that other clients use, too; closing the client leaves the engine running."""
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
        connector: Connector | None = None,
        observe: Callable[[], None] | None = None,
    ) -> None:
        """Create all parts of the client; the last four arguments are for a client of a cluster.

        Args:
            options: of the session.
            transport: a connected socket-like object, or :data:`None`.
            callback_threads: most callback threads, if the client makes its own engine.
            engine: an engine that other clients use, too; closing the client leaves it running.
            publisher: is given the client's subscriptions, and returns the receiver of its events.
            connector: starts the attempts to connect; the client makes its own unless given.
            observe: see :class:`~pyami_sync.session.session.Session`.

        """
        self.options = options
        self._own_engine = engine is None
        self._callback_threads = callback_threads
        self.engine = engine or Engine(options.name, callback_threads)
        self._runner = Runner(self.engine)
        self._state_hook = Hook("states", self._runner.submit)
        self._errors = ErrorReports(self._runner.submit)
        self._wire_hook = wire_hook = Hook("the wire", self._runner.submit)
        self._action_hook = ActionHook()

        def tap(direction: str, frames: list[bytes]) -> None:
            for frame in frames:
                wire_hook(direction, frame)

        load_events()
        self.subscriptions = Subscriptions(
            self._runner.submit, event_class, self._errors.report, self._before_wait, self._subscribed
        )
        self._session = Session(
            options,
            self.engine,
            WeakPublisher(self.subscriptions) if publisher is None else publisher(self.subscriptions),
            connector or Connector(self.engine),
            transport=transport,
            on_state=self._state_hook,
            tap=tap,
            observe=observe,
        )
        self._successors: dict[Engine, tuple[Engine, Connector]] = {}
        self._given_up: Engine | None = None  # the engine that was ended because open() failed
        self._services: list[AsyncAGI] = []  # they run on this client, and are closed before it
        self._version: tuple[int, str | None] = (-1, None)
        clients.add(self)
        if self._own_engine:
            # For a client that is dropped without close(): no thread refers to it, so it is collected.
            weakref.finalize(self, _dropped, self._session, self._runner).atexit = False

    # Life

    def open(self, timeout: float | None = DEFAULT) -> Self:
        """Connect and log in; blocks. Do nothing if the session is open.

        Args:
            timeout: most seconds to block (by default ``connect_timeout``); :data:`None` for no limit.

        Raises:
            ConnectError: the server was not reached, TLS failed, or the peer does not speak AMI; the message says
                which, and what to check.
            LoginRejected: the server refused the user, the secret or this address.

        """
        forks.check()
        deadline = Deadline(self.options.connect_timeout if timeout is DEFAULT else timeout)
        while True:
            if self._own_engine and self.engine.closed:
                self._renew()
            engine = self.engine
            try:
                self._session.open(deadline)
            except BaseException as exc:
                if not self._own_engine:
                    raise
                if self._given_up is engine and type(exc) is ConnectionClosed and not deadline.expired:
                    continue  # another thread's attempt has failed and ended the engine meanwhile
                if self._session.state is State.CLOSED and not self._session.openings.threads:
                    self._given_up = engine
                    self._end_engine(5.0)
                raise
            return self

    def _renew(self) -> None:
        """Replace an engine that was closed; if several threads do so at a time, they use the same new one."""
        old = self.engine
        engine = Engine(self.options.name, self._callback_threads)
        # One atomic step instead of a lock, which a signal handler could find locked; if a thread was interrupted
        # below, another thread replaces the engine again.
        engine, connector = self._successors.setdefault(old, (engine, Connector(engine)))
        if self.engine is old:
            for hook in (self._state_hook, self._errors.hook, self._wire_hook):
                hook.after_fork()  # drop the calls that the last engine's threads had not begun
            self.subscriptions.reopen()
            self._session.connector = connector
            self._session.engine = self._runner.engine = engine
            self.engine = engine  # last: this completes the replacement
            for each in list(self._successors):
                if each is not old:
                    self._successors.pop(each, None)

    def _end_engine(self, timeout: float | None) -> None:
        deadline = Deadline(timeout)
        self.engine.close(timeout)
        self._session.engine_ended()
        self._session.connector.close(deadline)

    def close(self, timeout: float | None = 5.0) -> None:
        """Close the session: pending calls fail, streams end, all threads are joined.

        Idempotent; may be called from any thread, callbacks included.

        Args:
            timeout: seconds to wait for running callbacks; for one that runs longer a warning is logged.

        """
        forks.check()
        services, self._services = self._services, []
        for service in services:
            service.close(timeout)
        self._session.close()
        self.subscriptions.finish(None)
        if self._calls is not None:
            self._calls.close(timeout)
        if self._own_engine:
            self._end_engine(timeout)
            self._session.close()  # another thread may have begun to open it at this moment
        anchors.discard(self)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        self._errors.reraise_exit(exc)

    def wait_closed(self, timeout: float | None = None) -> bool:
        """Block until the session is closed; for scripts that only have callbacks.

        Args:
            timeout: seconds; :data:`None` for no limit.

        Returns:
            True if it is closed, False if the time is up.

        """
        self._check("waiting for the end")
        return self._session.wait_closed(timeout)

    # Looking

    @property
    def state(self) -> State:
        """The state of the session."""
        return self._session.state

    @property
    def ami_version(self) -> AMIVersion | None:
        """The version of AMI from the greeting; :data:`None` before the first, or if the greeting has none."""
        greeting = self._session.greeting
        return greeting.version if greeting else None

    @property
    def server_version(self) -> str | None:
        """Asterisk's version, such as ``"22.10.1"``; the first access after each login asks the server and blocks.

        :data:`None` if the user may not ask (that needs the write class ``system`` or ``reporting``).
        """
        login = self._session.metrics.connects
        if self._version[0] != login or self._version[1] is None:  # it may have been upgraded in between
            response = self.send("CoreSettings", check=False)
            self._version = (login, response.get("AsteriskVersion"))
        return self._version[1]

    def stats(self) -> Stats:
        """Return a snapshot of the client's counters; does not block."""
        return take_stats(self._session, self.subscriptions, self._wire_hook.lost)

    # Hooks: each calls its callbacks one at a time, in order, on a callback thread

    # and returns a Handle, which ends the registration. It can decorate a function.

    def on_state(self, callback: StateCallback) -> Handle[StateCallback]:
        """Call ``callback(state)`` with each new :class:`State`. Return a :class:`~pyami_sync.engine.handle.Handle`."""
        anchors.add(self)
        return Handle(callback, self._state_hook.add(callback))

    def on_error(self, callback: ErrorCallback) -> Handle[ErrorCallback]:
        """Call ``callback(exception, subscription, event)`` when a callback for events raised or lost events
        (:exc:`EventsLost`; ``event`` is :data:`None` then). Return a :class:`~pyami_sync.engine.handle.Handle`.
        """
        return Handle(callback, self._errors.hook.add(callback))

    def on_action(self, observer: ActionObserver) -> Handle[ActionObserver]:
        """Call ``observer(action)`` when each action begins, and the function that it returns when the action ends.

        The observer runs on the sending thread before anything is sent, so it must be quick. The function that it
        returns is called as ``end(response, exception)``, one of which is :data:`None`: after :meth:`send` on the
        same thread, after :meth:`submit` on a callback thread. Return a :class:`~pyami_sync.engine.handle.Handle`.
        """
        return Handle(observer, self._action_hook.add(observer))

    def on_wire(self, callback: WireCallback) -> Handle[WireCallback]:
        """Call ``callback(direction, raw)`` with each message, where ``direction`` is ``"sent"`` or ``"received"``.

        ``raw`` is the bytes of the whole message, with credentials replaced. Return a
        :class:`~pyami_sync.engine.handle.Handle`.
        """
        remove = self._wire_hook.add(lambda direction, raw: callback(direction, redact(raw)))
        self._session.set_tapping(True)

        def stop() -> None:
            remove()
            self._session.set_tapping(bool(self._wire_hook))

        return Handle(callback, stop)

    # Inside

    def _submit(self, job: Callable[[], None]) -> None:
        self.engine.submit(job)

    def _check(self, doing: str) -> None:
        self.engine.check_thread(doing)

    def _default_timeout(self) -> float | None:
        return self.options.timeout

    def _before_wait(self, doing: str) -> None:
        forks.check()
        self._check(doing)
        self._session.prepare_to_listen()

    def _before_listening(self, *, callback: bool) -> None:
        forks.check()
        if callback:
            anchors.add(self)

    def _subscribed(self, subscriber: Subscriber) -> None:
        let_through([self._session.plan.event_filter], subscriber, self.options.timeout)

    def _over(self) -> bool:
        return self._session.over

    def after_fork(self) -> None:
        """Reset the client in a forked child: the subscriptions stay, and the first use opens a session."""
        for hook in (self._state_hook, self._errors.hook, self._wire_hook, self._action_hook):
            hook.after_fork()
        self.subscriptions.after_fork()
        services, self._services = self._services, []
        for service in services:
            service.after_fork()
        self._session.after_fork()
        if self._own_engine:
            self._session.connector.after_fork()
        if self._calls is not None:
            self._calls.after_fork()

    def __repr__(self) -> str:
        return f"<AMIClient {self.options.username}@{self.options.address} {self.state.value}>"


def connect(url_or_host: str | None = None, **options: Unpack[ConnectOptions]) -> AMIClient:
    """Open a session; blocks until it is logged in.

    ::

        with connect("ami://admin:secret@pbx") as ami:
            ami.send("QueueAdd", Queue="support", Interface="PJSIP/1101")

    Args:
        url_or_host: ``ami://user:secret@host:5038``, ``amis://`` for TLS, the URL of a broker with the node
            (``redis://broker/0?node=paris``, ``amqp://…``), or a host with ``username`` and ``secret`` as
            options; by default the environment variable ``AMI_URL`` is read, and ``AMI_SECRET`` if that URL has no
            secret.
        options: those of :class:`AMIClient`.

    Raises:
        ConnectError: the session could not be opened; the message says why, and what to check. :exc:`LoginRejected`
            is a subclass.
        ValueError: the URL or the value of an option is not valid.

    """
    return AMIClient.from_url(url_or_host, **options).open()


def _separate(options: Mapping[str, Any]) -> tuple[Any, int, dict[str, Any]]:
    """Return the transport, the number of callback threads, and the options of the session."""
    given = dict(options)
    return given.pop("transport", None), given.pop("callback_threads", 32), given


def _after_fork() -> None:
    for client in list(clients):
        client.after_fork()


def _dropped(session: Session, runner: Runner) -> None:
    """Close the session of a client that was collected; runs on any thread at any moment, so it does not wait."""
    try:
        session.close(ConnectionClosed("the client was dropped without close()"), wait=0.0)
    finally:
        runner.engine.close_soon()


def _at_exit() -> None:
    """Close all sessions: at exit no thread reads answers any more, so no action may be sent."""
    session_module.exiting = True
    living = [client for client in list(clients) if client.state is not State.CLOSED]
    for client in living:
        client._session.close(ConnectionClosed(session_module.EXITING), wait=0.1)


forks.register(_after_fork)  # runs after that of the engines, which is registered earlier
atexit.register(_at_exit)  # runs before that of the engines, for the same reason
