"""The other end of the socket, played by a test: a server that says exactly what it is told to.

Fakes sit here, at the bytes, and nowhere inside the package. For a server that behaves like Asterisk see
:class:`pyami_sync.testing.Simulator`; this one is for saying what no server should.
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from pyami_sync.wire.message import Message

GREETING = b"Asterisk Call Manager/9.0.0\r\n"
CHALLENGE = "123456789"
SECRET = "s3cr3t-hunter2"
KEY = hashlib.md5((CHALLENGE + SECRET).encode()).hexdigest()

Answer = bytes | str | Callable[["Peer.Link", Message], "bytes | str | None"] | None


def eventually(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    """Wait until a condition holds; give what it gave."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it did not come to that in time"
        time.sleep(0.002)
    return found


def run_timers_at_once(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no thread continue that has set a timer until the timer has run; a loaded machine may hold it up so."""
    call_at = engine.call_at

    def held_up(when: float, callback: Callable[[], None]) -> Any:
        ran = threading.Event()
        timer = call_at(when, lambda: (callback(), ran.set()))
        if not engine.on_own_thread:
            assert ran.wait(10)
        return timer

    monkeypatch.setattr(engine, "call_at", held_up)


class Peer:
    """A listening socket. Each connection is greeted, logged in and answered as the attributes say.

    Answers to actions stand in ``answers`` by the action's name in lower case: text in which ``{id}`` is the
    ActionID and LF ends a line, bytes as they are, a function of link and action, or None for silence. What
    has no entry is answered with ``Response: Success``.
    """

    def __init__(self, *, greeting: bytes = GREETING, context: ssl.SSLContext | None = None, **answers: Answer):
        self.greeting = greeting
        self.context = context
        self.answers: dict[str, Answer] = {name.lower(): answer for name, answer in answers.items()}
        self.links: list[Peer.Link] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self._listener.getsockname()
        self._closed = False
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._spawn(self._accept)

    def _spawn(self, target: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=target, args=args, name="peer", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closed:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            link = Peer.Link(self, sock)
            with self._changed:
                self.links.append(link)
                self._changed.notify_all()
            self._spawn(link.serve)

    @property
    def link(self) -> Peer.Link:
        """The latest connection; waits for one."""
        return eventually(lambda: self.links and self.links[-1])

    @property
    def actions(self) -> list[Message]:
        """What came in, over all connections."""
        return [action for link in self.links for action in link.actions]

    def names(self) -> list[str]:
        return [action["Action"] for action in self.actions]

    def wait_for(self, name: str, count: int = 1) -> Message:
        """Wait for an action of that name; give the latest."""
        return eventually(lambda: [a for a in self.actions if a["Action"].lower() == name.lower()][count - 1 :])[-1]

    def options(self, **more: Any) -> dict[str, Any]:
        return {"host": self.host, "port": self.port, "username": "admin", "secret": SECRET, "keepalive": None, **more}

    def stop_listening(self) -> None:
        """Refuse further connections."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()

    def close(self) -> None:
        self._closed = True
        self.stop_listening()
        for link in self.links:
            link.close()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    class Link:
        """One connection."""

        def __init__(self, peer: Peer, sock: socket.socket) -> None:
            self.peer = peer
            self.sock: Any = sock
            self.actions: list[Message] = []
            self.received = b""
            self.reads: list[bytes] = []
            """What each read gave; of TLS, a record."""
            self.ended = False
            self._sending = threading.Lock()
            self._hold = threading.Event()
            self._hold.set()

        def serve(self) -> None:
            buffer = b""
            try:
                if self.peer.context is not None:
                    self.sock = self.peer.context.wrap_socket(self.sock, server_side=True)
                self.send(self.peer.greeting)
                while True:
                    self._hold.wait()
                    chunk = self.sock.recv(65536)
                    if not chunk:
                        break
                    self.reads.append(chunk)
                    self.received += chunk
                    buffer += chunk
                    *frames, buffer = buffer.split(b"\r\n\r\n")
                    for frame in frames:
                        self._take(Message._wire(frame))
            except (OSError, ValueError):
                pass
            finally:
                self.ended = True
                self.sock.close()

        def _take(self, action: Message) -> None:
            self.actions.append(action)
            name = action.get("Action", "").lower()
            answer = self.peer.answers.get(name, ANSWERS.get(name, "Response: Success\n\n"))
            if callable(answer):
                answer = answer(self, action)
            if answer is not None:
                self.say(answer, action)
            if name == "logoff":
                self.close()

        def say(self, text: bytes | str, action: Message | None = None) -> None:
            """Send text, with LF for CR LF and the ActionID of an action behind its first line."""
            if isinstance(text, str):
                action_id = action.get("ActionID") if action is not None else None
                if "{id}" in text:
                    text = text.replace("{id}", action_id or "")
                elif action_id and text.startswith("Response:"):
                    text = text.replace("\n", f"\nActionID: {action_id}\n", 1)
                text = text.replace("\n", "\r\n").encode()
            self.send(text)

        def send(self, data: bytes) -> None:
            with self._sending:
                self.sock.sendall(data)

        def hold(self) -> None:
            """Read nothing more."""
            self._hold.clear()

        def release(self) -> None:
            self._hold.set()

        def reset(self) -> None:
            """End with a reset instead of a tidy end."""
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self._hold.set()
            self.sock.shutdown(socket.SHUT_RD)

        def close(self) -> None:
            self._hold.set()
            try:
                self.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def _login(link: Peer.Link, action: Message) -> str:
    if action.get("Username") == "admin" and (action.get("Key") == KEY or action.get("Secret") == SECRET):
        return "Response: Success\nMessage: Authentication accepted\n\n"
    return "Response: Error\nMessage: Authentication failed\n\n"


ANSWERS: dict[str, Answer] = {
    "challenge": f"Response: Success\nChallenge: {CHALLENGE}\n\n",
    "login": _login,
    "ping": "Response: Success\nPing: Pong\n\n",
    "logoff": "Response: Goodbye\nMessage: Thanks for all the fish.\n\n",
    "events": "Response: Success\nEvents: On\n\n",
}


@functools.cache
def certificates() -> dict[str, str]:
    """PEM files, made once: an authority, a server's and a client's certificate, and an unrelated authority."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pyami-certificates-"))
    atexit.register(shutil.rmtree, folder)

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    made = {}
    for name in ("ca", "other"):
        made[name] = str(folder / f"{name}.pem")
        made[f"{name}_key"] = str(folder / f"{name}.key")
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl(
            "req", "-x509", *new_key, "-keyout", made[f"{name}_key"], "-out", made[name], "-subj", f"/CN={name}", *usage
        )
    for name, extension in (
        ("server", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
        ("client", "basicConstraints=CA:FALSE"),
    ):
        made[name], made[f"{name}_key"] = str(folder / f"{name}.pem"), str(folder / f"{name}.key")
        request, extensions = str(folder / "request"), folder / "extensions"
        extensions.write_text(extension + "\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
        openssl("req", *new_key, "-keyout", made[f"{name}_key"], "-out", request, "-subj", f"/CN={name}")
        openssl(
            *("x509", "-req", "-in", request, "-CA", made["ca"], "-CAkey", made["ca_key"], "-CAcreateserial"),
            *("-extfile", str(extensions), "-out", made[name]),
        )
    return made


def server_context(*, ask_client: bool = False) -> ssl.SSLContext:
    made = certificates()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made["server"], made["server_key"])
    if ask_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(made["ca"])
    return context
