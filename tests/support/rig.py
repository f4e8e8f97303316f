"""A connection in the hands of a test, which holds the server's end of its socket."""

from __future__ import annotations

import socket
import threading
import time

from pyami_sync.connection.connection import Connection
from pyami_sync.connection.pending import PendingRequests
from pyami_sync.connection.request import FutureRequest
from pyami_sync.connection.transport import make_transport
from pyami_sync.engine.engine import Engine
from pyami_sync.engine.futures import DetachedFuture
from pyami_sync.vocabulary.catalogue.answers import ANSWERS
from pyami_sync.vocabulary.model import event_class
from pyami_sync.wire.action import Action
from pyami_sync.wire.message import Message
from pyami_sync.wire.protocol import Limits

from .peer import GREETING, eventually

PING = Action("Ping")


class Owner:
    """Gets what a connection reports."""

    def __init__(self):
        self.events, self.ends, self.taps, self.threads = [], [], [], set()
        self.fail = None

    def publish(self, frames, origin):
        self.threads.add(threading.current_thread().name)
        if self.fail is not None:
            raise self.fail
        self.events += frames

    def ended(self, connection, exc):
        self.threads.add(threading.current_thread().name)
        self.ends.append(exc)

    def tapped(self, direction, frames):
        self.taps += [(direction, frame) for frame in frames]


class Stream:
    """What only blocks: no descriptor, no timeouts."""

    def __init__(self, sock):
        self._sock = sock

    def recv(self, size):
        return self._sock.recv(size)

    def sendall(self, data):
        self._sock.sendall(data)

    def shutdown(self, how):
        self._sock.shutdown(how)

    def close(self):
        self._sock.close()


class Rig:
    """A connection, and the server's end of its socket in the hands of the test."""

    def __init__(self, kind, **limits):
        self.mine, self.sock = socket.socketpair()
        self.sock.settimeout(15)
        self.engine, self.owner = Engine("pyami-test"), Owner()
        limits = Limits(**limits)
        self.pending = PendingRequests("p-", limits, event_class)
        self.connection = Connection(
            self.engine,
            make_transport(Stream(self.mine) if kind == "stream" else self.mine),
            self.pending,
            self.owner,
            limits=limits,
            encoding="utf-8",
            node=None,
            find_rule=lambda name: ANSWERS.get(name.lower()),
        )
        self.greeted = threading.Event()
        self.connection.on_greeted = self.greeted.set
        self.buffer = b""
        self.pool = []

    def start(self, greeting=GREETING):
        self.connection.start()
        if greeting:
            self.sock.sendall(greeting)
            self.wait_greeting()
        return self

    def wait_greeting(self):
        assert self.greeted.wait(10)
        # The engine thread may still be at it, and a caller that comes now could not lead.
        eventually(lambda: not self.connection._reading.holder or self.connection.close_exc)
        return self.connection.greeting()

    def says(self, text):
        self.sock.sendall(text.replace("\n", "\r\n").encode())

    def hears(self):
        """The next action."""
        while b"\r\n\r\n" not in self.buffer:
            chunk = self.sock.recv(65536)
            assert chunk, "closed"
            self.buffer += chunk
        frame, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return Message.from_bytes(frame)

    def begin(self, action=PING, timeout=15.0):
        """Call on another thread."""
        outcome = Outcome()
        thread = threading.Thread(target=outcome.run, args=(self.connection.call, action, timeout))
        self.pool.append(thread)
        thread.start()
        return outcome

    def submit(self, action=PING, timeout=15.0):
        future = DetachedFuture(lambda job: job())
        key, rule = self.connection.make_key(action), self.connection.find_rule(action.name)
        call = FutureRequest(action, key, rule, timeout, time.monotonic(), future, True)
        self.connection.send(call)
        return future

    def close(self):
        self.connection.close()
        self.engine.close()
        self.sock.close()
        self.mine.close()
        for thread in self.pool:
            thread.join(10)
            assert not thread.is_alive()


class Outcome:
    def __init__(self):
        self.done, self.value = threading.Event(), None

    def run(self, function, *args):
        try:
            self.value = function(*args)
        except BaseException as exc:
            self.value = exc
        self.done.set()

    def get(self, seconds=15):
        assert self.done.wait(seconds)
        return self.value
