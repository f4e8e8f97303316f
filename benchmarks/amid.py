"""A publisher as wazo-amid is one: each AMI event is read, made into JSON and published with kombu.

``python -m benchmarks.amid BROKER PORT NODE [confirm]`` is that process, for :mod:`benchmarks.bridge`, which reads with
:class:`Reader` what comes. Without ``confirm`` nobody learns whether the broker has stored an event, as is the custom;
with it, kombu waits for the broker after each one.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread
from typing import Any

from kombu import Connection, Consumer, Exchange, Producer, Queue

__all__ = ["Reader"]


def exchange_of(node: str) -> Any:
    """Return the exchange that a node's events go to."""
    return Exchange(f"amid-{node}", type="topic", durable=True)


def login(sock: socket.socket) -> None:
    """Log in, and wait for the answer."""
    sock.sendall(b"Action: Login\r\nUsername: admin\r\nSecret: secret\r\n\r\n")
    seen = b""
    while not seen.endswith(b"\r\n\r\n"):
        seen += sock.recv(65536)


def events_of(sock: socket.socket) -> Iterator[dict[str, str]]:
    """Return the headers of each event."""
    buffer = b""
    while data := sock.recv(65536):
        *frames, buffer = (buffer + data).split(b"\r\n\r\n")
        for frame in frames:
            yield dict(line.split(": ", 1) for line in frame.decode().split("\r\n"))


class Publisher:
    """Publishes the events of one server on a thread of its own."""

    def __init__(self, broker: str, port: int, node: str, confirm: bool) -> None:
        self.published = 0
        self._sock = socket.create_connection(("127.0.0.1", port))
        login(self._sock)
        self._connection = Connection(broker, transport_options={"confirm_publish": confirm})
        self._producer = Producer(self._connection, exchange_of(node), auto_declare=True)
        Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        for event in events_of(self._sock):
            name = event["Event"]
            body = json.dumps({"name": name, "data": event})
            self._producer.publish(
                body, f"ami.{name}", content_type="application/json", headers={"name": name}, retry=True
            )
            self.published += 1


class Reader:
    """Reads what a publisher has published; makes the exchange and a durable queue."""

    def __init__(self, broker: str, node: str) -> None:
        self._connection = Connection(broker)
        queue = Queue(f"amid-{node}", exchange_of(node), "ami.#", durable=True)
        self._found: list[dict[str, str]] = []
        self._consumer = Consumer(self._connection.channel(), [queue], on_message=self._take, no_ack=True)
        self._consumer.consume()

    def _take(self, message: Any) -> None:
        self._found.append(message.payload["data"])

    def read(self, timeout: float) -> list[dict[str, str]]:
        """Return the headers of the events that have come; waits for the first."""
        with suppress(TimeoutError):
            self._connection.drain_events(timeout=timeout)
        found, self._found = self._found, []
        return found

    def close(self) -> None:
        """Delete the queue and the exchange."""
        self._consumer.cancel()
        queue = self._consumer.queues[0]
        queue.delete()
        queue.exchange.delete()
        self._connection.release()


def main(broker: str, port: str, node: str, *more: str) -> None:
    """Speak with the benchmark as a bridge does there."""
    publisher = Publisher(broker, int(port), node, "confirm" in more)
    print("ready", flush=True)
    before = time.process_time()
    while sys.stdin.readline() == "published?\n":
        print(publisher.published, flush=True)
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{time.process_time() - before:.3f} {publisher.published} 0 {size}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
