"""The command ``bridge``: runs a bridge between servers and a broker, and shows its state."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from ..exits import NO_CONNECTION, OK
from ..output import hide_secrets
from ..program import Command, Group
from ..settings import Settings, pass_settings

__all__ = ["bridge"]

EXAMPLES = [
    "bridge run --config nodes.toml --broker redis://broker/0",
    "bridge status --config nodes.toml --broker redis://broker/0",
    "bridge tail --broker redis://broker/0 paris tokyo",
]

broker_option = click.option(
    "--broker", metavar="URL", envvar="AMI_BROKER", required=True, help="redis://… or amqp://… (else AMI_BROKER)."
)


@click.group(cls=Group, connects=False, cluster=True, examples=EXAMPLES)
def bridge() -> None:
    """Connect servers to a broker, and show the state and the events there.

    Several bridges with the same nodes share them: one leads each node, and the others stand by. Applications then
    use the broker's URL instead of a server's, with the node: redis://broker/0?node=paris.
    """


def _open(settings: Settings, broker: str) -> Any:
    from ...bridge import open_transport

    settings.start_logging()
    try:
        return open_transport(broker)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None
    except ImportError as exc:
        raise click.UsageError(f"{exc}: install pyami-sync[redis] or pyami-sync[rabbitmq]") from None


def _read(settings: Settings) -> Any:
    from ...bridge import read_config

    path = settings.config or os.environ.get("AMI_CLUSTER")
    if not path:
        raise click.UsageError("no nodes given: --config FILE, or AMI_CLUSTER")
    try:
        return read_config(path)
    except (OSError, ValueError) as exc:
        raise click.UsageError(str(exc)) from None


@bridge.command("run", cls=Command, connects=False, cluster=True, examples=EXAMPLES[:1])
@broker_option
@click.option("--name", help="Unique name of this bridge.  [generated]")
@click.option("--metrics", metavar="[HOST:]PORT", help="Serve /metrics and /health here.")
@pass_settings
def run(settings: Settings, broker: str, name: str | None, metrics: str | None) -> int:
    """Lead the nodes of the file, or stand by for them, until SIGTERM or Ctrl-C.

    At the end it publishes the pending events and releases the leases, so that other bridges take over at once.
    """
    from ...bridge import Bridge
    from ...bridge.prometheus import MetricsServer

    config = _read(settings)
    transport = _open(settings, broker)
    output = settings.output
    server = None
    options = {**config.settings, **({"name": name} if name else {})}
    try:
        made = Bridge(config.nodes, transport, allowed=config.allowed, defaults=config.defaults, **options)
    except (TypeError, ValueError) as exc:
        raise click.UsageError(str(exc)) from None
    try:
        with made:
            if metrics:
                host, _, port = metrics.rpartition(":")
                try:
                    server = MetricsServer(made, host or "127.0.0.1", int(port))
                except (OSError, ValueError) as exc:
                    raise click.UsageError(f"--metrics {metrics}: {exc}") from None
            output.note(f"{made.name}: {len(config.nodes)} nodes")
            _watch(settings, made)
    finally:
        if server is not None:
            server.close()
        transport.close()
    return OK


def _watch(settings: Settings, made: Any) -> None:
    """Print changes, until a signal ends it."""
    before: set[str] = set()
    broker = True
    while True:
        time.sleep(0.2)
        health = made.health()
        leads = {f"{each.node} (epoch {each.epoch})" for each in health.leaders}
        for each in sorted(leads - before):
            settings.output.note(f"leads {each}")
        for each in sorted(before - leads):
            settings.output.note(f"no longer leads {each}")
        if health.broker != broker:
            settings.output.note("the broker answers again" if health.broker else "the broker does not answer")
        before, broker = leads, health.broker


@bridge.command("status", cls=Command, connects=False, cluster=True, examples=EXAMPLES[1:2])
@broker_option
@pass_settings
def status(settings: Settings, broker: str) -> int:
    """Show the leader of each node in the file; end with 3 unless each has one."""
    config = _read(settings)
    transport = _open(settings, broker)
    try:
        found = transport.leaders(list(config.nodes))
    finally:
        transport.close()
    rows = []
    for node in config.nodes:
        lease = found.get(node)
        if settings.output.as_json:
            facts = {"leader": lease.owner, "epoch": lease.epoch} if lease else {"leader": None, "epoch": None}
            settings.output.record({"node": node, **facts})
        rows.append([node, lease.owner if lease else "nobody", lease.epoch if lease else ""])
    if not settings.output.as_json:
        settings.output.table("Bridges", ["Node", "Leader", "Epoch"], rows)
    return OK if len(found) == len(config.nodes) else NO_CONNECTION


@bridge.command("tail", cls=Command, connects=False, examples=EXAMPLES[2:])
@click.argument("nodes", nargs=-1, required=True, metavar="NODE...")
@broker_option
@click.option("--start", default="now", show_default=True, help="now, first, or a position <epoch>-<seq>.")
@click.option("--count", type=click.IntRange(1), help="End after so many events.")
@pass_settings
def tail(settings: Settings, nodes: tuple[str, ...], broker: str, start: str, count: int | None) -> int:
    """Print the events in the broker, each with its position, and markers where events are missing."""
    from ...bridge import Sequence, event_of
    from ...bridge.client import parse_start

    try:
        begin = parse_start(start)
    except ValueError as exc:
        raise click.UsageError(str(exc)) from None
    transport = _open(settings, broker)
    output = settings.output
    shown = 0
    try:
        place = begin if not isinstance(begin, str) else None
        order = {node: Sequence(node, place) for node in nodes}
        reader = transport.reader(list(nodes), dict.fromkeys(nodes, begin))
        try:
            while count is None or shown < count:
                for record in reader.read(100, 0.5):
                    for each in order[record.node].accept(record):
                        event = hide_secrets(event_of(each))
                        if output.as_json:
                            output.message(event, position=str(each.position), node=each.node)
                        else:
                            pairs = " ".join(f"{name}={value}" for name, value in event.items()[1:])
                            output.text(f"{each.node} {each.position} {each.name} {pairs}")
                        shown += 1
                        if shown == count:
                            output.flush()
                            return OK
                output.flush()
                output.check_reader()
        finally:
            reader.close()
    finally:
        transport.close()
    return OK
