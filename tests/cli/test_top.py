"""What ``top`` shows on screens of several sizes."""

from __future__ import annotations

import re

import pytest

from pyami_sync import connect
from pyami_sync.cli.fitting import fit
from tests.cli.running import Server, Terminal

STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ALWAYS = ["Channel", "Extension", "Application", "Duration"]


def screen(server: Server, rows: int, columns: int) -> list[str]:
    """The lines of the last picture, with a call that is up."""
    with connect(server.url, secret=server.secret) as client:
        client.originate("Local/100@default/n", Application="Wait", Data=60, wait=True)
        with Terminal("top", "--count", "1", "--every", "50ms", env=server.env, size=(rows, columns)) as terminal:
            assert terminal.ended() == 0
            drawn = terminal.text.split("\x1b[H")[-1].split("\x1b[?1049l")[0]
    return [STEERING.sub("", line).rstrip() for line in drawn.splitlines()]


@pytest.mark.parametrize(
    ("columns", "headings"),
    [
        (60, ALWAYS),
        (80, ["Channel", "Caller", "Extension", "Application", "Duration"]),
        (140, ["Channel", "State", "Caller", "Connected", "Extension", "Application", "Duration"]),
    ],
)
def test_top_is_readable_on_each_screen(simulated: Server, columns: int, headings: list[str]) -> None:
    lines = screen(simulated, 24, columns)
    text = "\n".join(lines)
    assert all(len(line) <= columns for line in lines)
    assert len(lines) <= 24
    (head,) = [line for line in lines if line.startswith("Channel ")]
    assert [each for each in head.split() if each in headings] == headings
    assert re.search(r"^Queue +Callers +Longest +Free( +Members)? +Event +Per s +Number$", text, re.MULTILINE), text
    assert "support" in text
    assert "Wait(60)" in text
    # Numbers are whole, and so is the beginning of each name.
    assert re.search(r"^Local/100@default-.* 00:00:\d\d$", text, re.MULTILINE), text


def test_columns_go_before_they_are_of_no_use() -> None:
    columns, natural = ["Name", "Kind", "Where", "Count"], [30, 20, 20, 5]
    assert fit(columns, natural, 100) == {"Name": 30, "Kind": 20, "Where": 20, "Count": 5}
    narrow = fit(columns, natural, 38, least={"Name": 12}, dispensable=["Kind"])
    assert list(narrow) == ["Name", "Where", "Count"]
    assert sum(narrow.values()) + 4 == 38
    assert narrow["Name"] >= 12
    assert narrow["Count"] == 5
    assert list(fit(columns, natural, 3)) == ["Name"]
