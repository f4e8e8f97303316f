"""What the bridge carries: events a second, and how late they are. ``python -m benchmarks.bridge redis://… [events]``.

A process that speaks just enough AMI writes events of 420 bytes as fast as they are read; a bridge publishes them in a
process of its own; this process reads them off the broker.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import socket
import statistics
import subprocess
import sys
import time
import uuid

from pyami_sync.bridge import Bridge, Sequence, event_of, open_transport

__all__: list[str] = []

SIZE = 420


def frame(number: int, now: float) -> bytes:
    head = f"Event: Newexten\r\nPrivilege: dialplan,all\r\nN: {number}\r\nSent: {now:.6f}\r\n"
    rest = "".join(
        f"{name}: {value}\r\n"
        for name, value in (
            ("Channel", "PJSIP/1101-00000001"),
            ("ChannelState", "6"),
            ("ChannelStateDesc", "Up"),
            ("CallerIDNum", "1101"),
            ("CallerIDName", "Alice"),
            ("ConnectedLineNum", "1102"),
            ("ConnectedLineName", "Bob"),
            ("Language", "en"),
            ("Context", "internal"),
            ("Exten", "1102"),
            ("Priority", "3"),
            ("Uniqueid", "1700000000.1"),
            ("Linkedid", "1700000000.1"),
            ("Application", "Dial"),
        )
    )
    pad = SIZE - len(head) - len(rest) - len("AppData: \r\n\r\n")
    return (head + rest + "AppData: " + "x" * max(0, pad) + "\r\n\r\n").encode()


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


def lead(broker: str, node: str, port: int) -> None:
    """Be the bridge, until standard input ends; say what it cost."""
    transport = open_transport(broker)
    with Bridge({node: f"ami://a:b@127.0.0.1:{port}/?keepalive=none"}, transport, ttl=10.0, spool=1_000_000) as bridge:
        while not bridge.health().ready or not bridge.health().leaders:
            time.sleep(0.01)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        before = resource.getrusage(resource.RUSAGE_SELF)
        sys.stdin.readline()
        after = resource.getrusage(resource.RUSAGE_SELF)
        spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        stats = bridge.health().leaders[0]
        sys.stdout.write(f"{spent:.3f} {stats.published} {stats.lost} {after.ru_maxrss // 1024}\n")
        sys.stdout.flush()
    transport.close()


def measure(broker: str, count: int, rate: float, consume: bool = True) -> str:
    """Send events through a bridge; return what was seen, as text."""
    node = f"bench{uuid.uuid4().hex[:6]}"
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    pid = os.fork
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.dup2(read, 0)
        os.close(write)
        sys.stdin = os.fdopen(0)
        serve(listener, count, rate)
    os.close(read)
    listener.close()
    bridge = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bridge", "--lead", broker, node, str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert bridge.stdin
    assert bridge.stdout
    assert bridge.stdout.readline() == "ready\n"
    transport = open_transport(broker)
    reader = transport.reader([node], {node: "first"})
    order = Sequence(node)
    os.write(write, b"\n")
    begun = time.monotonic()
    seen = 0
    delays: list[float] = []
    while seen < count:
        for record in reader.read(1000, 0.5):
            for each in order.accept(record):
                if each.name == "EventsLost":
                    seen += int(event_of(each).get("Count", "0"))
                elif each.name == "Newexten":
                    seen += 1
                    if rate:
                        delays.append(time.time() - float(event_of(each)["Sent"]))
    took = time.monotonic() - begun
    bridge.stdin.write("\n")
    bridge.stdin.flush()
    spent, published, lost, size = bridge.stdout.readline().split()
    bridge.wait()
    os.write(write, b"\n")
    os.waitpid(pid, 0)
    os.close(write)
    reader.close()
    transport.close()
    text = f"{count} events in {took:.2f} s, {count / took:,.0f}/s; bridge: {spent} s of processor time,"
    text += f" {float(spent) / count * 1e6:.1f} us an event, {size} MB; published {published}, lost {lost}"
    if delays:
        delays.sort()
        at = [1000 * delays[int(len(delays) * part)] for part in (0.5, 0.99, 0.999)]
        text += (
            f"; latency p50 {at[0]:.2f} p99 {at[1]:.2f} p99.9 {at[2]:.2f} ms, mean {1000 * statistics.mean(delays):.2f}"
        )
    return text


def main() -> None:
    if sys.argv[1:2] == ["--lead"]:
        lead(sys.argv[2], sys.argv[3], int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("broker")
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    print("throughput:", measure(arguments.broker, arguments.events, 0.0))
    print("at 2,000/s:", measure(arguments.broker, int(2000 * arguments.seconds), 2000.0))


if __name__ == "__main__":
    main()
