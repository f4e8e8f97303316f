"""A bridge in a process of its own, to be killed and stopped.

``python -m tests.bridge.leading BROKER NAME TTL NODE=URL …``
"""

from __future__ import annotations

import logging
import signal
import sys
import threading

from pyami_sync.bridge import Bridge, Rule, open_transport


def main(broker: str, name: str, ttl: str, *nodes: str) -> None:
    logging.basicConfig(level=logging.WARNING, format=f"{name} %(asctime)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    transport = open_transport(broker)
    targets = dict(node.split("=", 1) for node in nodes)
    with Bridge(targets, transport, name=name, ttl=float(ttl), allowed={"*": Rule(commands=("*",))}):
        ended.wait()
    transport.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
