"""Scripts at once: ``python -m benchmarks.agi``, FastAGI servers of pyami_sync and, where it is installed, of pystrix.

Every call of a round connects, then answers each command of its script at once, as an Asterisk whose commands take no
time; a script answers, reads and sets variables, and hangs up. One thread plays all Asterisks, so that what is
measured is the server: calls a second, processor time for each command, and how long a call takes.
"""

from __future__ import annotations

import argparse
import importlib.util
import selectors
import socket
import statistics
import subprocess
import sys
import time
from typing import Any

from tests.agi.peer import ENVIRONMENT

COMMANDS = 20
CALLS = 200
OWN, PYSTRIX = "pyami_sync", "pystrix"


def serve_own() -> None:
    """Serve until standard input ends, and say what it cost."""
    from pyami_sync.agi import FastAGIServer, Router

    scripts = Router()

    @scripts.route("script")
    def script(call: Any) -> None:
        call.answer()
        for number in range(COMMANDS - 2):
            call.set_variable("ORDER", str(number))
        call.hangup()

    with FastAGIServer(scripts, "127.0.0.1", 0, threads=1000) as server:
        report(server.port)


def serve_pystrix() -> None:
    """As :func:`serve_own`."""
    from threading import Thread

    from pystrix.agi import FastAGIServer, core

    def script(agi: Any, *more: Any) -> None:
        agi.execute(core.Answer())
        for number in range(COMMANDS - 2):
            agi.execute(core.SetVariable("ORDER", str(number)))
        agi.execute(core.Hangup())

    server = FastAGIServer(port=0)
    server.register_script_handler(None, script)
    Thread(target=server.serve_forever, daemon=True).start()
    report(server.server_address[1])


def report(port: int) -> None:
    """Tell the port, and at each line of standard input the processor time so far."""
    print(port, flush=True)
    for _ in sys.stdin:
        print(time.process_time(), flush=True)


def play(port: int, at_once: int, calls: int) -> list[float]:
    """Place calls, so many at once; return how long each took."""
    selector = selectors.DefaultSelector()
    took: list[float] = []
    placed = 0
    while len(took) < calls:
        while placed < min(calls, len(took) + at_once):
            began = time.perf_counter()
            sock: Any = socket.create_connection(("127.0.0.1", port), 30)
            sock.sendall(ENVIRONMENT % (b"script", b"script", b"1.%d" % placed))
            selector.register(sock, selectors.EVENT_READ, began)
            placed += 1
        for key, _ in selector.select(30):
            sock = key.fileobj
            data = sock.recv(65_536)
            if data:
                sock.sendall(b"200 result=1\n" * data.count(b"\n"))
            else:
                selector.unregister(sock)
                sock.close()
                took.append(time.perf_counter() - key.data)
    return took


def measure(server: str, at_once: int) -> str:
    """Return what a round of calls cost a server, as text."""
    calls = max(CALLS, at_once)
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.agi", "--serve", server],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def cpu() -> float:
        process.stdin.write("\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
        return float(process.stdout.readline())  # type: ignore[union-attr]

    port = int(process.stdout.readline())
    play(port, 2, 4)
    before, began = cpu(), time.perf_counter()
    took = play(port, at_once, calls)
    passed, spent = time.perf_counter() - began, cpu() - before
    process.communicate()
    return (
        f"{server:10} {at_once:4} scripts at once: {calls / passed:7,.0f}/s,"
        f" {spent / calls / COMMANDS * 1e6:5.0f} us CPU a command, median {statistics.median(took) * 1e3:.0f} ms"
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agi", description=__doc__)
    parser.add_argument("--serve", choices=(OWN, PYSTRIX))
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 20, 100, 500])
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    if chosen.serve:
        (serve_own if chosen.serve == OWN else serve_pystrix)()
        return
    servers = [OWN, PYSTRIX] if importlib.util.find_spec("pystrix") else [OWN]
    for _ in range(chosen.rounds):
        for at_once in chosen.at_once:
            for server in servers:
                print(measure(server, at_once), flush=True)


if __name__ == "__main__":
    main()
