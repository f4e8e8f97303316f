"""The benchmarks count right and render what they counted; how fast anything was is no matter here."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import agi, calls, nodes, replay, sender
from benchmarks.__main__ import main, parse
from benchmarks.clients import OWN, client_class
from benchmarks.plot import draw
from benchmarks.report import render
from benchmarks.results import TARGETS, Results
from benchmarks.scenarios import SCENARIOS, Setting, measure
from benchmarks.soak import soak
from benchmarks.traffic import END, Load, prepare
from pyami_sync import AMIClient

PYTHON = [sys.executable, replay.__file__]


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    return prepare(tmp_path_factory.mktemp("load"))


@pytest.fixture(scope="session", params=["c", "python"])
def command(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if request.param == "python":
        return PYTHON
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("no C compiler")
    return sender.build(tmp_path_factory.mktemp("sender"))


def test_load_is_recorded_traffic(load: Load) -> None:
    assert len(load.names) > 19_000
    assert END not in load.names
    assert 400 < load.event_size < 450


def test_expected_counts_what_comes_round_again(load: Load) -> None:
    each = load.names.count("Hangup")
    assert load.expected(2 * len(load.names), ("Hangup",)) == 2 * each
    assert load.expected(2 * len(load.names), ("Hangup", END)) == 2 * each + 1
    assert load.expected(100, None) == 101


def test_server_sends_what_was_asked_for(load: Load, command: list[str]) -> None:
    count = len(load.names) + 10
    with sender.Sender(command, load, list_size=2_500, line_count=1_500) as server:
        with AMIClient("127.0.0.1", server.port, username="a", secret="b") as ami:
            with ami.events(maxsize=100_000) as stream:
                server.flood(count)
                answer = ami.send("CoreShowChannels")  # in the midst of the flood
                assert len(ami.command("anything")) == 1_500
                names = []
                while not names or names[-1] != END:
                    event = stream.get(10)
                    if event.name != "FullyBooted" and not event.name.startswith("CoreShowChannel"):
                        names.append(event.name)
            assert names == [*load.names, *load.names[:10], END]
            assert len(answer.events) == 2_500
            assert answer.complete is not None
            assert answer.complete["ListItems"] == "2500"
            assert ami.ping() > 0


def test_server_keeps_to_a_rate(load: Load, command: list[str]) -> None:
    with sender.Sender(command, load) as server:
        with AMIClient("127.0.0.1", server.port, username="a", secret="b") as ami:
            with ami.events(END) as ended:
                server.flood(400, 2_000)
                ami.ping()
                assert ended.pending == 0  # not all at once
                assert ended.get(10).name == END


@pytest.mark.parametrize(
    "name",
    [
        *(f"events-{each}" for each in ("all", "filtered", "read", "items", "dict", "named", "typed")),
        "list-20k",
        "list-read",
        "ping",
        "ping-16",
    ],
)
def test_scenario_of_pyami_sync(name: str, load: Load) -> None:
    figures = measure(name, Setting(OWN, load, PYTHON, scale=0.01))
    assert figures["value"] > 0
    assert figures.get("lost", 0) == 0


@pytest.mark.parametrize("client", ["split", "batches", "eager"])
def test_limits_count_every_event(client: str, load: Load) -> None:
    assert measure("events-all", Setting(client, load, PYTHON, scale=0.01))["lost"] == 0


@pytest.mark.parametrize("name", ["events-read", "events-items", "events-dict", "list-read"])
def test_limits_read_what_clients_read(name: str, load: Load) -> None:
    assert measure(name, Setting("batches", load, PYTHON, scale=0.01))["lost"] == 0


def test_nodes_agi_and_calls(load: Load, capsys: pytest.CaptureFixture[str]) -> None:
    for pool in (False, True):
        with sender.Sender(PYTHON, load) as server:
            assert nodes.measure(server, 2, 500, pool=pool)[0] > 0
    agi.main(["--at-once", "2", "--rounds", "1"])
    calls.main(["--calls", "2", "--rounds", "1"])
    assert "a command" in (shown := capsys.readouterr().out)
    assert "calls/s" in shown


def test_every_client_of_a_scenario_exists() -> None:
    for scenario in SCENARIOS.values():
        for client in scenario.clients:
            assert client_class(client).shown


def test_soak_accounts_for_every_event(load: Load) -> None:
    outcome = soak(load, PYTHON, 20_000, part=10_000)
    assert outcome.events == 20_002
    assert outcome.lost == outcome.unaccounted == 0
    assert len(outcome.sizes) == 2


def test_medians_ratios_and_targets() -> None:
    results = Results()
    for value in (90.0, 100.0, 500.0):
        results.add("events-all", OWN, {"value": value, "lost": 0})
        results.add("events-all", "asterisk-ami", {"value": value / 5, "lost": 2})
        results.add("ping", OWN, {"value": value})
        results.add("ping", "asterisk-ami", {"value": value * 2})
    assert results.median("events-all") == 100
    assert results.ratio("events-all", OWN, "asterisk-ami") == 5
    assert results.ratio("ping", OWN, "asterisk-ami") == 2, "less is better"
    assert results.lost("events-all", "asterisk-ami") == 2
    first = TARGETS[0]
    assert first.value(results) == 5
    assert first.met(5)
    assert next(each for each in TARGETS if "one name" in each.text).value(results) is None


def test_report_and_plot() -> None:
    results = Results()
    results.add("events-all", OWN, {"value": 300_000.0, "lost": 0, "cpu_us": 3.0})
    results.add("events-all", "asterisk-ami", {"value": 100_000.0, "lost": 7})
    results.skip("events-all", "pystrix", "can't be installed")
    page = render(results, machine="m", versions={OWN: "1", "pystrix": "2"}, rounds=3, date="2026-01-01", quick=False)
    assert "pystrix 2" not in page, "it was not measured"
    for expected in ("300,000", "× 3.00", "**7 lost**", "can't be installed", "**no**"):
        assert expected in page
    picture = ElementTree.fromstring(draw(results))
    bars = [each for each in picture.iter("{http://www.w3.org/2000/svg}rect") if each.get("fill") != "#fff"]
    assert len(bars) == 2
    assert float(bars[0].get("width", 0)) == pytest.approx(3 * float(bars[1].get("width", 0)), rel=0.01)


def test_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list", "--only", "ping*"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("ping ")
    assert parse(["--quick"]).quick
    assert Path(sender.SOURCE).exists()
