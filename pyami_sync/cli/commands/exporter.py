"""The command ``exporter``: serves metrics of the session, calls and queues for Prometheus."""

from __future__ import annotations

import click

from ..exits import FAILED, OK
from ..program import Command
from ..settings import Settings, pass_settings

__all__ = ["exporter"]


def split_address(text: str) -> tuple[str, int]:
    """Split ``HOST:PORT``, ``:PORT`` or ``PORT``; without a host, use the loopback address.

    Raises:
        click.BadParameter: it is none of these.

    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 <= int(port) < 65536:
        raise click.BadParameter(f"{text!r} is not HOST:PORT or PORT", param_hint="--listen")
    return host.strip("[]") or "127.0.0.1", int(port)


@click.command(
    cls=Command,
    examples=["exporter", "exporter --listen 127.0.0.1:9788 --audit 5m", "exporter -p office --without endpoints"],
)
@click.option(
    "--listen", "address", default="127.0.0.1:9788", show_default=True, metavar="HOST:PORT", help="Where to serve."
)
@click.option("--audit", type=float, metavar="SECONDS", help="Compare the model with fresh lists so often.  [never]")
@click.option(
    "--without", multiple=True, metavar="AREA", help="An area to leave out, such as endpoints. May be repeated."
)
@pass_settings
def exporter(settings: Settings, address: str, audit: float | None, without: tuple[str, ...]) -> int:
    """Serve metrics under http://HOST:PORT/metrics until Ctrl-C: calls, queues, agents, endpoints, the session itself.

    A lost connection is restored; meanwhile `asterisk_live_consistent` is 0. Needs the read classes `call`, `agent`,
    `system` and `reporting`, and the write classes `reporting` and `system`.
    """
    host, port = split_address(address)
    output = settings.output
    try:
        from prometheus_client import CollectorRegistry, start_http_server

        from ...integrations.prometheus import AMICollector
        from ...integrations.prometheus_live import LiveCollector
    except ModuleNotFoundError:
        raise click.UsageError("the exporter needs one more package: pip install 'pyami-sync[prometheus]'") from None
    from ...live.areas import AREAS

    unknown = sorted(set(without) - set(AREAS))
    if unknown:
        raise click.UsageError(f"no such area: {', '.join(unknown)} (there are {', '.join(AREAS)})")
    areas = [name for name in AREAS if name not in without]
    with settings.connect(events=True, stay=True) as client, client.live(*areas, audit=audit) as live:
        registry = CollectorRegistry()
        collector = LiveCollector(live)
        registry.register(AMICollector(client))
        registry.register(collector)
        try:
            server, thread = start_http_server(port, host, registry)
        except OSError as exc:
            output.error(f"can't serve on {host}:{port}: {exc.strerror}", FAILED)
            return FAILED
        output.text(f"http://{host}:{server.server_port}/metrics")
        output.flush()
        try:
            client.wait_closed()
        finally:
            collector.close()
            server.shutdown()
            server.server_close()
            thread.join()
    output.warn("the session has ended")
    return OK
