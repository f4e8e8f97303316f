"""The command ``agi``: serves call scripts over FastAGI or AsyncAGI."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from ...agi import DEFAULT_PORT, AsyncAGI, FastAGIServer, Router
from ...agi.source import ScriptSource
from ..exits import OK
from ..output import Output
from ..program import Group
from ..settings import Settings, connecting, pass_settings
from ..types import DURATION

__all__ = ["agi"]

LOOK = 0.5  # seconds between two checks whether a file has changed

logger = logging.getLogger("pyami_sync.agi")


@click.group(
    cls=Group,
    connects=False,
    examples=["agi serve scripts:router", "agi serve scripts:router --reload", "agi listen scripts:router"],
)
def agi() -> None:
    """Serve call scripts: functions that answer, play, ask and connect calls.

    SCRIPTS is a module and the name of a Router in it, such as `shop.scripts:router`; modules are looked for in the
    current directory first.
    """


def scripting(function: Any) -> Any:
    """Add the options that ``serve`` and ``listen`` share to a command."""
    options = [
        click.argument("scripts", metavar="SCRIPTS"),
        click.option("--threads", type=click.IntRange(1), default=100, show_default=True, help="Most scripts at once."),
        click.option("--reload", "reloading", is_flag=True, help="Read the scripts again when a file has changed."),
        click.option("--grace", type=DURATION, default=10.0, help="Time that scripts get at the end.  [10s]"),
        click.option("--for", "period", type=DURATION, metavar="TIME", help="Stop after this time."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@agi.command(
    examples=[
        "agi serve scripts:router",
        "agi serve shop.scripts:router --bind 10.0.0.5 --threads 200",
        "agi serve scripts:router --reload",
    ],
    connects=False,
)
@scripting
@click.option("--bind", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0: a free one.")
@pass_settings
def serve(
    settings: Settings,
    scripts: str,
    threads: int,
    reloading: bool,
    grace: float,
    period: float | None,
    bind: str,
    port: int,
) -> int:
    """Serve FastAGI: AGI(agi://this-host/path) in the dialplan.

    Ctrl-C and SIGTERM end it once the running scripts have ended. SIGHUP, or with --reload a changed file, reloads
    the scripts; running ones continue with the old code. FastAGI has no authentication: restrict access to the port
    to your servers.
    """
    output = settings.output
    with _logging(settings, output), _hangups() as asked:
        source, router = _load(scripts, reloading)
        server = FastAGIServer(router, bind, port, threads=threads)
        try:
            server.start()
        except OSError as exc:
            raise click.UsageError(f"can't listen on {bind}:{port or ''}: {exc.strerror or exc}") from None
        try:
            _tell(output, router, f"agi://{bind}:{server.port}/", host=bind, port=server.port)
            _watch(server, server.wait_stopped, source, asked, reloading, period)
        finally:
            server.stop(grace)
    return OK


@agi.command(
    examples=["agi listen scripts:router", "agi listen scripts:router --url ami://scripts@pbx --reload"],
)
@scripting
@pass_settings
def listen(settings: Settings, scripts: str, threads: int, reloading: bool, grace: float, period: float | None) -> int:
    """Serve AsyncAGI of a server: AGI(agi:async,path) in the dialplan.

    The user needs the read and write class agi, and for calls that are waiting already the write class reporting.
    """
    output = settings.output
    with _logging(settings, output), _hangups() as asked:
        source, router = _load(scripts, reloading)
        with settings.connect(events="agi", stay=True) as client, client.agi(router, threads=threads) as service:
            _tell(output, router, connecting(client))
            _watch(service, client.wait_closed, source, asked, reloading, period)
            service.close(grace)
    return OK


def _load(scripts: str, reloading: bool) -> tuple[ScriptSource, Router]:
    if reloading:
        # Python would use old byte code for a file that changes twice within a second.
        sys.dont_write_bytecode = True
    try:
        source = ScriptSource(scripts)
        return source, source.load()
    except (ValueError, ImportError, TypeError, SyntaxError) as exc:
        raise click.UsageError(f"{scripts} can't be loaded: {exc}") from exc


def _tell(output: Output, router: Router, where: str, **facts: Any) -> None:
    if output.as_json:
        output.record({"serving": where, "scripts": router.patterns, **facts})
    else:
        output.text(f"serving {', '.join(router.patterns) or 'no scripts'} at {where}; Ctrl-C ends it")
    output.flush()


def _watch(
    service: FastAGIServer | AsyncAGI,
    wait: Callable[[float], bool],
    source: ScriptSource,
    asked: list[int],
    reloading: bool,
    period: float | None,
) -> None:
    """Serve until the end, and reload the scripts when they have changed or after SIGHUP."""
    left = period
    while left is None or left > 0:
        pause = LOOK if left is None else min(LOOK, left)
        if wait(pause):
            return
        left = None if left is None else left - pause
        if asked or (reloading and source.changed()):
            asked.clear()
            _reload(service, source)


@contextmanager
def _hangups() -> Iterator[list[int]]:
    """Handle SIGHUP as a request to reload; entered before the server is announced as ready."""
    asked: list[int] = []
    if not hasattr(signal, "SIGHUP"):
        yield asked
        return

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)

    before = signal.signal(signal.SIGHUP, ask)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGHUP, before)


def _reload(service: FastAGIServer | AsyncAGI, source: ScriptSource) -> None:
    try:
        service.scripts = source.load()
    except Exception:
        logger.exception("%s can't be loaded: the old scripts stay in use", source.module)
    else:
        logger.info("%s was read again: %s", source.module, ", ".join(service.scripts.patterns))


@contextmanager
def _logging(settings: Settings, output: Output) -> Iterator[None]:
    """Log the scripts' activity to standard error, unless --quiet is given."""
    settings.start_logging()
    if settings.debug:
        yield
        return
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s: %(message)s"))
    level = logger.level
    logger.setLevel(logging.ERROR if output.quiet else logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
