"""What every broker has to do: the same tests for memory, Redis and RabbitMQ."""

from __future__ import annotations

import contextlib
import math
import random
import time

import pytest

from pyami_sync.bridge import Answer, BrokerUnavailable, Fenced, Position, Request, Sequence, open_transport
from pyami_sync.bridge.transport import Lease

from .support import acquired, first, new_node, read_all, record, take_lease, until


def numbers(records):
    return [each.position.seq for each in records]


@pytest.fixture
def transport(transports):
    return transports()


def test_records_come_in_order_to_every_reader(transport):
    node = new_node()
    lease = take_lease(transport, node)
    readers = [transport.reader([node], {node: "first"}), transport.reader([node], {node: "first"})]
    sent = [first(lease), *(record(lease, seq, Text="ä\x01") for seq in range(2, 302))]
    transport.publish(lease, sent[:100], 5)
    transport.publish(lease, sent[100:], 5)
    for reader in readers:
        assert read_all(reader, 301) == sent
        reader.close()


def test_a_reader_begins_now_or_behind_a_place(transport):
    node = new_node()
    lease = take_lease(transport, node)
    transport.publish(lease, [first(lease), record(lease, 2), record(lease, 3)], 5)
    now = transport.reader([node], {})
    behind = transport.reader([node], {node: Position(lease.epoch, 2)})
    transport.publish(lease, [record(lease, 4)], 5)
    assert numbers(read_all(now, 1)) == [4]
    order = Sequence(node, Position(lease.epoch, 2))
    found = []
    while len(found) < 2:  # a broker may begin earlier: the rule drops that
        for each in behind.read(10, 0.5):
            found += order.accept(each)
    assert numbers(found) == [3, 4]
    assert order.lost == 0
    now.close()
    behind.close()


def test_a_batch_published_again_is_recognised(transport):
    node = new_node()
    lease = take_lease(transport, node)
    reader = transport.reader([node], {node: "first"})
    batch = [first(lease), record(lease, 2)]
    transport.publish(lease, batch, 5)
    transport.publish(lease, [*batch, record(lease, 3)], 5)
    order = Sequence(node)
    found = []
    while len(found) < 3:
        for each in reader.read(10, 0.5):
            found += order.accept(each)
    assert numbers(found) == [1, 2, 3]
    assert order.lost == 0
    reader.close()


def test_one_holds_a_lease_and_the_next_epoch_is_greater(transports):
    one, two = transports(), transports()
    node = new_node()
    lease = take_lease(one, node, "one")
    assert acquired(two, node, "two") is None
    assert one.renew([lease], 30) == [lease]
    assert until(lambda: one.leaders([node])).get(node).owner == "one"
    one.release(lease)
    other = take_lease(two, node, "two")
    assert other.epoch > lease.epoch
    assert one.renew([lease], 30) == []
    two.release(other)


def test_the_end_of_a_lease_is_known_before(transports, request):
    transport, node, other = transports(), new_node(), new_node()
    if "rabbitmq" in request.node.callspec.id:
        assert transport.vacancy([node]) == math.inf  # its server gives leases on
        return
    assert transport.vacancy([]) == math.inf
    transport.acquire([node], "a", 30.0, 1)
    assert 20 < transport.vacancy([node]) <= 30
    assert transport.vacancy([node, other]) == 0
    transport.acquire([other], "a", 10.0, 1)
    assert 5 < transport.vacancy([node, other]) <= 10


def test_leases_that_another_bridge_takes_meanwhile_are_made_up_for(redis_server, monkeypatch):
    transport = open_transport(redis_server.url)
    nodes = [new_node() for _ in range(4)]
    meanwhile = [nodes[:2]]

    def shuffle(free):
        while meanwhile:
            assert len(transport.acquire(meanwhile.pop(), "quicker", 30.0, 2)) == 2

    monkeypatch.setattr(random, "shuffle", shuffle)
    try:
        assert [lease.node for lease in transport.acquire(nodes, "a", 30.0, 2)] == nodes[2:]
    finally:
        transport.close()


def test_a_leader_whose_epoch_is_over_can_not_write(transports):
    one, two = transports(), transports()
    node = new_node()
    old = take_lease(one, node, "one")
    one.publish(old, [first(old)], 5)
    one.release(old)
    new = take_lease(two, node, "two")
    with pytest.raises(Fenced):
        one.publish(old, [record(old, 2)], 5)
    two.publish(new, [first(new)], 5)
    with pytest.raises(Fenced):
        one.publish(old, [record(old, 2)], 5)
    reader = two.reader([node], {node: "first"})
    assert [each.position for each in read_all(reader, 2)] == [Position(old.epoch, 1), Position(new.epoch, 1)]
    assert reader.read(10, 0.1) == []
    reader.close()
    two.release(new)


def test_most_leases_are_taken_and_no_more(transports):
    one, two = transports(), transports()
    nodes = [new_node() for _ in range(4)]
    mine = take_leases(one, nodes, "one", 2)
    assert one.acquire([node for node in nodes if node not in {each.node for each in mine}], "one", 30, 0) == []
    theirs = take_leases(two, nodes, "two", 4, 2)
    assert {each.node for each in mine} | {each.node for each in theirs} == set(nodes)


def take_leases(transport, nodes, owner, most, count=None):
    """Take leases, most at a time, until there are so many."""
    found: list[Lease] = []

    def take():
        with contextlib.suppress(BrokerUnavailable):
            found.extend(transport.acquire(nodes, owner, 30, most - len(found)))
        return len(found) == (count or most)

    until(take)
    return found


def test_a_request_is_taken_once_and_its_answer_reaches_who_asked(transports):
    one, two = transports(), transports()
    node = new_node()
    lease = take_lease(one, node)
    one.requests([lease], 0.05)
    request = Request(node, b"Action: Ping\r\n\r\n", f"me-{node}", "web", time.time() + 30)
    assert two.ask(request, 5) is None
    taken = []
    until(lambda: taken.extend(one.requests([lease], 0.1)) or taken)
    assert taken == [request]
    assert one.requests([lease], 0.1) == []
    assert two.withdraw(request) is False
    answer = Answer(request.id, "done", "", (b"Response: Success\r\n\r\n", b"\xff"))
    one.reply(request, answer)
    found = []
    until(lambda: found.extend(two.answers(request.requester, 0.1)) or found)
    assert found == [answer]


def test_a_request_for_a_node_that_nobody_has_led_is_refused(transport):
    request = Request(new_node(), b"Action: Ping\r\n\r\n", "me", "web", time.time() + 30)
    answer = transport.ask(request, 5)
    assert answer is not None
    assert (answer.outcome, answer.id) == ("refused", request.id)


def test_a_group_shares_and_a_fan_out_does_not(transport):
    node = new_node()
    lease = take_lease(transport, node)
    members = [transport.group(f"g-{node}", [node]) for _ in range(2)]
    transport.publish(lease, [record(lease, seq) for seq in range(1, 201)], 5)
    found = []

    def read():
        for member in members:
            got = member.read(20, 0.1)
            member.ack(got)
            found.extend(got)
        return len(found) >= 200

    until(read)
    assert sorted(each.record.position.seq for each in found) == list(range(1, 201))
    assert {each.tries for each in found} == {1}
    for member in members:
        member.close()


def test_what_is_retried_comes_again_with_its_count_and_is_buried(transport):
    node = new_node()
    lease = take_lease(transport, node)
    member = transport.group(f"g-{node}", [node])
    transport.publish(lease, [record(lease, 1)], 5)
    for tries in (1, 2, 3):
        [delivery] = until(lambda: member.read(10, 0.5))
        assert (delivery.tries, delivery.record.position.seq) == (tries, 1)
        if tries < 3:
            member.retry(delivery)
    member.bury(delivery, "ValueError: no")
    assert member.read(10, 0.2) == []
    member.close()


def test_the_latest_snapshot_is_kept(transports):
    transport, reader = transports(), transports()
    node = new_node()
    marker = {"Privilege": "bridge,all"}
    assert reader.snapshot(node) is None
    lease = take_lease(transport, node)
    transport.publish(lease, [first(lease), record(lease, 2, "Snapshot", **marker), record(lease, 3, "Snapshot")], 5.0)
    assert reader.snapshot(node).body == record(lease, 2, "Snapshot", **marker).body
    transport.publish(lease, [record(lease, 4, "Snapshot", **marker), record(lease, 5)], 5.0)
    found = until(lambda: (each := reader.snapshot(node)) and each.position.seq == 4 and each)
    rest = reader.reader([node], {node: found.position})
    until(lambda: any(each.position.seq == 5 for each in rest.read(100, 0.2)))
    rest.close()
