"""The short examples and the small services, each run by its one command, on a simulated and a real server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyami_sync import connect
from pyami_sync.testing import Simulator

from .processes import Process, free_port, serving
from .servers import Real, Server, server
from .waiting import until

__all__ = ["server"]

SCRIPTS: list[tuple[list[str], list[str]]] = [
    (["ping.py"], ["Asterisk 22.", " ms"]),
    (["originate.py", "Local/100@default", "106"], ["Local/100@default: answered, cause 16 (normal clearing), "]),
    (["channels.py"], ["0 channels"]),
    (["queue_member.py", "support", "Local/101@default"], ["Example answers queue support", "and no more"]),
    (["listen.py", "2"], ["listening", "Local/106@default-", ";1: "]),
    (["queue_feed.py", "1"], ['"name": "support"', '"paused": true']),
    (["console.py", "core", "show", "version"], ["Asterisk 22."]),
]


@pytest.mark.parametrize(("command", "says"), SCRIPTS, ids=lambda each: str(each[0]))
def test_script(server: Server, tmp_path: Path, command: list[str], says: list[str]) -> None:
    with Process(tmp_path / "log", "-W", "error", *command, AMI_URL=server.url) as process:
        assert process.popen.wait(30) == 0, process.output
    assert all(text in process.output for text in says), process.output


@pytest.mark.parametrize("name", ["ping.py", "rx_quick_start.py"])
def test_script_with_nothing_but_its_command(tmp_path: Path, name: str) -> None:
    with Process(tmp_path / "log", name, AMI_URL="") as process:
        assert process.popen.wait(30) == 0, process.output


def test_a_failed_call_is_an_exit_code(tmp_path: Path) -> None:
    with (
        Simulator() as simulator,
        Process(tmp_path / "log", "originate.py", "Local/103@default", AMI_URL=simulator.url) as process,
    ):
        assert process.popen.wait(30) == 1
    assert "Local/103@default: busy, cause 17 (user busy)" in process.output


def test_the_quick_start_step_by_step(server: Server, tmp_path: Path) -> None:
    with Process(tmp_path / "log", "rx_quick_start.py", AMI_URL=server.url) as process:
        assert process.popen.wait(30) == 0, process.output
    lines = process.output.splitlines()
    steps = [
        "> Action: Challenge",
        "< Challenge: ",
        "> Action: Login",
        "< Message: Authentication accepted",
        "< Event: FullyBooted",
        "fully booted",
        "> Action: PJSIPShowEndpoints",
        "< Event: EndpointList",
        "< Event: EndpointListComplete",
        "> Action: Logoff",
        "< Response: Goodbye",
        "logged off",
    ]
    # Each step is there. What is shown of the wire comes from a thread of its own, so only it is in order.
    found = [next((at for at, line in enumerate(lines) if line.startswith(step)), None) for step in steps]
    assert None not in found, dict(zip(steps, found, strict=True))
    wire = [at for step, at in zip(steps, found, strict=True) if step[0] in "<>"]
    assert wire == sorted(wire)  # type: ignore[type-var]
    assert {"alice: ", "bob: "} <= {line[: line.find(" ") + 1] for line in lines}
    assert not any("secret" in line.lower() for line in lines if not line.startswith("<"))


def test_the_small_web_service(server: Server, tmp_path: Path) -> None:
    port = free_port()
    environment = {"AMI_URL": server.url, "REST_TOKEN": "planted-token"}
    with serving(tmp_path / "log", "rest_service", str(port), port=port, **environment) as service:
        assert "WARNING" in (tmp_path / "log").read_text("utf-8")
        assert service.request("GET", "/events")[0] == 401
        service.headers = {"Authorization": "Bearer planted-tokem"}
        assert service.request("POST", "/action", {"action": "Ping"})[0] == 401
        service.headers = {"Authorization": "Bearer planted-token", "Host": "evil.example"}
        assert service.request("POST", "/action", {"action": "Ping"})[0] == 421
        service.headers = {"Authorization": "Bearer planted-token"}
        answer = service.request("POST", "/action", {"action": "QueueStatus", "headers": {"Queue": "support"}})
        assert answer[0] == 200
        assert [event["Event"] for event in answer[1]["events"]][:2] == ["QueueParams", "QueueMember"]
        last = service.get("/events")["last"]
        with connect(server.url, event_mask="off") as ami:
            ami.originate("Local/100@default", Application="Wait", Data="3600")
            until(lambda: len(service.get("/calls")["calls"]) == 2, "the call")
            names: list[str] = []

            def more() -> bool:
                nonlocal last
                found = service.get(f"/events?since={last}&wait=5")
                last = found["last"]
                assert found["missed"] == 0
                names.extend(event["Event"] for event in found["events"])
                return "OriginateResponse" in names

            until(more, "its events")
            assert names.count("Newchannel") == 2
        post: list[tuple[Any, int]] = [
            ({"action": "Ping"}, 200),
            ({"action": "QueueAdd", "headers": {"Queue": "nowhere", "Interface": "Local/1"}}, 422),
            ({"action": "QueueAdd", "headers": {"Queue": "1\r\nAction: Originate"}}, 400),
            ({"action": "Ping", "headers": {"X": "1"}}, 403),
            ({"action": "Originate", "headers": {"Channel": "Local/1", "Application": "System"}}, 403),
            ({"action": "Command", "headers": {"Command": "core stop now"}}, 403),
            ({"action": "Ping", "headers": []}, 400),
            ([], 400),
        ]
        assert [service.request("POST", "/action", body)[0] for body, _ in post] == [status for _, status in post]
        # The server goes and comes back; the service stays.
        server.kill()
        until(lambda: service.get("/events")["state"] == "reconnecting", "the loss")
        assert service.request("GET", "/calls")[0] == 503
        assert service.request("POST", "/action", {"action": "Ping"})[0] == 503
        server.restart()
        until(lambda: service.request("GET", "/calls")[0] == 200, "the return", 60)
        kept = [event["Event"] for event in service.get("/events")["events"]]
        assert kept.index("ConnectionLost") < kept.index("Reconnected")


def test_click_to_call(server: Server, tmp_path: Path) -> None:
    """On the real server nobody is registered, which is an outcome too."""
    port = free_port()
    simulated = not isinstance(server, Real)
    if simulated:
        pbx = server.simulator.pbx  # type: ignore[attr-defined]
        pbx.add_endpoint("1101")
        pbx.add_endpoint("1102", outcome="busy")
        pbx.add_endpoint("1103", talks=0.1)
        pbx.add_extension("2102", "Dial(PJSIP/1102,10)")
        pbx.add_extension("2103", "Dial(PJSIP/1103,10)")
    wanted = (
        {"1101/2102": ("answered", "busy"), "1101/2103": ("answered", "answered"), "1109/100": ("unreachable",) * 2}
        if simulated
        else {"unregistered/100": ("unreachable",) * 2}
    )
    with serving(tmp_path / "log", "click_to_call.py", str(port), port=port, AMI_URL=server.url) as service:
        placed = {way: service.request("POST", f"/calls/{way}", {})[1]["id"] for way in wanted}
        for way, outcomes in wanted.items():

            def over(path: str = f"/calls/{placed[way]}") -> Any:
                return service.get(path)["customer"]

            until(over, "the outcome")
            found = service.get(f"/calls/{placed[way]}")
            assert (found["agent"], found["customer"]) == outcomes
        assert service.request("POST", "/calls/x,y/100", {})[0] == 400


def test_the_celery_worker(server: Server, tmp_path: Path) -> None:
    with Process(tmp_path / "log", "celery_worker", AMI_URL=server.url) as process:
        assert process.popen.wait(90) == 0, process.output
    lines = process.output.splitlines()
    assert sum("'outcome': 'answered', 'cause': 16" in line for line in lines) == 3
    ended = [line.split() for line in lines if " ended, said worker " in line]
    assert len({channel for channel, *_ in ended}) == len(ended) == 6
    assert any(line.startswith("Added interface to queue") for line in lines)
    if not isinstance(server, Real):
        # Two processes at most had a session for their tasks, each one; and none was left.
        simulator = server.simulator  # type: ignore[attr-defined]
        simulator.wait_until(lambda: not simulator.connections, 20, "the end of all sessions")
        assert len(simulator.actions.find("Originate")) == 3
        assert len({line[-1] for line in ended}) <= 2
        assert simulator.accepted <= 4
