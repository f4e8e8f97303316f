"""Where a cluster's nodes come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pyami_sync import TLS, ClusterPool, Limits, ReconnectPolicy
from pyami_sync.cluster.config import NodeConfig, node_config, read_nodes, read_toml
from pyami_sync.session.options import Options, make_options

FILE = """
[defaults]
username = "admin"
secret_env = "CLUSTER_SECRET"
timeout = 5
reconnect = { initial = 0.5, maximum = 10.0 }

[nodes.paris]
url = "ami://10.1.0.1"
tags = ["eu", "prod"]

[nodes.tokyo]
host = "10.2.0.1"
port = 5040
tls = { ca_file = "/etc/ca.pem" }
secret = "of its own"
limits = { frame = 1000 }
system_name = "pbx-tokyo"
tags = "asia"

[nodes.lima]
url = "amis://someone:else@10.3.0.1?timeout=9"
reconnect = false
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CLUSTER_SECRET", "from the environment")
    path = tmp_path / "nodes.toml"
    path.write_text(FILE, "utf-8")
    return path


def test_a_file_gives_nodes_with_defaults(file: Path) -> None:
    paris, tokyo, lima = read_toml(file)
    assert (paris.id, paris.options.host, paris.options.port) == ("paris", "10.1.0.1", 5038)
    assert (paris.options.username, paris.options.secret) == ("admin", "from the environment")
    assert (paris.options.timeout, paris.options.node, paris.tags) == (5, "paris", {"eu", "prod"})
    assert paris.options.reconnect == ReconnectPolicy(initial=0.5, maximum=10.0)
    assert (tokyo.options.port, tokyo.options.tls, tokyo.options.secret) == (
        5040,
        TLS(ca_file="/etc/ca.pem"),
        "of its own",
    )
    assert (tokyo.options.limits, tokyo.system_name, tokyo.tags) == (Limits(frame=1000), "pbx-tokyo", {"asia"})
    assert (lima.options.username, lima.options.secret, lima.options.timeout) == ("someone", "else", 9)
    assert (lima.options.port, lima.options.tls, lima.options.reconnect) == (5039, TLS(), None)


def test_a_pool_reads_a_file(file: Path) -> None:
    for given in (file, str(file)):
        pool = ClusterPool(given, timeout=1)
        assert list(pool) == ["paris", "tokyo", "lima"]
        assert pool.nodes["paris"].tags == {"eu", "prod"}
        pool.close()


@pytest.mark.parametrize("given", ["url", "mapping", "options", "config"])
def test_a_node_comes_in_many_forms(given: str) -> None:
    forms: dict[str, Any] = {
        "url": "ami://u:s@h:1",
        "mapping": {"host": "h", "port": 1, "username": "u", "secret": "s"},
        "options": Options(host="h", port=1, username="u", secret="s"),
        "config": NodeConfig("other", Options(host="h", port=1, username="u", secret="s"), frozenset("y")),
    }
    made = node_config("n", forms[given], tags=["x"])
    assert (made.id, made.options.node, made.options.address) == ("n", "n", "h:1")
    assert (made.options.username, made.options.secret) == ("u", "s")
    assert "x" in made.tags


def test_what_is_nearer_wins() -> None:
    made = node_config(
        "n", "ami://u:s@h?timeout=3", defaults={"username": "d", "timeout": 1, "auth": "plain"}, timeout=4
    )
    assert (made.options.username, made.options.timeout, made.options.auth) == ("u", 4, "plain")


def test_urls_are_named_by_their_addresses() -> None:
    found = read_nodes(["ami://u:s@h1", "ami://u:s@h2:1"], {})
    assert [node.id for node in found] == ["h1:5038", "h2:1"]
    assert [node.options.node for node in found] == ["h1:5038", "h2:1"]
    assert [node.id for node in read_nodes("ami://u:s@h1", {})] == ["h1:5038"]
    with pytest.raises(ValueError, match="twice"):
        read_nodes(["ami://u:s@h1", "ami://v:s@h1"], {})
    with pytest.raises(TypeError, match="URLs"):
        read_nodes([make_options({"host": "h"})], {})  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes = 1", "each node is a table"),
        ("[nodes]\na = 1", "each node is a table"),
        ("[node.a]\nurl = 'ami://h'", "unknown node"),
        ("[nodes.a]\nurl = 'http://h'", "node 'a': a URL begins with"),
        ("[nodes.a]\nhost = 'h'\ncolour = 'red'", "node 'a': no such option: colour"),
        ("[nodes.a]\nhost = 'h'\nsecret_env = 'NOT_THERE'", "no NOT_THERE"),
        ("[nodes.a]\nhost = 'h'\nsecret_file = '/not/there'", "secret_file"),
        ("[nodes.a]\nhost = 'h'\ntls = { colour = 'red' }", "node 'a'"),
        ("[nodes.a\n", "line 1"),
    ],
)
def test_mistakes_in_a_file_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "nodes.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ValueError, match=message) as caught:
        read_toml(path)
    assert str(path) in str(caught.value)


def test_secrets_come_from_files_and_stay_unseen(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("hush\n", "utf-8")
    made = node_config("n", {"host": "h", "secret_file": str(path)})
    assert made.options.secret == "hush"
    assert "hush" not in repr(made)
    with pytest.raises(OSError):
        read_toml(tmp_path / "none.toml")


def test_ids_are_texts() -> None:
    for wrong in ("", 5, None):
        with pytest.raises(ValueError, match="id"):
            node_config(wrong, "ami://h")  # type: ignore[arg-type]


def test_how_to_do_tls_may_be_a_default() -> None:
    ours, theirs = TLS(ca_file="/ours.pem"), TLS(ca_file="/theirs.pem")
    assert node_config("n", "amis://u:s@h", defaults={"tls": ours}).options.tls == ours
    assert node_config("n", "amis://u:s@h?ca_file=/theirs.pem", defaults={"tls": ours}).options.tls == theirs
    assert node_config("n", "amis://u:s@h", defaults={"tls": False}).options.tls == TLS()
