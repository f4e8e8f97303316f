"""The whole way: from a server's socket over a broker to a client, and back."""

from __future__ import annotations

import os
import threading
import time

import pytest

from pyami_sync import ActionError, ActionTimeout, AMIClient, ClusterPool, Event, State, connect, events
from pyami_sync.bridge import (
    Bridge,
    BridgeClient,
    NotSupported,
    Position,
    Rule,
    Worker,
    event_of,
    open_transport,
    view_of,
)
from pyami_sync.bridge.leader import Leader
from pyami_sync.bridge.memory import MemoryTransport
from pyami_sync.live import Reducer

from .support import ALL, leading, new_node, until


@pytest.fixture
def node():
    return new_node()


def bridge_for(node, sim, transport, **options):
    return Bridge({node: sim.url}, transport, **{"ttl": 1.0, "allowed": ALL, **options})


def client_for(node, transport, **options):
    return BridgeClient(
        f"memory://unused?node={node}", transport=transport, **{"start": "first", "timeout": 5, **options}
    )


def collect(stream, last, timeout=20.0):
    """Return the events up to the one whose N is ``last``."""
    found = []
    deadline = time.monotonic() + timeout
    while not found or found[-1].get("N") != str(last):
        assert time.monotonic() < deadline, f"{len(found)} events came"
        found.append(stream.get(10))
    return found


def test_events_and_actions_go_over_every_broker(transports, sim, node):
    with bridge_for(node, sim, transports()) as bridge:
        until(lambda: leading(bridge, node))
        client = client_for(node, transports())
        stream = client.events()
        seen = []
        client.on(events.Hangup, seen.append)
        with client:
            for number in range(500):
                sim.emit("Hangup", N=number, Cause=16)
            found = collect(stream, 499)
            assert [event.name for event in found[:1]] == ["LeaderChanged"]
            hangups = [event for event in found if event.name == "Hangup"]
            assert [int(event["N"]) for event in hangups] == list(range(500))
            assert isinstance(hangups[0], events.Hangup)
            assert hangups[0].node == node
            assert client.ping() > 0
            assert client.send("CoreStatus").ok
            assert client.command("core show version")
            listed = client.send("QueueStatus")
            assert listed.complete is not None
            outcome = client.originate("Local/100@default", wait=True, Application="Wait", Data="0")
            assert outcome.name == "OriginateResponse"
            with pytest.raises(NotSupported, match="Filter needs a session of its own"):
                client.send("Filter", Operation="Add", Filter="x")
            until(lambda: len(seen) >= 500)
            assert client.position is not None
            assert client.gateway.sequence.lost == 0


def test_a_leader_that_starts_late_misses_nothing(sim, node, monkeypatch):
    start = Leader.start

    def start_late(leader):
        until(lambda: leader.client.state is State.CONNECTED)
        sim.emit("Foo", N=1)
        leader.client.send("Ping")  # the events before its answer have been read
        start(leader)

    monkeypatch.setattr(Leader, "start", start_late)
    transport = MemoryTransport()
    client = client_for(node, transport)
    stream = client.events()
    with bridge_for(node, sim, transport), client:
        found = collect(stream, 1)
    assert [event.name for event in found] == ["LeaderChanged", "FullyBooted", "Foo"]


def test_futures_of_actions(sim, node):
    transport = MemoryTransport()
    with bridge_for(node, sim, transport) as bridge, client_for(node, transport) as client:
        until(lambda: leading(bridge, node))
        futures = [client.submit("Ping") for _ in range(50)]
        assert all(future.result(5).ok for future in futures)
        with pytest.raises(TypeError):
            client.send(object())
        with pytest.warns(UserWarning, match="did you mean Timeout=") as caught:
            client.send("AbsoluteTimeout", Channel="Local/1", timeout=5, check=False)
        assert caught[0].filename == __file__


def test_a_standby_takes_over_and_the_gap_is_told(transports, sim, node):
    first = bridge_for(node, sim, transports(), name="one").start()
    until(lambda: leading(first, node))
    with bridge_for(node, sim, transports(), name="two") as second, client_for(node, transports()) as client:
        stream = client.events("LeaderChanged", "Foo")
        sim.emit("Foo", N=1)
        found = collect(stream, 1)
        first.close()
        until(lambda: leading(second, node))
        sim.emit("Foo", N=2)
        found += collect(stream, 2)
        told = [event.get("N") or event["Leader"] for event in found]
        assert told[-3:] == ["1", "two", "2"], [event.to_dict() for event in found]


def test_a_standby_takes_over_when_a_lease_runs_out_and_not_at_its_next_turn(sim):
    nodes = [new_node(), new_node()]
    transport = MemoryTransport()
    assert len(transport.acquire(nodes, "killed", 0.5, 2)) == 2
    transport.announce("killed", 0.7)  # it is counted for a while longer: until then one node is all that it may lead
    bridge = Bridge(dict.fromkeys(nodes, sim.url), transport, ttl=60.0)  # its turns are 20 s apart
    with bridge:
        until(lambda: all(map(bridge.leads, nodes)), 10.0)


def test_a_bridge_is_counted_for_as_long_as_its_leases(sim, node):
    calls = []

    class Noting(MemoryTransport):
        def announce(self, owner, ttl):
            calls.append("announce")
            return super().announce(owner, ttl)

        def renew(self, leases, ttl):
            calls.append("renew")
            return super().renew(leases, ttl)

    with bridge_for(node, sim, Noting()) as bridge:
        until(lambda: bridge.leads(node))
        assert calls[:2] == ["announce", "renew"]


def test_a_bridge_that_is_slow_to_begin_with_many_nodes_keeps_their_leases(sim, monkeypatch):
    transport = MemoryTransport()
    nodes = {new_node(): sim.url for _ in range(8)}
    taken = []
    add_node = ClusterPool.add_node

    def slow(self, *args, **options):
        time.sleep(0.1)
        taken.extend(transport.acquire(list(nodes), "rival", 30.0, 8))
        return add_node(self, *args, **options)

    monkeypatch.setattr(ClusterPool, "add_node", slow)
    with Bridge(nodes, transport, ttl=0.4) as bridge:
        until(lambda: taken or len(bridge.health().leaders) == 8)
    assert taken == []


def test_what_does_not_fit_is_counted_exactly_and_the_session_stays(sim, node):
    transport = MemoryTransport()
    with bridge_for(node, sim, transport, spool=100, batch=50) as bridge, client_for(node, transport) as client:
        until(lambda: leading(bridge, node))
        stream = client.events()
        sim.emit("Foo", N=0)
        found = collect(stream, 0)
        transport.available = False
        for number in range(1, 2001):
            sim.emit("Foo", N=number)
        until(lambda: bridge.health().leaders[0].lost > 0 and not bridge.health().broker)
        session = bridge.client(node)
        until(lambda: session.stats().events_received >= 2001)
        assert bridge.health().leaders[0].spool <= 101
        assert session.state is State.CONNECTED
        transport.available = True
        until(lambda: bridge.health().leaders[0].spool == 0)
        sim.emit("Foo", N=2001)
        found += collect(stream, 2001)
        numbers = [int(event["N"]) for event in found if event.name == "Foo"]
        lost = sum(int(event["Count"]) for event in found if event.name == "EventsLost")
        assert numbers == sorted(set(numbers))
        assert lost > 0
        assert len(numbers) + lost == 2002
        assert {event.name for event in found} <= {"Foo", "EventsLost", "LeaderChanged", "FullyBooted"}
        assert session.stats().losses == 0


def test_the_gap_of_the_bridges_own_session_is_in_the_stream(sim, node):
    transport = MemoryTransport()
    with bridge_for(node, sim, transport) as bridge, client_for(node, transport) as client:
        until(lambda: leading(bridge, node))
        stream = client.events("Foo", "ConnectionLost", "Reconnected")
        sim.emit("Foo", N=1)
        collect(stream, 1)
        sim.drop()
        until(lambda: bridge.client(node).stats().connects == 2)
        sim.emit("Foo", N=2)
        assert [event.name for event in collect(stream, 2)] == ["ConnectionLost", "Reconnected", "Foo"]


def test_snapshots_come_at_the_beginning_and_after_a_gap(sim, node):
    transport = MemoryTransport()
    with bridge_for(node, sim, transport, snapshots=60.0) as bridge:
        until(lambda: transport.snapshot(node))
        client = client_for(node, transport)
        stream = client.events("Snapshot", "Reconnected")
        with client:
            assert stream.get(10).name == "Snapshot"
            sim.drop()
            assert [stream.get(10).name for _ in range(2)] == ["Reconnected", "Snapshot"]
        assert bridge.client(node).stats().connects == 2


def test_a_late_consumer_begins_with_the_state_and_keeps_it_without_asking_the_server(sim, node):
    transport = MemoryTransport()
    with bridge_for(node, sim, transport, snapshots=0.05), connect(sim.url) as direct:
        direct.send("QueueAdd", Queue="support", Interface="Local/107@default/n", MemberName="Erika")

        def known():
            found = transport.snapshot(node)
            members = view_of(event_of(found)).queues["support"].members if found else ()
            return any(member.name == "Erika" for member in members)

        until(known)
        asked = len(sim.actions)
        late = client_for(node, transport, start="snapshot")
        stream = late.events()
        with late:
            first = stream.get(10.0)
            reducer = Reducer(view=view_of(first))
            direct.send("QueuePause", Queue="support", Interface="Local/107@default/n", Paused="true")
            while not any(member.paused for member in reducer.view().queues["support"].members):
                event = stream.get(10.0)
                assert event.name != "Reconnected"
                reducer.apply(event)
        names = {each.name for each in sim.actions[asked:]}
        assert names <= {"QueuePause", "Ping", "CoreSettings"}


def test_without_a_snapshot_a_client_begins_now(sim, node):
    transport = MemoryTransport()
    with bridge_for(node, sim, transport) as bridge:
        until(lambda: leading(bridge, node))
        with client_for(node, transport, start="snapshot") as client:
            with client.expect("Foo") as seen:
                sim.emit("Foo")
            assert seen.result().name == "Foo"


@pytest.mark.parametrize("event", [Event([("Event", "Foo")]), Event([("Event", "Snapshot"), ("State", "?")])])
def test_what_is_no_snapshot_has_no_view(event):
    with pytest.raises(ValueError):
        view_of(event)


def test_the_allow_list_refuses_and_logs(sim, node, caplog):
    transport = MemoryTransport()
    rules = {"web": Rule(actions=("Ping", "Command"), commands=("core show*",))}
    with bridge_for(node, sim, transport, allowed=rules) as bridge:
        until(lambda: leading(bridge, node))
        with client_for(node, transport, user="web") as client:
            assert client.ping() > 0
            assert client.command("core show version")
            for wrong in ("core  stop now", "database show"):
                with pytest.raises(ActionError, match="may not run this console command"):
                    client.command(wrong)
            with pytest.raises(ActionError, match="may not run Originate"):
                client.originate("Local/1@x", Application="Wait")
        with client_for(node, transport, user="cron") as client, pytest.raises(ActionError, match="no rule for 'cron'"):
            client.ping()
        sim.assert_not_sent("Originate")
    assert "may not run Originate" in caplog.text


def test_an_expired_request_never_runs(sim, node):
    transport = MemoryTransport()
    with bridge_for(node, sim, transport) as bridge:
        until(lambda: leading(bridge, node))
    with client_for(node, transport) as client:
        with pytest.raises(ActionError, match="it has not run"):
            client.send("Originate", Channel="Local/1@x", Application="Wait", Timeout=500, timeout=0.5)
        with bridge_for(node, sim, transport) as bridge:
            until(lambda: leading(bridge, node))
            assert client.ping() > 0
        sim.assert_not_sent("Originate")


def test_an_action_whose_answer_is_lost_may_have_run(sim, node):
    transport = MemoryTransport()
    sim.silence("Originate")
    with bridge_for(node, sim, transport) as bridge, client_for(node, transport) as client:
        until(lambda: leading(bridge, node))
        with pytest.raises(ActionTimeout, match="may still run"):
            client.send("Originate", Channel="Local/1@x", Application="Wait", Timeout=500, timeout=0.5)
        sim.assert_sent("Originate", times=1)


def test_a_node_that_is_down_refuses(node):
    transport = MemoryTransport()
    with Bridge({node: "ami://a:b@127.0.0.1:1"}, transport, ttl=1.0, allowed=ALL) as bridge:
        until(lambda: bridge.leads(node))
        with client_for(node, transport) as client, pytest.raises(ActionError, match="is not connected"):
            client.ping()


def test_connect_takes_a_brokers_url(sim, node, monkeypatch):
    url = f"memory://{node}?node={node}&user=web"
    with bridge_for(node, sim, open_transport(url)) as bridge:
        until(lambda: leading(bridge, node))
        with connect(url, timeout=3) as client:
            assert isinstance(client, BridgeClient)
            assert client.ping() > 0
        monkeypatch.setenv("AMI_URL", url)
        with AMIClient.from_url() as client:
            assert client.ping() > 0
    with pytest.raises(ValueError, match="which node"):
        connect("memory://x")
    with pytest.raises(NotSupported, match="everybody's"):
        connect("memory://x?node=a", event_filter="auto")
    with pytest.raises(ValueError, match="bridge's matter"):
        connect(url, secret="x")
    with pytest.raises(ValueError, match="no broker transport"):
        open_transport("kafka://x")


def test_a_client_goes_on_behind_a_place(sim, node):
    transport = MemoryTransport()
    with bridge_for(node, sim, transport) as bridge:
        until(lambda: leading(bridge, node))
        for number in range(10):
            sim.emit("Foo", N=number)
        client = client_for(node, transport)
        stream = client.events()
        with client:
            collect(stream, 9)
            place = client.position
        sim.emit("Foo", N=10)
        client = client_for(node, transport, start=str(place))
        stream = client.events()
        with client:
            assert [event["N"] for event in collect(stream, 10)] == ["10"]
    assert isinstance(place, Position)


def test_only_who_knows_the_secret_may_use_the_gateway(sim, node):
    transport = MemoryTransport()
    with client_for(node, transport) as client:
        with pytest.raises(Exception, match="rejected"):
            connect("127.0.0.1", port=client.gateway.port, username="bridge", secret="guess", reconnect=None)
        assert client.gateway.secret not in repr(client)


@pytest.fixture(params=["memory", "redis", "rabbitmq"])
def broker(request):
    """The URL of a broker."""
    if request.param == "memory":
        return f"memory://{new_node()}"
    return request.getfixturevalue("redis_server" if request.param == "redis" else "rabbit_server").url


def test_a_pool_has_nodes_behind_a_broker(broker, sim, node):
    transport = open_transport(broker)
    with bridge_for(node, sim, transport) as bridge, ClusterPool(username="unused", secret="unused") as pool:
        until(lambda: leading(bridge, node))
        with pool.events("Foo") as stream:
            made = pool.add_node("bridged", f"{broker}?node={node}", tags=["far"])
            pool.add_node("direct", sim.url)
            assert made.connected
            assert pool.send_to("bridged", "Ping").ok
            assert set(pool.broadcast("Ping")) == {"bridged", "direct"}
            assert pool["bridged"].command("core show version")
            with pytest.raises(ActionError, match="Filter needs a session of its own"):
                pool.send_to("bridged", "Filter", Operation="Add", Filter="x")
            pool.send_to("bridged", "UserEvent", UserEvent="X")
            sim.emit("Foo")
            assert {stream.get(10).node, stream.get(10).node} == {"bridged", "direct"}
            with pool.live("queues") as live:
                assert set(live) == {"bridged", "direct"}
            pool.remove_node("bridged")
            assert pool.send_to("direct", "Ping").ok
        pool.add_node(node, broker)  # the node's own id, unless the URL names another
        assert pool.send_to(node, "Ping").ok
    transport.close()


def test_a_pool_may_be_given_up_before_its_bridged_nodes_are_used():
    with pytest.raises(ValueError, match="position"):
        ClusterPool({"paris": "memory://x?start=never"})
    ClusterPool({"paris": "memory://x"}).close()


@pytest.mark.parametrize("opened", [False, True])
def test_a_forked_child_has_a_client_of_its_own(redis_server, sim, node, opened):
    transport = open_transport(redis_server.url)
    client = AMIClient.from_url(f"{redis_server.url}?node={node}", timeout=5)
    with bridge_for(node, sim, transport) as bridge:
        until(lambda: leading(bridge, node))
        if opened:
            client.open()
            assert client.ping() > 0
        read, write = os.pipe()
        child = os.fork()
        if not child:
            result = "no answer"
            try:
                client.open()
                stream = client.events("Foo")
                result = f"{client.ping() > 0} {client.gateway.port}"
                os.write(write, b"ready")
                result += " " + stream.get(10)["N"]
            except BaseException as exc:
                result = repr(exc)
            finally:
                os.write(write, result.encode())
                os._exit(0)
        os.close(write)
        with open(read, "rb") as pipe:
            assert pipe.read(5) == b"ready"
            sim.emit("Foo", N=1)
            answered, port, number = pipe.read().decode().split()
        os.waitpid(child, 0)
        assert (answered, number) == ("True", "1")
        assert int(port) != client.gateway.port
        client.open()
        assert client.ping() > 0
        client.close()
    transport.close()


def test_a_worker_handles_each_event_and_buries_what_fails(transports, sim, node):
    handled: list[str] = []
    lock = threading.Lock()

    def handle(event, record):
        if event.get("N") == "3":
            raise ValueError("no")
        with lock:
            handled.append(event["N"])

    with bridge_for(node, sim, transports()) as bridge:
        until(lambda: leading(bridge, node))
        workers = [Worker(transports(), f"g-{node}", [node], handle, tries=3, names=["Foo"]) for _ in range(2)]
        for worker in workers:
            worker.start()
            assert worker.wait_joined(10)
        for number in range(20):
            sim.emit("Foo", N=number)
        until(lambda: len(handled) >= 19 and sum(worker.buried for worker in workers) == 1)
        for worker in workers:
            worker.close()
    assert sorted(handled, key=int) == [str(number) for number in range(20) if number != 3]
    assert sum(worker.failed for worker in workers) == 3


def test_bridges_share_the_nodes(sim):
    transport = MemoryTransport()
    nodes = {new_node(): sim.url for _ in range(6)}
    with Bridge(nodes, transport, ttl=0.5, allowed=ALL) as one:
        until(lambda: len(one.health().leaders) == 6)
        with Bridge(nodes, transport, ttl=0.5, allowed=ALL) as two:
            until(lambda: len(one.health().leaders) == 3 and len(two.health().leaders) == 3)
            assert {each.node for each in one.health().leaders} | {each.node for each in two.health().leaders} == set(
                nodes
            )
        until(lambda: len(one.health().leaders) == 6)
