"""``top``: its listings, how keys move it, and what is on screens of several sizes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from pyami_sync import Action, connect
from pyami_sync.cli.output import span
from pyami_sync.cli.top.browser import Browser
from pyami_sync.cli.top.drawing import draw
from pyami_sync.live import Call, Leg, Queue, QueueCaller, QueueMember, View
from pyami_sync.testing import Simulator
from tests.cli.running import Server, Terminal

STEERING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
ARABIC = "محمد عبد الرحمن بن عبد العزيز آل سعود من الرياض يتصل بكم الآن بشأن الفاتورة رقم عشرة"


class Picture(View):
    """A view that is made by hand."""

    calls = {}  # type: ignore[assignment]
    queues = {}  # type: ignore[assignment]
    channels = {}  # type: ignore[assignment]
    endpoints = {}
    moment = NOW


def picture(count: int = 5) -> Picture:
    made = Picture()
    made.calls = {
        f"1.{n}": Call(
            f"1.{n}",
            (
                Leg(
                    f"1.{n}",
                    f"PJSIP/{n:04}-00000001",
                    f"1.{n}",
                    "Up",
                    f"555{n:04}",
                    ["<script>alert(1)</script>", ARABIC, f"Caller {n}"][min(n, 2)],
                    started=NOW - timedelta(seconds=n),
                    answered_at=NOW,
                ),
            ),
        )
        for n in range(count)
    }
    waiting = (QueueCaller("9.1", "PJSIP/x-1", 1, NOW - timedelta(seconds=200), "5559", "Waiting"),)
    members = (
        QueueMember("PJSIP/1101", "Alice", status=1, calls_taken=7),
        QueueMember("PJSIP/1102", "Bob", status=1, paused=True, paused_reason="lunch"),
        QueueMember("PJSIP/1103", "Carol", status=5),
    )
    made.queues = {
        "support": Queue("support", waiting=waiting, members=members, completed=8, abandoned=2, at=NOW),
        "calm": Queue("calm", completed=100, servicelevel_perf=95.0, at=NOW),
    }
    return made


@pytest.fixture
def browser() -> Browser:
    made = Browser()
    made.look({"": picture()})
    return made


def drawn(browser: Browser, width: int = 80, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, force_terminal=False, legacy_windows=False)
    with console.capture() as capture:
        console.print(draw(browser, "admin@pbx:5038", 12.0, width, height, NOW))
    return capture.get().splitlines()


def test_durations_are_told_as_people_read_them() -> None:
    assert [span(each) for each in (None, 0, 7, 754, 3723)] == ["", "0:00", "0:07", "12:34", "1:02:03"]


@pytest.mark.parametrize("size", [(80, 24), (200, 50)])
@pytest.mark.parametrize("count", [5, 5000])
def test_fits_every_screen(size: tuple[int, int], count: int) -> None:
    browser = Browser()
    browser.look({"": picture(count)})
    for key in ("", "2", "3", "4", "1", "enter"):
        browser.press(key) if key else None
        lines = drawn(browser, *size)
        assert len(lines) == size[1]
        assert all(Console().render_str(line).cell_len <= size[0] for line in lines)
    browser.press("escape")
    assert f"1 Calls {count}" in drawn(browser, *size)[1]


def test_cursor_scrolls_and_stays_on_its_row() -> None:
    browser = Browser()
    browser.look({"": picture(100)})
    drawn(browser)
    browser.press("end")
    assert browser.current is browser.rows[-1]
    assert browser.current in browser.visible
    browser.press("home")
    for _ in range(30):
        browser.press("down")
    key = browser.current.key if browser.current else None
    assert browser.current in browser.visible
    browser.press("s")
    assert browser.current is not None
    assert browser.current.key == key
    browser.press("pageup")
    browser.press("k")
    assert browser.current is not None
    fewer = picture(3)
    browser.look({"": fewer})
    assert browser.cursor < 3


def test_sorts_by_each_column(browser: Browser) -> None:
    assert [row.key[1] for row in browser.rows] == ["1.4", "1.3", "1.2", "1.1", "1.0"]  # the longest first
    browser.press("S")
    assert browser.rows[0].key[1] == "1.0"
    browser.press("s")
    assert browser.sorting == (0, False)


def test_filters(browser: Browser) -> None:
    for key in "/5550003":
        browser.press(key)
    assert [row.key[1] for row in browser.rows] == ["1.3"]
    browser.press("backspace")
    assert len(browser.rows) == 5
    browser.press("enter")
    assert browser.mode == "browse"
    assert "showing only '555000'" in drawn(browser)[2]
    browser.press("escape")
    assert browser.filter == ""


def test_hangs_up_only_when_agreed(browser: Browser) -> None:
    assert browser.press("h") is None
    assert "Hang up the call of" in drawn(browser)[-1]
    assert browser.press("n") is None
    assert browser.message == "nothing was done"
    browser.press("h")
    act = browser.press("y")
    assert act is not None
    assert (act.action, act.headers["Channel"]) == ("Hangup", "PJSIP/0004-00000001")
    browser.press("2")
    assert browser.press("h") is None
    assert browser.message == "no call is under the cursor"


def test_pauses_and_unpauses(browser: Browser) -> None:
    browser.press("3")
    assert [row.cells[0] for row in browser.rows] == ["Alice", "Bob", "Carol"]
    browser.press("p")
    act = browser.press("y")
    assert act is not None
    assert (act.action, act.headers) == ("QueuePause", {"Interface": "PJSIP/1101", "Paused": True})
    browser.press("down")
    browser.press("p")
    act = browser.press("Y")
    assert act is not None
    assert act.headers == {"Interface": "PJSIP/1102", "Paused": False}


def test_trouble_has_colour(browser: Browser) -> None:
    browser.press("2")
    styles = {row.cells[0]: row.style for row in browser.rows}
    assert styles == {"support": "bold red", "calm": ""}
    browser.press("3")
    assert {row.cells[0]: row.style for row in browser.rows} == {"Alice": "", "Bob": "yellow", "Carol": "bold red"}


def test_looks_closer(browser: Browser) -> None:
    browser.press("2")
    browser.press("end")
    browser.press("enter")
    text = "\n".join(drawn(browser))
    assert "waits 3:20" in text
    assert "Bob   paused (lunch)" in text
    browser.press("escape")
    assert browser.mode == "browse"


def test_holds_the_picture(browser: Browser) -> None:
    browser.press(" ")
    browser.look({"": picture(50)})
    assert len(browser.rows) == 5
    assert "HELD" in drawn(browser)[0]
    browser.press(" ")
    browser.look({"": picture(50)})
    assert len(browser.rows) == 50


def test_several_servers_have_a_column() -> None:
    browser = Browser()
    browser.look({"paris": picture(1), "tokyo": picture(1)})
    assert "Server" in "\n".join(drawn(browser, 120))
    assert {row.node for row in browser.rows} == {"paris", "tokyo"}
    browser.press("h")
    act = browser.press("y")
    assert act is not None
    assert act.node in ("paris", "tokyo")


# In a terminal


@contextmanager
def calls(server: Server) -> Iterator[None]:
    with connect(server.url, secret=server.secret) as client:
        for n in range(3):
            client.originate(
                "Local/100@default/n", Context="default", Exten="501", Priority=1, CallerID=f"Caller <555000{n}>"
            )
        yield
        client.send("Hangup", Channel="/^Local/", check=False)


def until(terminal: Terminal, shown: Callable[[str], bool]) -> str:
    def last(text: str) -> str:
        return STEERING.sub("", text.split("\x1b[H")[-1].split("\x1b[?1049l")[0])

    terminal.until(lambda text: shown(last(text)))
    return last(terminal.text)


@pytest.mark.parametrize("size", [(24, 80), (50, 200)])
def test_in_a_terminal(server: Server, size: tuple[int, int]) -> None:
    with calls(server), Terminal("top", "--every", "200ms", env=server.env, size=size) as terminal:
        until(terminal, lambda text: text.count("queued") == 3)
        terminal.type("2")
        until(terminal, lambda text: re.search(r"empty +3 ", text) is not None)
        terminal.type("\x1b[B\r")
        until(terminal, lambda text: "queue support" in text or "queue empty" in text)
        terminal.type("\x1b")
        until(terminal, lambda text: "Waiting" in text)
        terminal.type("1/5550001\r")
        until(terminal, lambda text: text.count("queued") == 1)
        terminal.type("h")
        until(terminal, lambda text: "Hang up the call of" in text)
        terminal.type("y")
        until(terminal, lambda text: "Channel Hungup" in text)
        until(terminal, lambda text: "no row contains that" in text)
        terminal.type("\x1b")
        until(terminal, lambda text: text.count("queued") == 2)
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.restored


def test_of_a_cluster(sim: Simulator, simulated: Server, tmp_path: Path) -> None:
    file = tmp_path / "nodes.toml"
    url = f"ami://admin@127.0.0.1:{sim.port}"
    file.write_text(f"[nodes]\nparis = '{url}'\ntokyo = '{url}'\n")
    with Terminal("top", "--config", str(file), "--every", "200ms", env=simulated.env, size=(24, 100)) as terminal:
        until(terminal, lambda text: "paris: current" in text and "tokyo: current" in text)
        terminal.type("2")
        until(terminal, lambda text: "Server" in text and text.count("support") == 2)
        terminal.type("q")
        assert terminal.ended() == 0


def crowd(count: int) -> Callable[[Action[Any], object], bytes]:
    """Return an answer to CoreShowChannels: so many calls, the first of them the oldest."""

    def answer(action: Action[Any], session: object) -> bytes:
        mark = f"ActionID: {action.action_id}\r\n"
        parts = [f"Response: Success\r\n{mark}EventList: start\r\nMessage: Channels will follow\r\n\r\n"]
        for number in range(count):
            hours, minutes = divmod((count - number) // 60 + 60, 60)
            parts.append(
                f"Event: CoreShowChannel\r\n{mark}Channel: PJSIP/{number:04}-00000001\r\nChannelState: 6\r\n"
                f"ChannelStateDesc: Up\r\nCallerIDNum: 555{number:04}\r\nCallerIDName: Caller {number:04}\r\n"
                f"Context: default\r\nExten: 100\r\nPriority: 1\r\nUniqueid: 1.{number}\r\nLinkedid: 1.{number}\r\n"
                "Application: Echo\r\nApplicationData: \r\n"
                f"Duration: {hours:02}:{minutes:02}:{(count - number) % 60:02}\r\nBridgeId: \r\n\r\n"
            )
        parts.append(f"Event: CoreShowChannelsComplete\r\n{mark}EventList: Complete\r\nListItems: {count}\r\n\r\n")
        return "".join(parts).encode()

    return answer


class Screen:
    """The picture in a terminal, once it is as wanted."""

    def __init__(self, terminal: Terminal, rows: int, columns: int) -> None:
        self.terminal, self.rows, self.columns = terminal, rows, columns

    def wait(self, shown: Callable[[str], bool]) -> list[str]:
        """Wait until the picture holds something; it always fills the terminal, and is never too wide."""
        self.terminal.until(lambda text: shown(self.last(text)))
        lines = self.last(self.terminal.text).split("\r\n")
        assert len(lines) == self.rows, lines
        assert all(cell_len(line) <= self.columns for line in lines)
        return lines

    def last(self, text: str) -> str:
        """Return the last picture that was drawn whole."""
        pictures = text.split("\x1b[?1049l")[0].split("\x1b[H")
        whole = next((each for each in reversed(pictures) if each.count("\r\n") == self.rows - 1), "")
        return STEERING.sub("", whole)


def callers(lines: list[str]) -> list[int]:
    return [int(found[1]) for line in lines if (found := re.match(r"Caller (\d{4})", line))]


@pytest.mark.parametrize("size", [(24, 80), (50, 200)])
@pytest.mark.parametrize("count", [5, 5000])
def test_of_few_and_of_many_calls(sim: Simulator, simulated: Server, size: tuple[int, int], count: int) -> None:
    sim.on("CoreShowChannels", crowd(count))
    fits = size[0] - 5
    shown = min(count, fits)
    with Terminal("top", "--every", "300ms", env=simulated.env, size=size) as terminal:
        screen = Screen(terminal, *size)
        first = screen.wait(lambda text: f"1 Calls {count} " in text and "Caller 0000" in text)
        assert callers(first) == list(range(shown))  # the longest first
        terminal.type("\x1b[F")
        end = screen.wait(lambda text: f"Caller {count - 1:04}" in text)
        assert callers(end) == list(range(count - shown, count))
        terminal.type("\x1b[H")
        assert callers(screen.wait(lambda text: "Caller 0000" in text)) == callers(first)
        terminal.type("S")  # the shortest first; the cursor stays with its row
        turned = screen.wait(lambda text: "For ↑" in text)
        assert callers(turned)[-1] == 0
        terminal.type("/caller 0003\r")
        assert callers(screen.wait(lambda text: "showing only 'caller 0003'" in text)) == [3]
        terminal.type("\r")
        detail = screen.wait(lambda text: "call 1.3: up" in text)
        assert any("PJSIP/0003-00000001" in line for line in detail)
        terminal.type("\x1b")
        screen.wait(lambda text: "showing only" in text)
        terminal.type("?")
        screen.wait(lambda text: "hang up the call under the cursor" in text)
        terminal.type("?")
        terminal.type(" ")
        screen.wait(lambda text: "HELD" in text)
        terminal.type("q")
        assert terminal.ended() == 0
        assert terminal.restored
