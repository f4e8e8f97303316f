"""Simulator: the embedded AMI server, with its lifelike and scripted answers."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Self, overload

from ..wire.action import Action
from ..wire.message import Message
from .agi import AGITestCall
from .handlers import HANDLERS, Call
from .loop import Loop
from .pbx import PBX
from .recorder import Actions
from .rights import User, bits_of, event_classes, names_of
from .scenario import Play, Scenario
from .server import TLS, Server
from .session import Session, error
from .wire import Headers, Reply, action_name, frame, header, pairs_of, to_frames

__all__ = ["RELEASES", "Simulator"]

RELEASES = {
    "11": ("11.25.3", "1.3"),
    "13": ("13.38.3", "2.10.6"),
    "16": ("16.28.0", "5.0.4"),
    "18": ("18.26.4", "7.0.3"),
    "20": ("20.20.1", "9.0.0"),
    "21": ("21.12.1", "10.0.0"),
    "22": ("22.10.1", "11.0.0"),
    "23": ("23.4.1", "12.0.0"),
}
"""The versions of Asterisk and of AMI that a simulator reports, by major version."""

BEFORE_LOGIN = {"login", "logoff", "challenge"}


class Simulator(Server):
    """An AMI server on a real socket of this machine, for tests and demonstrations.

    It answers as Asterisk does, holds a small telephone system (:attr:`pbx`) whose state and events agree, and
    can be scripted::

        with Simulator() as sim, connect(sim.url) as ami:
            sim.on("QueueAdd", {"Response": "Error", "Message": "Unable to add interface: No such queue"})
            ami.send("QueueAdd", Queue="support", Interface="PJSIP/1101", check=False)
            sim.assert_sent("QueueAdd", Queue="support")
            sim.emit("Hangup", Channel="PJSIP/alice-00000001", Cause=16)
            sim.drop()

    It runs on one thread. All methods may be called from any thread; scripted replies run on the simulator's thread.

    Args:
        host: address to listen on.
        port: TCP port; 0 for any free port, see ``port``.
        username: name of the user.
        secret: that user's password.
        users: further users, by name; see :class:`~pyami_sync.testing.User`.
        asterisk: major version to simulate: one of the ``RELEASES``.
        tls: to serve TLS: a context, the files of a certificate and its key, or true for the certificate of
            :mod:`pyami_sync.testing.certificate`.
        banner: the greeting, instead of the usual one; bytes are sent unchanged, and nothing if empty.
        system_name: ``systemname`` of asterisk.conf: it is put in events and before unique ids.
        timestamps: put a ``Timestamp`` in events (``timestampevents`` of manager.conf).
        login_pause: seconds before a failed login is answered; a real server takes one.
        auth_timeout: seconds that a client may stay connected without logging in.
        auth_limit: most clients that are not logged in; a real server allows 50.
        write_timeout: seconds after which a client that does not read is dropped; a real server waits 0.1.
        fragment: most bytes in one write; 1 sends byte by byte.
        seed: seed of all random choices of :attr:`pbx`.
        scenario: what to :meth:`play` from the start.
        any_login: accept every login, whatever its name and secret.
        loop: a :class:`~pyami_sync.testing.loop.Loop` to share with other simulators instead of a separate thread.

    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        username: str = "admin",
        secret: str = "secret",
        users: Mapping[str, User | str] | None = None,
        asterisk: str | int = "22",
        tls: TLS = None,
        banner: bytes | str | None = None,
        system_name: str = "",
        timestamps: bool = False,
        login_pause: float = 0.0,
        auth_timeout: float | None = 30.0,
        auth_limit: int | None = None,
        write_timeout: float | None = None,
        fragment: int | None = None,
        seed: int = 0,
        scenario: Scenario | None = None,
        any_login: bool = False,
        loop: Loop | None = None,
    ) -> None:
        known = {username: User(secret)}
        for name, user in (users or {}).items():
            known[name] = user if isinstance(user, User) else User(user)
        super().__init__(
            host=host,
            port=port,
            users=known,
            tls=tls,
            auth_timeout=auth_timeout,
            auth_limit=auth_limit,
            write_timeout=write_timeout,
            fragment=fragment,
            loop=loop,
        )
        if str(asterisk) not in RELEASES:
            raise ValueError(f"no Asterisk {asterisk!r} here; there are {', '.join(RELEASES)}")
        self.major = int(asterisk)
        """The simulated major version of Asterisk."""
        self.version, self.ami_version = RELEASES[str(asterisk)]
        self.banner = banner
        self.system_name = system_name
        self.timestamps = timestamps
        self.login_pause = login_pause
        self.any_login = any_login
        self.tells_boot = True
        """Whether FullyBooted is sent after a login."""
        self.shutting_down = False
        """Whether every action is answered with ``Asterisk is shutting down``."""
        self.started = time.time()
        """When it was created, in seconds since 1970; its uptime counts from this moment."""
        self.actions = Actions()
        """All actions that have arrived, logins included."""
        self.pbx = PBX(self, seed)
        """The simulated telephone system."""
        self._scripts: dict[str, deque[tuple[Reply, int | None]]] = {}
        self._silent: set[str] = set()
        self._delays: dict[str, tuple[float, bool]] = {}
        self._refusing = False
        self._scenario = scenario

    def __repr__(self) -> str:
        where = f"{self.host}:{self._port}" if self._port else "not started"
        return f"<Simulator of Asterisk {self.version}, {where}, {len(self.sessions)} sessions>"

    def start(self) -> Self:
        """Start listening, and start the scenario; called by ``with``.

        Raises:
            OSError: the port is not available.

        """
        super().start()
        scenario, self._scenario = self._scenario, None
        if scenario is not None:
            self.play(scenario)
        return self

    def play(self, scenario: Scenario) -> Play:
        """Configure :attr:`pbx` for a scenario and make its calls; return a handle to wait for and to stop it."""
        play = Play(scenario, self.pbx)
        self.loop.run(play.start)
        return play

    def agi_call(
        self,
        path: str,
        *arguments: str,
        caller_id: str = "5550100",
        caller_name: str = "Caller",
        variables: Mapping[str, str] | None = None,
        apps: Mapping[str, int | Callable[[str], int]] | None = None,
        answered: bool = False,
        timeout: float = 10.0,
    ) -> AGITestCall:
        """Place a call into an AGI script; return a handle with which the test acts as the caller.

        ::

            simulator.agi_call("ivr/en").hears("welcome").presses("1").goes_to("sales,s,1")

        Args:
            path: of a script that runs on a client of this simulator (:meth:`~pyami_sync.AMIClient.agi`), or the URL
                of a FastAGI server on this machine: ``agi://127.0.0.1:4573/ivr/en``.
            arguments: of the script.
            caller_id: number of the caller.
            caller_name: name of the caller.
            variables: of the channel.
            apps: results of applications that the script runs with ``exec``: a number, or a function of their data.
            answered: whether the call is answered already.
            timeout: seconds that the script may take for each step.

        """
        return AGITestCall(
            self,
            path,
            arguments,
            caller_id=caller_id,
            caller_name=caller_name,
            variables=variables or {},
            apps=apps or {},
            answered=answered,
            timeout=timeout,
        )

    # Scripts

    @overload
    def on(self, action: str, reply: Reply, *, times: int | None = ...) -> Reply: ...
    @overload
    def on(self, action: str, *, times: int | None = ...) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...
    def on(self, action: str, reply: Any = ..., *, times: int | None = None) -> Any:
        """Set the answer to an action; also works as a decorator.

        The reply is one of these, or a list of them:

        * :class:`bytes` or :class:`str`, sent unchanged;
        * a message, or a mapping of headers; the ActionID of the action is put in it if it has none;
        * a function of the action and the :class:`~pyami_sync.testing.Session`, which gives one of the above,
          or :data:`None` for no answer. It runs on the simulator's thread, so it must not wait for anything.

        Rights are not checked, but a login is required. Replies with ``times`` are used first.

        Args:
            action: name of the action.
            reply: the answer.
            times: how many times it is used, after which the previous answer applies again; by default without limit.

        """
        if reply is ...:
            return lambda function: self.on(action, function, times=times)

        def register() -> None:
            queue = self._scripts.setdefault(action.lower(), deque())
            # At most one without a count, after those with one.
            last = queue.pop() if queue and queue[-1][1] is None else None
            queue.append((reply, times))
            if times is not None and last is not None:
                queue.append(last)

        self._on_loop(register)
        return reply

    def off(self, *actions: str) -> None:
        """Remove the answers set by :meth:`on`, for these actions or for all."""
        self._on_loop(lambda: [self._scripts.pop(name.lower(), None) for name in actions or list(self._scripts)])

    def emit(
        self,
        event: str | bytes | Message | Mapping[str, Any],
        headers: Headers = (),
        /,
        *,
        session: Session | None = None,
        **more: Any,
    ) -> None:
        """Send an event to all clients, or to one, if their rights, masks and filters include it.

        Args:
            event: its name; or a whole event as a message, a mapping or bytes, sent unchanged.
            headers: in the order in which they are sent; a list as a value repeats its header. ``Privilege``
                is added first if it is missing; it determines which users may read the event.
            session: only this client.
            more: further headers, for names that are Python words.

        """
        if isinstance(event, str):
            self.publish(event, [*pairs_of(headers), *pairs_of(more)], session)
            return
        message = event if isinstance(event, Message) else None
        raw = event if isinstance(event, bytes) else message.to_bytes() if message else frame(event)  # type: ignore[arg-type]
        message = message or Message._wire(raw.removesuffix(b"\r\n\r\n"))
        classes = message.get("Privilege") or event_classes(message.get("Event", ""))
        self._send(bits_of(classes.replace("<none>", "").removesuffix(",all")), raw, session)

    def publish(
        self, name: str, pairs: list[tuple[str, str]], session: Session | None = None, *, own_classes: bool = True
    ) -> None:
        """Send an event like a real server, with the headers that it adds to every event.

        Args:
            name: of the event.
            pairs: its headers.
            session: only this client.
            own_classes: whether a ``Privilege`` among the headers determines which users may read it.

        """
        given = pairs if own_classes else ()
        classes = next((value for key, value in given if key.lower() == "privilege"), None)
        bits = bits_of(event_classes(name) if classes is None else classes.replace("<none>", "").removesuffix(",all"))
        head = [("Event", name)]
        if classes is None:
            head.append(("Privilege", names_of(bits)))
        if self.timestamps:
            head.append(("Timestamp", f"{time.time():.6f}"))
        if self.system_name:
            head.append(("SystemName", self.system_name))
        self._send(bits, frame([*head, *pairs]), session)

    def _send(self, bits: int, raw: bytes, session: Session | None) -> None:
        def deliver(each: Session) -> None:
            each.deliver(bits, raw)

        if self.loop.is_current:
            self._for_each(session, deliver)
        else:
            self.loop.call(lambda: self._for_each(session, deliver))

    # Faults of the server itself; those of the network are Server's

    def silence(self, *actions: str) -> None:
        """Never answer these actions; others are answered."""
        self._on_loop(self._silent.update, [name.lower() for name in actions])

    def delay(self, action: str, seconds: float, *, in_order: bool = True) -> None:
        """Answer an action only after some seconds; 0 ends the delay.

        Args:
            action: name of the action.
            seconds: delay before the action is run.
            in_order: whether later actions wait, too, as on a real server; if not, they may be answered before it.

        """
        self._on_loop(self._delays.__setitem__, action.lower(), (seconds, in_order))

    def refuse_logins(self, refuse: bool = True) -> None:
        """Answer every login with ``Authentication failed``; with ``refuse=False``, accept logins again."""
        self._refusing = refuse

    @property
    def refusing(self) -> bool:
        """True if logins are refused."""
        return self._refusing

    def clear_faults(self) -> None:
        """End all simulated faults, apart from closed connections and scripted replies."""
        self._on_loop(self._silent.clear)
        self._on_loop(self._delays.clear)
        self._refusing = False
        self.shutting_down = False
        self.fragment = None
        if self._loop is not None:
            self.resume()
            self.listen_again()

    # Checks

    def assert_sent(self, name: str, times: int | None = None, **headers: Any) -> Action:
        """Check that an action has arrived; return the last one that matches.

        Args:
            name: of the action.
            times: the exact number of times; :data:`None` for at least once.
            headers: the expected headers.

        Raises:
            AssertionError: it has not arrived; the message lists similar actions and their differences.

        """
        return self.actions.assert_sent(name, times, **headers)

    def assert_not_sent(self, name: str, **headers: Any) -> None:
        """Check that no action with this name and these headers has arrived."""
        self.actions.assert_not_sent(name, **headers)

    # Called by sessions on the loop's thread

    def _shut(self) -> None:
        self.pbx.close()
        super()._shut()

    def make_session(self, sock: socket.socket) -> Session:
        """Return the session of an accepted socket."""
        return Session(self, self._accepted, sock, self.tls)

    def greet(self, session: Session) -> None:
        """Send the greeting."""
        banner = self.banner
        if banner is None:
            banner = f"Asterisk Call Manager/{self.ami_version}\r\n"
        elif isinstance(banner, str):
            banner = banner.removesuffix("\r\n") + "\r\n"
        session.send(banner)

    def logged_in(self, session: Session) -> None:
        """Note that a login was accepted; its answer is sent after this."""
        self.notify()

    def received(self, session: Session, action: Action) -> None:
        """Note that an action has arrived."""
        self.actions.add(action)

    def answer(self, session: Session, action: Action, release: Callable[[bytes], object]) -> bytes | None:
        """Return the answer to an action; :data:`None` if it is sent later."""
        name = action_name(action).lower()
        action_id = header(action, "ActionID")
        if not name:
            return error(action_id, "Missing action in request")
        if self.shutting_down:
            return error(action_id, "Asterisk is shutting down")
        if session.user is None and name not in BEFORE_LOGIN:
            return error(action_id, "Permission denied")
        if name in self._silent:
            return b""
        seconds, in_order = self._delays.get(name, (0.0, True))
        if not seconds:
            return self._answer_now(session, action, name, release)

        def later() -> None:
            send = release if in_order else session.connection.send
            answer = self._answer_now(session, action, name, send)
            if answer is not None:
                send(answer)

        self.loop.call_later(seconds, later)
        return None if in_order else b""

    def _answer_now(
        self, session: Session, action: Action, name: str, release: Callable[[bytes], object]
    ) -> bytes | None:
        action_id = header(action, "ActionID")
        scripts = self._scripts.get(name)
        if scripts:
            reply, times = scripts[0]
            if times is not None:
                scripts.popleft()
                if times > 1:
                    scripts.appendleft((reply, times - 1))
            return to_frames(reply(action, session) if callable(reply) else reply, action_id)
        known = HANDLERS.get(name)
        if known is None or self.major not in known.versions:
            spelled = action_name(action)
            return error(
                action_id,
                f"Invalid/unknown command: {spelled}. Use Action: ListCommands to show available commands.",
            )
        if known.bits and session.user is not None and not known.bits & session.user.write_bits:
            return error(action_id, "Permission denied")
        return known.function(Call(action, session, self, release))

    def _on_loop(self, function: Callable[..., Any], *args: Any) -> None:
        """Run a function on the loop's thread, or on this one while the loop does not run."""
        if self._loop is None:
            function(*args)
        else:
            self._loop.run(function, *args)
