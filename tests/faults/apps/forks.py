"""Forks again and again while other threads use the session, and so hold its locks; tells how each child fared."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time

from pyami_sync import AMIClient, AMIError, connect

FORKS = int(sys.argv[1])
LIMIT = 20


def busy(ami: AMIClient, stop: threading.Event, wrong: list[str], number: int) -> None:
    """Use everything that has a lock."""
    count = 0
    while not stop.is_set():
        count += 1
        unique = f"{number}-{count}"
        try:
            ami.send("DBPut", Family=f"fork{number}", Key="k", Val=unique)
            (item,) = ami.submit("DBGet", Family=f"fork{number}", Key="k").result(LIMIT).events
            if item["Val"] != unique:
                wrong.append(unique)
            with ami.events() as stream, ami.expect("UserEvent") as expected:
                ami.on("UserEvent", lambda event: None).cancel()
                stream.close()
                expected.cancel()
            ami.stats()
        except (AMIError, TimeoutError) as exc:
            wrong.append(repr(exc))


def child(ami: AMIClient, number: int) -> int:
    """Use the inherited session as if nothing had happened; the exit code says what was wrong."""
    faulthandler.dump_traceback_later(LIMIT, exit=True)  # a deadlock says where
    for count in range(5):
        unique = f"child-{number}-{count}"
        ami.send("Setvar", Variable=f"FORK{number}", Value=unique)
        if ami.send("Getvar", Variable=f"FORK{number}")["Value"] != unique:
            return 2
    seen = threading.Event()
    ami.on("UserEvent", lambda event: seen.set(), where={"UserEvent": f"child-{number}"})
    ami.send("UserEvent", UserEvent=f"child-{number}")
    if not seen.wait(LIMIT):
        return 3
    if ami.stats().connects != 1:
        return 4
    ami.close()
    return 5 if any(thread.name.startswith("pyami") for thread in threading.enumerate()) else 0


def main() -> None:
    """Print ``ok``, or what was wrong."""
    wrong: list[str] = []
    stop = threading.Event()
    with connect(event_mask="user", timeout=LIMIT) as ami:
        threads = [threading.Thread(target=busy, args=(ami, stop, wrong, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for number in range(FORKS):
            time.sleep(0.002 * (number % 7))  # another moment each time
            pid = os.fork()
            if not pid:
                code = 1
                try:
                    code = child(ami, number)
                finally:
                    os._exit(code)
            _, status = os.waitpid(pid, 0)
            if status:
                wrong.append(f"child {number}: {os.waitstatus_to_exitcode(status)}")
        stop.set()
        for thread in threads:
            thread.join()
        ami.ping()
        stats = ami.stats()
        if stats.connects != 1 or stats.losses:
            wrong.append(f"the parent has connected {stats.connects} times and lost {stats.losses}")
    print("\n".join(wrong) or "ok")


if __name__ == "__main__":
    main()
