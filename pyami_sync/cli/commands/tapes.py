"""The commands ``record``, ``replay`` and ``simulate``: recordings of traffic, and simulated servers."""

from __future__ import annotations

import contextlib
import lzma
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ...testing import Record, Recorder, ReplayServer, Scenario, Simulator, read_tape
from ...testing.simulator import RELEASES
from ..exits import FAILED, OK
from ..output import Output, span
from ..profiles import read_secret
from ..program import Command
from ..settings import Settings, connecting, pass_settings
from ..types import DURATION

__all__ = ["record", "replay", "simulate"]

SECRET = "secret"
SPOKEN = re.compile(rb"(?:^|\n)(?:Asterisk Call Manager/|(?:Event|Response): )[^\r\n]*\r\n").search
"""Recognises the bytes of an AMI server."""


@click.command(
    cls=Command,
    examples=[
        "record trouble.tape",
        "record trouble.tape --for 10m",
        "record night.tape --mask call,agent --for 8h --quiet",
    ],
)
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--for", "period", type=DURATION, metavar="TIME", help="Stop after this time.")
@click.option("-n", "--count", type=click.IntRange(1), help="Stop after so many messages.")
@click.option("--mask", metavar="CLASSES", help="Event classes to ask the server for, such as call,agent.")
@click.option("--append", is_flag=True, help="Add to a file that exists.")
@pass_settings
def record(
    settings: Settings, file: str, period: float | None, count: int | None, mask: str | None, append: bool
) -> int:
    """Record all messages with their times in FILE until Ctrl-C, for a bug report or for `replay`.

    Credentials are not recorded. The file is readable even if the command is killed; `zcat FILE` shows it.
    """
    output = settings.output
    if os.path.exists(file) and not append:
        raise click.UsageError(f"{file} exists: name another, or --append")
    client = settings.make_client(event_mask=mask, reconnect=True)
    started = time.monotonic()
    try:
        recorder = Recorder(file)
    except OSError as exc:
        raise click.UsageError(f"{file} can't be written: {exc.strerror}") from None
    code = OK
    connected = False
    try:
        with recorder:
            recorder.attach(client)  # before the login, which is part of the recording
            with output.busy(f"connecting to {client.options.address}"), client:
                output.note(f"recording {connecting(client)} to {file}; Ctrl-C ends it")
                connected = True
                _count_up(output, recorder, period, count, client)
    except OSError as exc:
        if exc is not recorder.error:
            raise
        output.error(
            f"{file} ends after {recorder.written} messages: {exc.strerror}; make room, or name a file elsewhere",
            FAILED,
        )
        code = FAILED
    finally:
        if not append and not (connected and recorder.written):
            with contextlib.suppress(OSError):
                os.unlink(file)  # it is empty, and would prevent the next try
        seconds = time.monotonic() - started
        facts = {"file": file, "messages": recorder.count, "seconds": round(seconds, 1)}
        if output.as_json:
            output.record({**facts, "bytes": os.path.getsize(file) if os.path.exists(file) else 0})
        else:
            output.note(f"{recorder.count} messages in {span(seconds)}: {file}")
    return code


def _count_up(output: Output, recorder: Recorder, period: float | None, count: int | None, client: Any) -> None:
    """Wait for the end of the recording; at a terminal, show the number of messages."""
    started = time.monotonic()
    while True:
        passed = time.monotonic() - started
        if (period is not None and passed >= period) or (count is not None and recorder.count >= count):
            break
        if recorder.error is not None:
            break  # close() raises the error
        output.status(f"{recorder.count} messages, {span(passed)}")
        if client.wait_closed(0.2 if period is None else max(0.01, min(0.2, period - passed))):
            client.ping()  # raises the error that ended the session
    output.status("")


def serving(function: Any) -> Any:
    """Add the options of a server to a command."""
    options = [
        click.option("--bind", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen."),
        click.option("--port", type=click.IntRange(0, 65535), default=5038, show_default=True, help="0: a free one."),
        click.option("--for", "period", type=DURATION, metavar="TIME", help="Stop after this time."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@contextmanager
def started(server: Simulator) -> Iterator[None]:
    """Run a server; a port that is in use is reported as a usage error."""
    try:
        server.start()
    except OSError as exc:
        raise click.UsageError(f"can't listen on {server.host}:{server.port or ''}: {exc.strerror or exc}") from None
    try:
        yield
    finally:
        server.close()


def _tell(output: Output, what: str, server: Simulator, user: str, **facts: Any) -> None:
    """Print the address of a server, without its secret."""
    if output.as_json:
        output.record({"serving": what, "host": server.host, "port": server.port, "user": user, **facts})
    else:
        output.text(f"{what} on ami://{user}@{server.host}:{server.port}; Ctrl-C ends it")
    output.flush()


@click.command(
    cls=Command,
    connects=False,
    examples=[
        "replay trouble.tape",
        "replay trouble.tape --speed 20",
        "replay trouble.tape --full-speed --once --port 0",
        "replay trouble.tape --step",
    ],
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@serving
@click.option(
    "--speed", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="How much faster."
)
@click.option("--full-speed", is_flag=True, help="As fast as the client reads.")
@click.option(
    "--step",
    is_flag=True,
    help="Send one message for each line of standard input, or the number of messages in that line.",
)
@click.option("--repeat", type=click.IntRange(1), default=1, show_default=True, help="How many times to play it.")
@click.option("--once", is_flag=True, help="End once everything has been sent to a client.")
@pass_settings
def replay(
    settings: Settings,
    file: str,
    bind: str,
    port: int,
    period: float | None,
    speed: float,
    full_speed: bool,
    step: bool,
    repeat: int,
    once: bool,
) -> int:
    """Serve a recording like an Asterisk server: each client that logs in, with any name and secret, is sent FILE.

    Each client gets it from the beginning. FILE may also be a dump of a server's bytes, plain or compressed.
    """
    output = settings.output
    try:
        with output.busy(f"reading {file}"):
            server = ReplayServer(
                read_traffic(file),
                host=bind,
                port=port,
                speed=None if full_speed else speed,
                stepwise=step,
                repeat=repeat,
                close_at_end=once,
            )
    except (OSError, ValueError, lzma.LZMAError) as exc:
        raise click.UsageError(f"{file} can't be replayed: {exc}") from None
    with started(server):
        _tell(output, f"replaying {server.messages} messages", server, "anyone", messages=server.messages)
        if step:
            stepper = threading.Thread(target=_step, args=(server,), name="pyami-steps", daemon=True)
            stepper.start()
        until = None if period is None else time.monotonic() + period
        while until is None or time.monotonic() < until:
            output.status(f"{server.progress:.0%} sent, {len(server.sessions)} clients")
            try:
                server.wait_sent(0.2)
            except AssertionError:
                continue
            if once:
                server.wait_until(lambda: not server.sessions, 60, "the client has gone")
                break
            time.sleep(0.2)
        output.status("")
    return OK


def read_traffic(file: str) -> list[Record]:
    """Read a recording or a dump.

    Raises:
        OSError: the file can't be read.
        ValueError: the file is neither, or is damaged.

    """
    records = list(read_tape(file))
    if not any(SPOKEN(record.raw) for record in records if record.direction == "received"):
        raise ValueError("it is no recording of `pyami-sync record`, and no dump of what an AMI server sent")
    return records


def _step(server: ReplayServer) -> None:
    """Send messages as requested on standard input."""
    for line in sys.stdin:
        text = line.strip()
        server.step(int(text) if text.isdecimal() else 1)


@click.command(
    cls=Command,
    connects=False,
    examples=[
        "simulate",
        "simulate --calls-per-second 0",
        "simulate --calls-per-second 20 --queues support,sales --agents 12",
        "simulate --port 0 --asterisk 16 --calls 400 --pace 50",
        "simulate --user monitor --secret-file secret.txt --tls --port 5039",
    ],
)
@serving
@click.option(
    "--calls-per-second", type=click.FloatRange(0), default=1.0, show_default=True, help="0: no calls but yours."
)
@click.option("--calls", type=click.IntRange(1), help="Make so many calls, then no more.")
@click.option("--queues", default="support,sales", show_default=True, help="Names, with commas between them.")
@click.option("--agents", type=click.IntRange(0), default=6, show_default=True, help="Members of the queues.")
@click.option("--endpoints", type=click.IntRange(1), default=10, show_default=True, help="Other phones.")
@click.option(
    "--pace", type=click.FloatRange(0, min_open=True), default=1.0, show_default=True, help="Faster than life."
)
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed makes the same calls.")
@click.option("--asterisk", type=click.Choice(list(RELEASES)), default="22", show_default=True, help="Major version.")
@click.option("--user", default="admin", show_default=True, help="Who may log in.")
@click.option(
    "--secret-file", type=click.Path(), metavar="FILE", help="Its secret (else AMI_SECRET, else the word secret)."
)
@click.option("--tls", is_flag=True, help="Serve TLS, with the certificate of pyami_sync.testing.")
@pass_settings
def simulate(
    settings: Settings,
    bind: str,
    port: int,
    period: float | None,
    calls_per_second: float,
    calls: int | None,
    queues: str,
    agents: int,
    endpoints: int,
    pace: float,
    seed: int,
    asterisk: str,
    user: str,
    secret_file: str | None,
    tls: bool,
) -> int:
    """Serve a simulated Asterisk, with phones, queues and automatic calls."""
    output = settings.output
    secret = read_secret(secret_file) if secret_file else os.environ.get("AMI_SECRET") or SECRET
    server = Simulator(
        host=bind, port=port, username=user, secret=secret, asterisk=asterisk, tls=tls, seed=seed, timestamps=True
    )
    scenario = Scenario(
        calls_per_second=calls_per_second or 1.0,
        queues=[name.strip() for name in queues.split(",") if name.strip()],
        agents=agents,
        endpoints=endpoints,
        calls=0 if not calls_per_second else calls,
        speed=pace,
        seed=seed,
    )
    with started(server):
        play = server.play(scenario)
        if not calls_per_second:
            # The telephones in the examples of the documentation.
            for name in ("alice", "bob"):
                server.pbx.add_endpoint(name)
        _tell(output, f"a simulated Asterisk {server.version}", server, user, version=server.version)
        word = f"AMI_SECRET={SECRET} " if secret == SECRET else ""  # the default is public: it is in the help
        where = f"{user}@{server.host}:{server.port}"
        url = f"'amis://{where}?verify=no'" if tls else f"ami://{where}"
        output.note(f"Try it in another terminal: AMI_URL={url} {word}pyami-sync top")
        until = None if period is None else time.monotonic() + period
        while until is None or time.monotonic() < until:
            output.status(f"{play.placed} calls placed, {len(server.pbx.channels)} channels")
            time.sleep(0.2 if until is None else max(0.0, min(0.2, until - time.monotonic())))
        if output.as_json:
            output.record({"calls": play.placed})
    return OK
