"""The form of what is printed in a pipe."""

from __future__ import annotations

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
