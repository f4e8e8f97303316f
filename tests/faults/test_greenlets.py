"""The client in programs whose standard library gevent or eventlet has replaced."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from pyami_sync.testing import Simulator

HEADS = {
    "gevent": """
        from gevent import monkey; monkey.patch_all()
        import gevent
        def together(functions):
            jobs = [gevent.spawn(each) for each in functions]
            gevent.joinall(jobs, timeout=20)
            return [job.get(block=False) for job in jobs]
    """,
    "eventlet": """
        import warnings; warnings.simplefilter("ignore")
        import eventlet; eventlet.monkey_patch()
        def together(functions):
            jobs = [eventlet.spawn(each) for each in functions]
            return [job.wait() for job in jobs]
    """,
}
BODY = """
    import time
    from pyami_sync import connect, ClusterPool

    def many():
        return sum(ami.ping(timeout=5) < 5 for _ in range(20))

    def listen():
        with ami.events("UserEvent") as stream:
            return stream.get(10)["UserEvent"]

    def drop():
        time.sleep(0.2)
        ami.send("UserEvent", UserEvent="seen")

    with connect() as ami:
        print("pings", sum(together([many] * 10)))
        print("event", together([listen, drop])[0])
        print("future", ami.submit("Ping").result(5).ok)
        ami._session.current.close()
        print("after a lost link", ami.ping(timeout=10) < 10)
    print("closed", ami.state.value)
"""


@pytest.mark.parametrize("name", sorted(HEADS))
def test_it_works(name: str) -> None:
    pytest.importorskip(name)
    with Simulator() as sim:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(HEADS[name]) + textwrap.dedent(BODY)],
            env={**os.environ, "AMI_URL": sim.url},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:5] == [
        "pings 200",
        "event seen",
        "future True",
        "after a lost link True",
        "closed closed",
    ]
