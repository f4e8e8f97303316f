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


AGI = """
    import socket
    from pyami_sync.agi import CommandTimeout, FastAGIServer, Router

    scripts, outcomes = Router(), []

    @scripts.route("x")
    def script(call):
        for _ in range(2):  # the second one finds the answer to the first still missing
            try:
                call.noop(timeout=0.1)
            except CommandTimeout as exc:
                outcomes.append(str(exc).partition(";")[0])
        peer.close()

    with FastAGIServer(scripts, port=0) as server:
        peer = socket.create_connection(("127.0.0.1", server.port))
        peer.sendall(b"agi_network: yes\\nagi_network_script: x\\nagi_channel: PJSIP/1\\nagi_uniqueid: 1.1\\n\\n")
        while len(outcomes) < 2:
            time.sleep(0.01)
    print(*outcomes, sep="\\n")
"""


@pytest.mark.promise(1)
@pytest.mark.parametrize("name", sorted(HEADS))
def test_a_command_of_fastagi_ends_in_time(name: str) -> None:
    pytest.importorskip(name)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HEADS[name]) + "import time\n" + textwrap.dedent(AGI)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["no answer to the AGI command NOOP within 0.1 s"] * 2, done.stderr
