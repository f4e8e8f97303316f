"""The file of a bridge, the allow-list, and the metrics."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from pyami_sync import Action
from pyami_sync.bridge import AllowList, Answer, Bridge, Request, Rule, read_config
from pyami_sync.bridge.memory import MemoryTransport
from pyami_sync.bridge.prometheus import MetricsServer

from .support import ALL, leading, new_node, until

FILE = """
[bridge]
ttl = 2
spool = 1000
[allow.web]
actions = ["Originate", "Queue*"]
nodes = ["p*"]
[defaults]
username = "admin"
secret = "s"
[nodes.paris]
url = "ami://10.1.0.1"
[nodes]
tokyo = "ami://10.2.0.1"
"""


def test_a_file(tmp_path):
    path = tmp_path / "nodes.toml"
    path.write_text(FILE.replace('[nodes]\ntokyo = "ami://10.2.0.1"\n', '[nodes.tokyo]\nurl = "ami://10.2.0.1"\n'))
    config = read_config(path)
    assert list(config.nodes) == ["paris", "tokyo"]
    assert config.settings == {"ttl": 2, "spool": 1000}
    assert config.defaults == {"username": "admin", "secret": "s"}
    assert config.allowed.refusal("web", "paris", Action("QueueAdd")) is None
    assert config.allowed.refusal("web", "tokyo", Action("QueueAdd"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("x = 1", "unknown x"),
        ("[", "nodes.toml"),
        ("[bridge]\nttl = 1", "no node"),
        ("[bridge]\ntll = 1", "unknown bridge.tll"),
        ('[bridge]\nttl = "1"', "of type float"),
        ("bridge = 1", "must be a table"),
        ("[nodes]\na = 1", "must be a URL"),
        ('[nodes]\na = "ami://h"\n[allow.web]\nactions = "Ping"', "holds a list"),
        ('[nodes]\na = "ami://h"\n[allow.web]\nactoins = []', "no such key"),
    ],
)
def test_a_file_that_is_wrong_says_where(tmp_path, text, why):
    path = tmp_path / "nodes.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=why):
        read_config(path)


@pytest.mark.parametrize(
    ("action", "allowed"),
    [
        (Action("ping"), True),
        (Action("Originate", Channel="x"), False),
        (Action("Command", Command="core show channels"), True),
        (Action("Command", Command="CORE  show\tversion"), True),
        (Action("Command", Command="core stop now"), False),
        (Action("Command"), False),
    ],
)
def test_the_allow_list(action, allowed):
    rules = AllowList({"*": Rule(actions=("Ping", "Command"), commands=("core show *",))})
    assert (rules.refusal("web", "paris", action) is None) is allowed


def test_nobody_may_do_anything_without_a_rule():
    assert AllowList({}).refusal("web", "paris", Action("Ping"))


def test_requests_and_answers_come_back():
    request = Request("paris", b"Action: \xff\r\n\r\n", "me", "web", 12.5)
    assert Request.from_bytes(request.to_bytes()) == request
    assert request.expired
    answer = Answer("1", "done", "ä", (b"\xff", b""))
    assert Answer.from_bytes(answer.to_bytes()) == answer
    for wrong in (b"[]", b"{}", b'{"outcome": "maybe"}'):
        with pytest.raises(ValueError):
            Answer.from_bytes(wrong)
        with pytest.raises(ValueError):
            Request.from_bytes(wrong)


def test_metrics_and_health(sim):
    node = new_node()
    transport = MemoryTransport()
    with Bridge({node: sim.url}, transport, ttl=0.5, allowed=ALL) as bridge:
        server = MetricsServer(bridge, port=0)
        try:
            until(lambda: leading(bridge, node))
            base = f"http://127.0.0.1:{server.port}"
            with urllib.request.urlopen(f"{base}/metrics") as answer:
                text = answer.read().decode()
            assert f'pyami_bridge_connected{{node="{node}"}} 1' in text
            assert "pyami_bridge_broker_up 1" in text
            with urllib.request.urlopen(f"{base}/health") as answer:
                assert json.load(answer)["ready"] is True
            transport.available = False
            until(lambda: not bridge.health().broker)
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(f"{base}/health")
            with caught.value:
                assert caught.value.code == 503
            transport.available = True
        finally:
            server.close()
