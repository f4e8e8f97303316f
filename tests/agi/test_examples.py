"""The IVR of the examples, and every example of the pages on AGI, run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyami_sync import connect
from pyami_sync.engine.deadline import Deadline
from pyami_sync.testing import Simulator
from tests.agi.real import place, scripts_dialplan, url
from tests.asterisk.server import AsteriskServer, free_ports

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "examples" / "ivr.py"


@pytest.fixture
def port() -> Iterator[int]:
    """The example, served on a port."""
    [port] = free_ports(1, socket.SOCK_STREAM)
    command = [sys.executable, "-W", "error", str(EXAMPLE), str(port)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, env=env) as process:
        try:
            deadline = Deadline(30)
            while not deadline.expired:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    assert process.poll() is None, process.communicate()[1]
            yield port
        finally:
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=30)
    assert "raised" not in error
    assert error.rstrip().endswith("KeyboardInterrupt")


def test_the_ivr_takes_no_more_than_15_lines():
    lines = EXAMPLE.read_text().splitlines()[1:]
    assert len([line for line in lines if line.strip()]) <= 15


def test_the_ivr_on_the_simulator(port):
    with Simulator() as simulator:
        where = f"agi://127.0.0.1:{port}/ivr/en"
        simulator.agi_call(where).hears("basic-pbx-ivr-main").presses("1").goes_to("sales,s,1")
        call = simulator.agi_call(where).hears("basic-pbx-ivr-main").presses("2").hears("vm-enter-num-to-call")
        call.presses("1234").hears("digits:1234", "vm-goodbye").is_hung_up()
        simulator.agi_call(where).hears(*["basic-pbx-ivr-main"] * 3, "vm-goodbye").is_hung_up()


def test_the_ivr_on_a_real_server(port, asterisk: AsteriskServer):
    with scripts_dialplan(asterisk, port), connect(url(asterisk)) as ami:
        with ami.expect("UserEvent", where={"UserEvent": "Arrived"}) as arrived:
            place(ami, "fast", "ivr/en", "presses@agi")
            arrived.result(30)
