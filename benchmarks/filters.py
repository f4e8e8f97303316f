"""What ``event_filter="auto"`` saves: ``python -m benchmarks.filters``, with the real servers of the tests.

A process listens to one name while calls are made. Measured are the bytes that it receives, its processor time, and
that of Asterisk, beside the same calls without any listener. Runs are interleaved, and medians are shown.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time

from tests.asterisk import install, scenario
from tests.asterisk.server import AsteriskServer

MODES = {
    "no listener": None,
    "everything is sent": {},
    "event_mask=call": {"event_mask": "call"},
    "event_filter=auto": {"event_filter": "auto"},
    "both": {"event_filter": "auto", "event_mask": "call"},
}
SETTLED = 5.0  # seconds after the calls in which a busy Asterisk may still have events of them to send
LISTENER = """
import json, sys, time
from contextlib import ExitStack
from pyami_sync import AMIClient
options, count = json.loads(sys.argv[1]), int(sys.argv[2])
seen = []
with ExitStack() as opened:
    clients = [AMIClient("127.0.0.1", username="patient", secret="patient-secret", keepalive=None, **options)
               for _ in range(count)]
    for ami in clients:
        opened.enter_context(ami)
        ami.on("Hangup", lambda event: seen.append(event["Uniqueid"]))
        ami.ping()
    before, spent = [ami.stats() for ami in clients], time.process_time()
    print("ready", flush=True)
    sys.stdin.readline()
    spent = time.process_time() - spent
    after = [ami.stats() for ami in clients]
received = [sum(getattr(b, name) - getattr(a, name) for a, b in zip(before, after)) / count
            for name in ("bytes_received", "events_received")]
print(json.dumps([spent / count, *received, len(seen) / count]))
"""


def processor_time(pid: int) -> float:
    """Return the seconds that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def place_calls(server: AsteriskServer, count: int, callers: int = 4) -> None:
    """Make calls, in several sessions without events, and wait until they are over."""

    def call(share: int) -> None:
        with server.session("patient", events="off") as raw:
            for _ in range(share):
                where = (("Context", "default"), ("Exten", "106"), ("Priority", "1"))
                raw.ask("Originate", ("Channel", "Local/107@default"), *where, ("Timeout", "20000"))

    threads = [threading.Thread(target=call, args=(count // callers,)) for _ in range(callers)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    scenario.wait_until(lambda: scenario.channel_count(server) == 0, "the calls are over", timeout=60)


def measure(server: AsteriskServer, options: dict[str, str] | None, calls: int, listeners: int) -> dict[str, float]:
    """Return the figures of one run; those of the client for one listener."""
    assert server.pid is not None
    listener = None
    if options is not None:
        command = (sys.executable, "-c", LISTENER, json.dumps({"port": server.port, **options}), str(listeners))
        listener = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
    before = processor_time(server.pid)
    place_calls(server, calls)
    time.sleep(SETTLED)
    found = {"Asterisk, s": processor_time(server.pid) - before}
    if listener is not None:
        spent, size, count, seen = json.loads(listener.communicate("\n", timeout=60)[0].splitlines()[-1])
        found |= {"client, s": spent, "kB": size / 1000, "events": count, "Hangups": seen}
    return found


def main() -> None:
    """Take the figures and show them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.filters", description=__doc__)
    parser.add_argument("--calls", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--listeners", type=int, default=1, help="more of them show what one costs Asterisk")
    parser.add_argument("--versions", type=int, nargs="*", default=sorted(install.RECIPES))
    chosen = parser.parse_args()
    for version in chosen.versions:
        results: dict[str, list[dict[str, float]]] = {mode: [] for mode in MODES}
        with AsteriskServer(version) as server:
            place_calls(server, 40)
            for _ in range(chosen.rounds):
                for mode, options in MODES.items():
                    results[mode].append(measure(server, options, chosen.calls, chosen.listeners))
                    time.sleep(0.2)
            what = f"{chosen.calls} calls, {chosen.listeners} listeners, medians of {chosen.rounds} rounds"
            print(f"Asterisk {server.full_version}, {what}")
        for mode, rounds in results.items():
            figures = {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}
            print(f"  {mode:20}", ", ".join(f"{name} {figure:.2f}" for name, figure in figures.items()))


if __name__ == "__main__":
    main()
