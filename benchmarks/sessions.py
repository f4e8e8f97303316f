"""What listeners cost a real server: none, some with a session each, and the same ones behind a bridge.

``python -m benchmarks.sessions redis://… --server ami://admin:secret@127.0.0.1 --pid <of Asterisk>``. Calls between two
halves of a Local channel make the events; each listener is a process that takes all of them.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import uuid

from pyami_sync import ConnectionClosed, connect
from pyami_sync.bridge import Bridge, Rule, open_transport

from .bridge import processor_time

__all__: list[str] = []


def listen(url: str) -> None:
    """Count events until standard input ends."""
    with connect(url) as ami:
        counted = ami.on(lambda event: None)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.read()
        sys.stdout.write(f"{counted.delivered}\n")


def load(server: str, seconds: float, rate: float) -> int:
    """Place calls at a rate, and return how many."""
    with connect(server, event_mask="off") as ami:
        begun = time.monotonic()
        count = int(seconds * rate)
        for number in range(count):
            time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            ami.submit("Originate", Channel="Local/100@default/n", Application="Wait", Data="0", Async="true")
        time.sleep(1.0)  # the last ones end
    return count


def measure(url: str | None, workers: int, server: str, pid: int, seconds: float, rate: float) -> tuple[float, int]:
    """Return the server's processor time for a call, in milliseconds, and the events that each listener had."""
    listeners = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.sessions", "--listen", url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(workers if url else 0)
    ]
    for each in listeners:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    before = processor_time(pid)
    calls = load(server, seconds, rate)
    spent = processor_time(pid) - before
    counts = [int(each.communicate("")[0]) for each in listeners]
    return 1000 * spent / calls, min(counts, default=0) // calls


def main() -> None:
    if sys.argv[1:2] == ["--listen"]:
        try:
            listen(sys.argv[2])
        except ConnectionClosed as exc:
            sys.exit(str(exc))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("broker")
    parser.add_argument("--server", required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    node = f"bench{uuid.uuid4().hex[:6]}"
    bridged = f"{options.broker}{'&' if '?' in options.broker else '?'}node={node}"
    rest = (options.server, options.pid, options.seconds, options.rate)
    for _ in range(options.rounds):
        print("nobody listens: {:.2f} ms a call".format(*measure(None, 0, *rest)))
        print(
            "{} sessions: {:.2f} ms a call, {} events each".format(
                options.workers, *measure(options.server, options.workers, *rest)
            )
        )
        transport = open_transport(options.broker)
        with Bridge({node: options.server}, transport, allowed={"*": Rule()}) as bridge:
            while not (bridge.health().leaders and bridge.health().ready):
                time.sleep(0.05)
            cost = measure(bridged, options.workers, *rest)
        transport.close()
        print("{} behind a bridge: {:.2f} ms a call, {} events each".format(options.workers, *cost))


if __name__ == "__main__":
    main()
