"""Call handles: ``python -m benchmarks.calls``; calls a second through the simulator, beside panoramisk's call manager.

Each call is placed, waited for until it is answered, hung up, and waited for until it has ended. Both libraries work
against the same simulator in a process of its own. Panoramisk's manager gives a queue of events for each call, found by
the second in which its channel was made, so that it takes one call at a time; a handle here takes as many as there are.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pyami_sync import AMIClient, connect

OWN, PANORAMISK = "pyami_sync", "panoramisk"


def serve() -> None:
    """Be the simulator, until standard input ends."""
    from pyami_sync.testing import Simulator

    with Simulator(any_login=True) as simulator:
        print(simulator.port, flush=True)
        sys.stdin.read()


def one(ami: AMIClient) -> None:
    """Place a call and see it through."""
    with ami.call("PJSIP/alice", to="100@default", ring=30) as call:
        call.wait_answered()
        call.hangup()
        call.wait_ended()


def own(port: int, count: int, side_by_side: int) -> tuple[float, float]:
    """Return seconds of the clock and of the processor."""
    with connect(f"ami://a:b@127.0.0.1:{port}") as ami:
        one(ami)
        began, cpu = time.perf_counter(), time.process_time()
        with ThreadPoolExecutor(side_by_side) as threads:
            for done in [threads.submit(one, ami) for _ in range(count)]:
                done.result()
        return time.perf_counter() - began, time.process_time() - cpu


def panoramisk(port: int, count: int) -> tuple[float, float]:
    """As :func:`own`, one call at a time."""
    from panoramisk.call_manager import CallManager

    async def place(manager: Any) -> None:
        action = {
            "Action": "Originate",
            "Channel": "PJSIP/alice",
            "Exten": "100",
            "Context": "default",
            "Priority": 1,
            "Timeout": 30_000,
        }
        call = await manager.send_originate(action)
        channel = None
        while True:
            event = await call.queue.get()
            if event.event == "Newstate" and event.channelstatedesc == "Up" and channel is None:
                channel = event.channel
                manager.send_action({"Action": "Hangup", "Channel": channel})
            elif event.event == "Hangup" and event.channel == channel:
                manager.clean_originate(call)
                return

    async def run() -> tuple[float, float]:
        manager = CallManager(host="127.0.0.1", port=port, username="a", secret="b", ping_delay=1000)
        await manager.connect()
        await asyncio.sleep(0.5)
        await asyncio.wait_for(place(manager), 10)
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            await asyncio.wait_for(place(manager), 10)
        found = time.perf_counter() - began, time.process_time() - cpu
        manager.close()
        return found

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(run())


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calls", description=__doc__)
    parser.add_argument("--serve", action="store_true")
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args(arguments)
    if chosen.serve:
        serve()
        return
    for _ in range(chosen.rounds):
        for name, side_by_side in ((OWN, 1), (OWN, 20), (PANORAMISK, 1)):
            if name == PANORAMISK and not importlib.util.find_spec("panoramisk"):
                continue
            command = [sys.executable, "-m", "benchmarks.calls", "--serve"]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
                assert server.stdout is not None
                port = int(server.stdout.readline())
                try:
                    if name == OWN:
                        took, cpu = own(port, chosen.calls, side_by_side)
                    else:
                        took, cpu = panoramisk(port, chosen.calls)
                except TimeoutError:
                    print(f"{name:10} {side_by_side:2} at a time: a call was lost sight of", flush=True)
                else:
                    rate, each = chosen.calls / took, cpu / chosen.calls
                    print(
                        f"{name:10} {side_by_side:2} at a time: {rate:6,.0f} calls/s, {each * 1e3:.2f} ms CPU a call",
                        flush=True,
                    )
                finally:
                    server.communicate()


if __name__ == "__main__":
    main()
