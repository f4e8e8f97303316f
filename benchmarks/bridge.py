"""What the bridge carries: events a second, how late they are, and what they cost.

``python -m benchmarks.bridge redis://… --pid <of the broker>``. A process that speaks just enough AMI writes events of
420 bytes as fast as they are read; a bridge publishes them in a process of its own; this process reads them off the
broker and makes events of them. Beside it stands what the broker takes from its client library alone, and with RabbitMQ
a publisher like wazo-amid's (:mod:`benchmarks.amid`).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyami_sync import Event, connect
from pyami_sync.bridge import Bridge, Rule, Sequence, event_of, open_transport
from pyami_sync.bridge.transport import Reader
from pyami_sync.testing import Simulator

__all__: list[str] = []

OWN, UNCONFIRMED, CONFIRMED = "bridge", "kombu", "kombu with confirms"
SIZE = 420
HEAD = b"Event: Newexten\r\nPrivilege: dialplan,all\r\nN: %d\r\nSent: %.6f\r\n"
HEADERS = {
    "Channel": "PJSIP/1101-00000001",
    "ChannelState": "6",
    "ChannelStateDesc": "Up",
    "CallerIDNum": "1101",
    "CallerIDName": "Alice",
    "ConnectedLineNum": "1102",
    "ConnectedLineName": "Bob",
    "Language": "en",
    "Context": "internal",
    "Exten": "1102",
    "Priority": "3",
    "Uniqueid": "1700000000.1",
    "Linkedid": "1700000000.1",
    "Application": "Dial",
}
REST = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items()).encode() + b"AppData: "


def frame(number: int, now: float) -> bytes:
    """Return an event of ``SIZE`` bytes."""
    head = HEAD % (number, now) + REST
    return head + b"x" * (SIZE - len(head) - 4) + b"\r\n\r\n"


def serve(listener: socket.socket, count: int, rate: float) -> None:
    """Accept one session, log it in, and write events to it when it says so on standard input."""
    sock, _ = listener.accept()
    sock.sendall(b"Asterisk Call Manager/11.0.0\r\n")
    pid = os.fork()
    if not pid:
        buffer = b""
        while data := sock.recv(65536):
            buffer += data
            while b"\r\n\r\n" in buffer:
                action, _, buffer = buffer.partition(b"\r\n\r\n")
                found = re.search(rb"ActionID: (\S+)", action)
                more = b"Challenge: 1\r\n" if b"Challenge" in action else b""
                identity = found[1] if found else b""
                sock.sendall(b"Response: Success\r\nActionID: %b\r\n%bMessage: ok\r\n\r\n" % (identity, more))
        os._exit(0)
    sys.stdin.readline()
    if not rate:
        for begin in range(0, count, 200):
            now = time.time()
            sock.sendall(b"".join(frame(number, now) for number in range(begin, min(count, begin + 200))))
    else:
        begun = time.monotonic()
        for number in range(count):
            late = begun + number / rate - time.monotonic()
            if late > 0:
                time.sleep(late)
            sock.sendall(frame(number, time.time()))
    sys.stdin.readline()
    os.kill(pid, 9)
    os._exit(0)


def lead(broker: str, port: int, *names: str) -> None:
    """Be the bridge, until standard input ends; say what it cost."""
    transport = open_transport(broker)
    nodes = dict.fromkeys(names, f"ami://admin:secret@127.0.0.1:{port}")
    with Bridge(nodes, transport, ttl=5.0, spool=1_000_000, allowed={"*": Rule()}) as bridge:
        while not bridge.health().ready or len(bridge.health().leaders) < len(nodes):
            time.sleep(0.01)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        before = time.process_time()
        while sys.stdin.readline() == "published?\n":
            sys.stdout.write(f"{bridge.health().leaders[0].published}\n")
            sys.stdout.flush()
        spent = time.process_time() - before
        stats = bridge.health().leaders[0]
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        sys.stdout.write(f"{spent:.3f} {stats.published} {stats.lost} {size}\n")
        sys.stdout.flush()
    transport.close()


def processor_time(pid: int) -> float:
    """Return what a process has spent, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_bridge(broker: str, port: int, nodes: list[str], publisher: str = OWN) -> subprocess.Popen[str]:
    """Start a bridge, or another publisher, in a process of its own, and wait until it leads all nodes."""
    command = ["benchmarks.bridge", "--lead"] if publisher == OWN else ["benchmarks.amid"]
    confirm = ["confirm"] if publisher == CONFIRMED else []
    bridge = subprocess.Popen(
        [sys.executable, "-m", *command, broker, str(port), *nodes, *confirm],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert bridge.stdout
    assert bridge.stdout.readline() == "ready\n"
    return bridge


def measure_idle(broker: str, pid: int | None, count: int, seconds: float) -> str:
    """Return what nodes cost on which nothing happens, and what a request costs."""
    nodes = [f"bench{uuid.uuid4().hex[:6]}" for _ in range(count + 1)]
    spent, sizes, brokers = [], [], []
    with Simulator() as sim:
        for part in (nodes[:1], nodes[1:]):
            bridge = start_bridge(broker, sim.port, part)
            assert bridge.stdin
            before = processor_time(bridge.pid), processor_time(pid) if pid else 0.0
            time.sleep(seconds)
            spent.append(processor_time(bridge.pid) - before[0])
            brokers.append(processor_time(pid) - before[1] if pid else 0.0)
            status = Path(f"/proc/{bridge.pid}/status").read_text()
            sizes.append(int(status.partition("VmRSS:")[2].split()[0]))
            if part == nodes[:1]:
                with connect(f"{broker}{'&' if '?' in broker else '?'}node={nodes[0]}") as ami:
                    before = processor_time(bridge.pid), processor_time(pid) if pid else 0.0
                    trips = sorted(ami.ping() for _ in range(500))
                    asked = processor_time(bridge.pid) - before[0], processor_time(pid) - before[1] if pid else 0.0
            bridge.stdin.write("\n")
            bridge.stdin.flush()
            bridge.communicate()
    text = f"a node: bridge {1e3 * (spent[1] - spent[0]) / seconds / (count - 1):.2f}, broker"
    text += f" {1e3 * (brokers[1] - brokers[0]) / seconds / (count - 1):.2f} milliseconds of processor time a second,"
    text += f" {(sizes[1] - sizes[0]) / (count - 1):.0f} kB; a request: bridge {2 * asked[0]:.2f},"
    return text + f" broker {2 * asked[1]:.2f} milliseconds of processor time, {1e3 * trips[250]:.1f} ms"


def own_events(reader: Reader, node: str) -> Iterator[Event]:
    """Return the events of a bridge, without end."""
    order = Sequence(node)
    while True:
        for record in reader.read(1000, 0.5):
            yield from map(event_of, order.accept(record))


def other_events(reader: Any) -> Iterator[Event]:
    """Return the events of another publisher, without end."""
    while True:
        for headers in reader.read(0.5):
            yield Event(list(headers.items()))


def measure(broker: str, pid: int | None, count: int, rate: float, consume: bool, publisher: str = OWN) -> str:
    """Send events through a bridge; return what was seen, as text."""
    node = f"bench{uuid.uuid4().hex[:6]}"
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    read, write = os.pipe()
    sender = os.fork()
    if not sender:
        os.dup2(read, 0)
        os.close(write)
        sys.stdin = os.fdopen(0)
        serve(listener, count, rate)
    os.close(read)
    listener.close()
    events: Iterator[Event]
    reader: Any
    if publisher == OWN:
        bridge = start_bridge(broker, port, [node])
        transport = open_transport(broker)
        reader = transport.reader([node], {node: "first"})
        events = own_events(reader, node)
    else:
        from .amid import Reader as OtherReader

        reader = OtherReader(broker, node)
        events = other_events(reader)
        bridge = start_bridge(broker, port, [node], publisher)
    assert bridge.stdin
    assert bridge.stdout
    brokers = processor_time(pid) if pid else 0.0
    own = time.process_time()
    os.write(write, b"\n")
    begun = time.monotonic()
    delays: list[float] = []
    if consume:
        seen = 0
        for event in events:
            if event.name == "EventsLost":
                seen += int(event.get("Count", "0"))
            elif event.name == "Newexten":
                seen += 1
                if rate:
                    delays.append(time.time() - float(event["Sent"]))
            if seen >= count:
                break
    else:
        published = 0
        while published < count:
            time.sleep(0.05)
            bridge.stdin.write("published?\n")
            bridge.stdin.flush()
            published = int(bridge.stdout.readline())
    took = time.monotonic() - begun
    own = time.process_time() - own
    brokers = processor_time(pid) - brokers if pid else 0.0
    sent = processor_time(sender)
    bridge.stdin.write("\n")
    bridge.stdin.flush()
    spent, total, lost, size = bridge.stdout.readline().split()
    bridge.wait()
    os.write(write, b"\n")
    os.waitpid(sender, 0)
    os.close(write)
    reader.close()
    if publisher == OWN:
        transport.close()
    parts = {"publisher": float(spent), "broker": brokers, "consumer": own, "sender": sent}
    text = f"{count} events in {took:.2f} s, {count / took:,.0f}/s; microseconds of processor time for an event: "
    text += ", ".join(f"{name} {1e6 * value / count:.1f}" for name, value in parts.items())
    text += f", all {1e6 * sum(parts.values()) / count:.1f}; publisher {size} MB; published {total}, lost {lost}"
    if delays:
        delays.sort()
        at = [1000 * delays[int(len(delays) * part)] for part in (0.5, 0.99, 0.999)]
        text += (
            f"; latency p50 {at[0]:.2f} p99 {at[1]:.2f} p99.9 {at[2]:.2f} ms, mean {1000 * statistics.mean(delays):.2f}"
        )
    return text


def measure_raw(broker: str, count: int) -> str:
    """Publish messages of 420 bytes with the client library alone; return how many a second were confirmed."""
    name = f"raw{uuid.uuid4().hex[:6]}"
    begun = time.monotonic()
    if broker.startswith("redis"):
        import redis

        client = redis.Redis.from_url(broker)
        pipeline = client.pipeline(transaction=False)
        for _ in range(count // 1000):
            for _ in range(1000):
                pipeline.xadd(name, {"data": b"x" * SIZE})
            pipeline.execute()
        client.delete(name)
        client.close()
        return f"{count / (time.monotonic() - begun):,.0f} XADD/s"
    import pika  # type: ignore[import-untyped]

    window = 1000
    state = {"sent": 0, "confirmed": 0, "begun": 0.0}

    def send(channel: Any) -> None:
        while state["sent"] < min(count, state["confirmed"] + window):
            state["sent"] += 1
            channel.basic_publish("", name, b"x" * SIZE, pika.BasicProperties(delivery_mode=2))

    def confirmed(channel: Any, frame: Any) -> None:
        state["confirmed"] = frame.method.delivery_tag if frame.method.multiple else state["confirmed"] + 1
        if state["confirmed"] == count:
            state["took"] = time.monotonic() - state["begun"]
            channel.queue_delete(name, callback=lambda _: channel.connection.close())
        else:
            send(channel)

    def begin(channel: Any) -> None:
        state["begun"] = time.monotonic()
        send(channel)

    def opened(channel: Any) -> None:
        channel.confirm_delivery(lambda frame: confirmed(channel, frame))
        arguments = {"x-queue-type": "stream"}
        channel.queue_declare(name, durable=True, arguments=arguments, callback=lambda _: begin(channel))

    connection = pika.SelectConnection(
        pika.URLParameters(broker),
        on_open_callback=lambda made: made.channel(on_open_callback=opened),
        on_close_callback=lambda made, _: made.ioloop.stop(),
    )
    connection.ioloop.start()
    return f"{count / state['took']:,.0f} confirmed/s"


def main() -> None:
    if sys.argv[1:2] == ["--lead"]:
        lead(sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("broker")
    parser.add_argument("--pid", type=int, help="of the broker, to see what it spends")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0)
    options = parser.parse_args()
    publishers = [OWN]
    if options.broker.startswith("amqp") and importlib.util.find_spec("kombu"):
        publishers += [UNCONFIRMED, CONFIRMED]
    for _ in range(options.rounds):
        print("client library alone:", measure_raw(options.broker, options.events // 1000 * 1000))
        paced = int(2000 * options.seconds)
        for name in publishers:
            for what, events, rate, consume in (
                ("published", options.events, 0.0, False),
                ("published and read", options.events, 0.0, True),
                ("at 2,000/s", paced, 2000.0, True),
            ):
                found = measure(options.broker, options.pid, events, rate, consume, name)
                print(f"{name}, {what}: {found}", flush=True)
        print("idle:", measure_idle(options.broker, options.pid, 100, options.seconds))


if __name__ == "__main__":
    main()
