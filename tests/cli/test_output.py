"""The form of what is printed in a pipe."""

from __future__ import annotations

from pyami_sync.testing import Simulator
from tests.cli.conftest import SECRET
from tests.cli.running import Server, run


def headings(text: str, first: str) -> list[int]:
    return [at for at, line in enumerate(text.splitlines()) if line.startswith(first)]


def test_a_blank_line_parts_tables(simulated: Server) -> None:
    for arguments in (["queues", "--members"], ["send", "QueueStatus"]):
        text = simulated.run(*arguments).out
        first, second = headings(text, "Queue ")
        lines = text.splitlines()
        assert lines[second - 1] == ""
        assert lines.count("") == 1
        assert first < second
        assert text.endswith("\n")
        assert lines[-1]
    assert "" not in simulated.run("queues").out.splitlines()


def test_a_blank_line_parts_a_table_from_what_follows() -> None:
    lines = run("describe", "QueueAdd", "QueuePause").out.splitlines()
    assert lines[lines.index("QueuePause (action)") - 1] == ""
    assert lines.count("") == 1


def test_errors_speak_of_options_of_the_program() -> None:
    with Simulator(tls=True, secret=SECRET) as sim:
        done = run("ping", "--url", f"amis://admin@localhost:{sim.port}", env={"AMI_SECRET": SECRET})
    assert done.code == 3
    assert "give the authority, or the certificate itself, by --tls-ca FILE" in done.err
    assert "ca_file" not in done.err


def test_a_server_may_be_named_by_host_and_port(sim: Simulator) -> None:
    env = {"AMI_SECRET": SECRET}
    for arguments in (["--url", f"admin@127.0.0.1:{sim.port}"], ["--url", f"127.0.0.1:{sim.port}", "--user", "admin"]):
        assert run("ping", *arguments, env=env).code == 0
    assert run("ping", env=env | {"AMI_URL": f"admin@127.0.0.1:{sim.port}"}).code == 0
