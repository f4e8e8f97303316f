"""Many nodes shared by several bridges, of which some are killed and others added.

``PYAMI_BRIDGE_NODES`` and ``PYAMI_BRIDGE_PROCESSES`` say how many (30 and 3 unless given).
"""

from __future__ import annotations

import math
import os
import random
import signal
import time
from collections import Counter

import pytest

from pyami_sync.bridge import open_transport

from .support import new_node, until
from .test_faults import Leading

NODES = int(os.environ.get("PYAMI_BRIDGE_NODES", "30"))
PROCESSES = int(os.environ.get("PYAMI_BRIDGE_PROCESSES", "3"))
ROUNDS = int(os.environ.get("PYAMI_BRIDGE_ROUNDS", "2"))


@pytest.mark.slow
@pytest.mark.timeout(120 + 60 * ROUNDS)
def test_each_node_has_one_leader_and_the_load_evens_out(redis_server, sim):
    ttl = 3.0
    chance = random.Random(2)
    nodes = [new_node() for _ in range(NODES)]
    arguments = [f"{node}={sim.url}" for node in nodes]
    url = f"{redis_server.url}?maxlen=100"
    transport = open_transport(url)
    names = iter(f"b{number}" for number in range(1000))
    bridges = [Leading(url, next(names), ttl, *arguments) for _ in range(PROCESSES)]

    def load():
        return Counter(lease.owner for lease in transport.leaders(nodes).values())

    def even():
        found = load()
        alive = {each.name for each in bridges}
        share = math.ceil(NODES / len(bridges))
        return set(found) <= alive and found.total() == NODES and max(found.values()) <= share

    def settled():
        # A session for each node, and none more: no node has two leaders.
        return even() and len(sim.sessions) == NODES

    try:
        until(settled, 60)
        times = []
        for _ in range(ROUNDS):
            victims = chance.sample(bridges, chance.randint(1, max(1, len(bridges) // 3)))
            for each in victims:
                bridges.remove(each)
                each.end(signal.SIGKILL)
            killed = time.monotonic()
            dead = {each.name for each in victims}
            until(lambda dead=dead: not dead & set(load()) and load().total() == NODES, 30)
            times.append((time.monotonic() - killed) / ttl)
            added = chance.randint(0, PROCESSES + 2 - len(bridges))
            bridges += [Leading(url, next(names), ttl, *arguments) for _ in range(added)]
            until(settled, 60)
            told = f"{len(dead)} killed, all nodes led again after {times[-1]:.2f} lease times; {added} added"
            print(f"\n{told}: {sorted(load().values())}")
    finally:
        for each in bridges:
            each.end(signal.SIGKILL)
        transport.close()
    assert max(times) < 2.0
