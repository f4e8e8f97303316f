"""The bridge in front of real servers.

``PYAMI_BRIDGE_ORIGINATES`` is how many bridges are killed between an Originate and its answer (2 unless given).
"""

from __future__ import annotations

import dataclasses
import os
import random
import signal
import time
from collections import Counter
from functools import partial

import pytest

from pyami_sync import ActionError, ActionTimeout, connect, events
from pyami_sync.bridge import Bridge, BridgeClient, view_of
from pyami_sync.bridge.memory import MemoryTransport
from pyami_sync.live import Reducer
from pyami_sync.live.comparing import plain

from .support import ALL, leading, new_node, until
from .test_faults import Leading, answers

ORIGINATES = int(os.environ.get("PYAMI_BRIDGE_ORIGINATES", "2"))


def url_of(asterisk) -> str:
    user = asterisk.users["admin"]
    return f"ami://admin:{user.secret}@127.0.0.1:{asterisk.port}"


def test_events_lists_commands_calls_and_the_live_model(asterisk):
    node = new_node()
    transport = MemoryTransport()
    with Bridge({node: url_of(asterisk)}, transport, ttl=1.0, allowed=ALL) as bridge:
        until(lambda: leading(bridge, node))
        with BridgeClient(f"memory://x?node={node}", transport=transport, timeout=10) as ami:
            with connect(url_of(asterisk)) as direct:
                assert ami.server_version == direct.server_version
            assert ami.send("QueueStatus").complete is not None
            assert ami.command("core show version")[0].startswith("Asterisk")
            with ami.live() as live, ami.expect(events.Hangup) as hung_up:
                outcome = ami.originate("Local/100@default/n", wait=True, Application="Wait", Data="1")
                assert outcome.response == "Success"
                until(lambda: live.view().channels)
                assert hung_up.result(20).channel
            assert ami.gateway.sequence.lost == 0


def test_a_consumer_that_begins_with_a_snapshot_has_the_state_of_the_server(asterisk):
    node = new_node()
    transport = MemoryTransport()
    place = {"Channel": "Local/100@default/n", "Application": "Wait", "Data": "60", "Async": True}

    def picture(view):
        # No list tells since when a bridge is there: of those of earlier tests each model knows when it saw them first.
        bridges = {key: dataclasses.replace(each, since=None) for key, each in view.bridges.items()}
        tables = {"channels": view.channels, "bridges": bridges, "queues": view.queues}
        return {kind: {key: plain(each) for key, each in table.items()} for kind, table in tables.items()}

    with (
        Bridge({node: url_of(asterisk)}, transport, ttl=1.0, allowed=ALL, snapshots=0.1),
        connect(url_of(asterisk)) as direct,
        direct.live() as live,
    ):
        until(lambda: transport.snapshot(node))
        before = transport.snapshot(node).position
        for _ in range(4):
            direct.send("Originate", **place)
        until(lambda: transport.snapshot(node).position > before)
        client = BridgeClient(f"memory://x?node={node}&start=snapshot", transport=transport)
        stream = client.events()
        with client:
            reducer = Reducer(view=view_of(stream.get(10)))
            direct.send("Originate", **place)
            until(lambda: len(live.channels) >= 10, 30)
            # By calls: the halves of a Local channel end together, and channels come in any order.
            ending = sorted({channel.linkedid for channel in live.channels.values()})[:2]
            for channel in list(live.channels.values()):
                if channel.linkedid in ending:
                    direct.send("Hangup", Channel=channel.channel, check=False)
            direct.send("QueueAdd", Queue="support", Interface=f"Local/{node}@default", check=False)
            direct.send("UserEvent", UserEvent=node)
            while (event := stream.get(20)).get("UserEvent") != node:
                reducer.apply(event)  # later snapshots change nothing
            direct.send("QueueRemove", Queue="support", Interface=f"Local/{node}@default", check=False)
            assert reducer.view().channels

            def same():
                while stream.pending:
                    reducer.apply(stream.get(1))
                return picture(reducer.view()) == picture(live.view())

            try:
                until(same, 10)
            except AssertionError:
                assert picture(reducer.view()) == picture(live.view())
                raise
            finally:
                for channel in list(live.channels.values()):
                    direct.send("Hangup", Channel=channel.channel, check=False)


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * ORIGINATES)
def test_one_call_at_most_for_each_request(asterisk22, redis_server):
    node = new_node()
    chance = random.Random(3)
    url = f"{redis_server.url}?node={node}"
    outcomes: Counter[str] = Counter()
    placed: Counter[str] = Counter()
    bridge = Leading(redis_server.url, "b", 1.0, f"{node}={url_of(asterisk22)}")
    try:
        with connect(url_of(asterisk22)) as witness, BridgeClient(url, timeout=2.0) as client:
            # Each request names its channel, so that no other one is taken for it.
            @witness.on(events.Newchannel, where={"Uniqueid": f"{node}-*"})
            def note(event):
                placed[event["Uniqueid"]] += 1

            number = between = 0
            while between < ORIGINATES:
                number += 1
                until(lambda: answers(client), 30)
                name = f"{node}-{number:04d}"
                headers = {"Channel": "Local/100@default/n", "Application": "Wait", "Data": "0", "Async": True}
                future = client.submit("Originate", **headers, ChannelId=name, OtherChannelId=f"o{name[1:]}")
                time.sleep(chance.uniform(0.0, 0.006))
                between += not future.done()
                bridge.end(signal.SIGKILL)
                bridge = Leading(redis_server.url, f"b{number}", 1.0, f"{node}={url_of(asterisk22)}")
                try:
                    assert future.result(5).ok
                    outcome = "done"
                except ActionTimeout:
                    outcome = "unknown"
                except ActionError as exc:
                    outcome = "not run" if "has not run" in str(exc) else f"wrong: {exc}"
                outcomes[outcome] += 1
                if outcome == "done":
                    until(partial(placed.get, name), 10)
                elif outcome == "not run":
                    assert not placed[name]
            until(lambda: answers(client), 30)
            witness.ping()
    finally:
        bridge.end(signal.SIGKILL)
    print(f"\n{outcomes.total()} kills, {between} before the answer: {dict(outcomes)}; calls made {len(placed)}")
    assert set(outcomes) <= {"done", "unknown", "not run"}
    assert max(placed.values(), default=0) <= 1
