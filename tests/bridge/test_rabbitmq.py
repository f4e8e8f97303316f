"""What only RabbitMQ's transport does."""

from __future__ import annotations

import pytest

from pyami_sync import Event
from pyami_sync.bridge import Position, make_record, open_transport

from .support import first, new_node, read_all, record, take_lease

pytest.importorskip("pika")


def test_frames_are_those_that_pika_makes():
    from pika.frame import decode_frame

    from pyami_sync.bridge.rabbitmq_messages import EXCHANGE, frames_of, properties_of

    made = make_record("pä.ris", Position(1_700_000_000, 17), Event([("Event", "Foo"), ("Name", "Zoë")]), now=1.5)
    data = frames_of(made, 7)
    frames = []
    while data:
        size, frame = decode_frame(data)
        frames.append(frame)
        data = data[size:]
    method, header, body = frames
    assert {frame.channel_number for frame in frames} == {7}
    assert (method.method.exchange, method.method.routing_key) == (EXCHANGE, made.key)
    assert not method.method.mandatory
    assert not method.method.immediate
    assert header.body_size == len(made.body)
    assert header.properties == properties_of(made)
    assert body.fragment == made.body


def test_a_body_may_be_longer_than_a_frame(rabbit_server):
    transport = open_transport(rabbit_server.url)
    node = new_node()
    try:
        lease = take_lease(transport, node)
        sent = [first(lease), record(lease, 2, Long="x" * 300_000), record(lease, 3)]
        transport.publish(lease, sent, 10.0)
        reader = transport.reader([node], {node: "first"})
        try:
            assert read_all(reader, 3) == sent
        finally:
            reader.close()
    finally:
        transport.close()
