"""Tables on screens of several sizes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pyami_sync import connect
from pyami_sync.cli.fitting import fit
from pyami_sync.testing import Simulator
from tests.cli.running import Server, Terminal

STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@contextmanager
def call_up(server: Server) -> Iterator[str]:
    """Keep a call up while the block runs; yield the name of a channel."""
    with connect(server.url, secret=server.secret) as client:
        yield client.originate("Local/100@default/n", Application="Wait", Data=60, wait=True)["Channel"]


def screen(server: Server, *arguments: str, rows: int = 24, columns: int = 80) -> list[str]:
    """Return the lines of the last picture."""
    with Terminal(*arguments, env=server.env, size=(rows, columns)) as terminal:
        terminal.ended()
        drawn = terminal.text.split("\x1b[H")[-1].split("\x1b[?1049l")[0]
    return [STEERING.sub("", line).rstrip() for line in drawn.splitlines()]


def test_columns_go_before_they_are_of_no_use() -> None:
    columns, natural = ["Name", "Kind", "Where", "Count"], [30, 20, 20, 5]
    assert fit(columns, natural, 100) == {"Name": 30, "Kind": 20, "Where": 20, "Count": 5}
    narrow = fit(columns, natural, 38, least={"Name": 12}, dispensable=["Kind"])
    assert list(narrow) == ["Name", "Where", "Count"]
    assert sum(narrow.values()) + 4 == 38
    assert narrow["Name"] >= 12
    assert narrow["Count"] == 5
    assert list(fit(columns, natural, 3)) == ["Name"]


@pytest.mark.parametrize("columns", [60, 80])
def test_tables_keep_names_whole(simulated: Server, columns: int) -> None:
    with call_up(simulated) as name:
        (line,) = [line for line in screen(simulated, "channels", columns=columns) if line.startswith(name)]
    assert line.endswith(("00:00:00", "00:00:01", "00:00:02"))
    lines = screen(simulated, "queues", "--members", columns=columns)
    assert any(line.split()[-2:] == ["Done", "Left"] or line.endswith("In time") for line in lines)
    assert sum("Local/80" in line and "@members/n" in line for line in lines) == 2


def test_nodes_that_are_down_say_why(sim: Simulator, simulated: Server, tmp_path: Path) -> None:
    file = tmp_path / "nodes.toml"
    file.write_text(f"[nodes]\nhere = 'ami://admin@127.0.0.1:{sim.port}'\ngone = 'ami://admin@127.0.0.1:1'\n")
    lines = screen(simulated, "cluster", "health", "--config", str(file))
    text = " ".join(lines)
    assert lines[0] == "1 of 2 up"
    assert re.search(r"gone  reconnecting .* 127\.0\.0\.1:1 ", text), lines
    assert "gone: cannot connect to 127.0.0.1:1: refused" in text
