"""Callers named like a script and like 80 Arabic letters, on every surface of the program: shown as they are."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Callable, Iterator

import pytest

from pyami_sync import AMIClient
from tests.cli.running import Process, Server, Terminal
from tests.cli.test_acting import until
from tests.cli.test_top import STEERING

SCRIPT = "<script>alert(1)</script>"
ARABIC = "محمد عبد الرحمن بن عبد العزيز آل سعود من الرياض يتصل بكم الآن بشأن الفاتورة رقم "
WIDE = (40, 250)
"""A terminal on which nothing need be cut."""


@pytest.fixture
def callers(server: Server) -> Iterator[Server]:
    """Two callers with such names wait in a queue."""
    assert len(ARABIC) == 80
    with AMIClient.from_url(server.url, secret=server.secret) as ami:
        for number, name in enumerate((SCRIPT, ARABIC.strip() + ".")):
            with ami.expect("QueueCallerJoin", where={"Queue": "empty"}, timeout=30):
                ami.originate(
                    "Local/100@default/n",
                    Context="default",
                    Exten="501",
                    Priority=1,
                    CallerID=f'"{name}" <555{number}>',
                )
        yield server
        ami.send("Hangup", Channel="/^Local/", check=False)
        until(lambda: not ami.send("CoreShowChannels").events)


def screen(server: Server, *arguments: str) -> str:
    """Run a command in a wide terminal; return what it shows without colours."""
    with Terminal(*arguments, env=server.env, size=WIDE) as terminal:
        assert terminal.ended() == 0
        return STEERING.sub("", terminal.text)


def as_json(server: Server, *arguments: str) -> str:
    """Return all strings of JSON output, one a line."""
    done = server.run(*arguments, "--json")
    assert done.code == 0
    return "\n".join(strings(done.objects))


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from strings(each)


def in_top(server: Server) -> str:
    with Terminal("top", "--every", "200ms", env=server.env, size=WIDE) as terminal:
        terminal.until(lambda text: SCRIPT in text and ARABIC[:60] in text)
        terminal.type("2")
        terminal.until(lambda text: re.search(r"empty\W", text) is not None)
        terminal.type("/empty\r\r")  # only that queue, and then its callers
        terminal.until("strategy")
        terminal.until(lambda text: "waits" in text.split("strategy")[-1])
        shown = STEERING.sub("", terminal.text.split("queue empty, strategy")[-1])
        terminal.type("\x1bq")
        assert terminal.ended() == 0
    return shown


def in_the_shell(server: Server) -> str:
    done = server.run("shell", stdin="QueueStatus Queue=empty\n")
    assert done.code == 0
    return done.out


def in_a_ladder(server: Server) -> str:
    """Draw both calls after they have ended; their names are in the records."""
    shown = ""
    with AMIClient.from_url(server.url, secret=server.secret) as ami:
        waiting = [item for item in ami.send("QueueStatus", Queue="empty").events if item.name == "QueueEntry"]
        for item in waiting:
            with Process("ladder", item["Channel"], "--json", env=server.env) as drawing:
                assert drawing.process.stderr is not None
                assert "waiting for the end" in drawing.process.stderr.readline()
                ami.send("Hangup", Channel=item["Channel"])
                shown += "\n".join(strings(drawing.ended().objects))
    return shown


def among_events(server: Server) -> str:
    shown = ""
    with AMIClient.from_url(server.url, secret=server.secret) as ami:
        with Process("events", "QueueCallerLeave", "QueueCallerAbandon", "--count", "4", env=server.env) as listening:
            assert listening.process.stderr is not None
            assert "listening" in listening.process.stderr.readline()
            ami.send("Hangup", Channel="/^Local/", check=False)
            shown = listening.ended().out
    return "\n".join(str(value) for line in shown.splitlines() for value in json.loads(line).values())


SURFACES: dict[str, Callable[[Server], str]] = {
    "channels in a pipe": lambda server: server.run("channels").out,
    "channels at a terminal": lambda server: screen(server, "channels"),
    "channels as JSON": lambda server: as_json(server, "channels"),
    "queues in a pipe": lambda server: server.run("queue", "show", "empty").out,
    "queues at a terminal": lambda server: screen(server, "queue", "show", "empty"),
    "queues as JSON": lambda server: as_json(server, "queues", "empty"),
    "send at a terminal": lambda server: screen(server, "send", "QueueStatus", "Queue=empty"),
    "send as JSON": lambda server: as_json(server, "send", "QueueStatus", "Queue=empty"),
    "top": in_top,
    "shell": in_the_shell,
    "ladder": in_a_ladder,
    "events": among_events,
}


@pytest.mark.parametrize("surface", SURFACES)
def test_is_shown_as_it_is(callers: Server, surface: str) -> None:
    shown = SURFACES[surface](callers)
    assert SCRIPT in shown, shown
    assert ARABIC.strip()[:60] in shown, shown
    assert "\x1b" not in shown


def test_is_no_label_of_a_metric(callers: Server) -> None:
    prometheus = pytest.importorskip("prometheus_client.parser")
    with Process("exporter", "--listen", "127.0.0.1:0", env=callers.env) as process:
        text = urllib.request.urlopen(process.line().strip(), timeout=20).read().decode()
        process.ended(by=2)
    families = list(prometheus.text_string_to_metric_families(text))
    waiting = {
        sample.labels["queue"]: sample.value
        for family in families
        for sample in family.samples
        if sample.name == "asterisk_queue_waiting"
    }
    assert waiting["empty"] == 2
    assert SCRIPT not in text
    assert ARABIC[:20] not in text
