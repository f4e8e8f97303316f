"""The command ``ladder``: shows what happened to each leg of a call."""

from __future__ import annotations

import lzma
from collections.abc import Iterator

import click

from ...exceptions import WaitTimeout
from ...live import Call, CallRecord, explain, replay, to_json
from ...testing.tape import Record
from ...wire.message import Event, Message
from ..exits import OK
from ..output import Output
from ..program import Command
from ..settings import Settings, connecting, pass_settings
from ..types import DURATION

__all__ = ["ladder"]

AREAS = ("calls", "queues", "parking", "conferences")


@click.command(
    cls=Command,
    examples=[
        "ladder",
        "ladder PJSIP/1101-0000002a",
        "ladder --tape trouble.tape",
        "ladder --tape trouble.tape pbx-1795792557.2",
        "ladder --tape trouble.tape --all",
    ],
)
@click.argument("call", required=False)
@click.option("--tape", type=click.Path(exists=True, dir_okay=False), metavar="FILE", help="Of a recording.")
@click.option("--all", "every", is_flag=True, help="Draw every call of the recording.")
@click.option("--timeout", type=DURATION, default="1h", show_default=True, metavar="TIME", help="How long to wait.")
@pass_settings
def ladder(settings: Settings, call: str | None, tape: str | None, every: bool, timeout: float) -> int:
    """Draw what happened to a call: its legs, who dialled and talked to whom, and how it ended.

    CALL is a Linkedid, or the name or unique id of one of its channels. On a server, the command waits until the call
    has ended; without CALL, it waits for the next call. If a recording contains several calls and none is named, it
    lists them.
    """
    output = settings.output
    if tape is not None:
        return of_tape(output, tape, call, every)
    with settings.connect(events="call,dialplan,agent,system") as client, client.live(*AREAS, history=200_000) as live:
        if call is not None and live.view().call_of(call) is None and call not in live.calls:
            raise click.UsageError(f"there is no call {call!r} now; `pyami-sync channels` shows those that there are")
        linkedid = call
        if call is not None:
            found = live.view().call_of(call)
            linkedid = found.linkedid if found is not None else call
        with live.changes(CallRecord, timeout=timeout) as ended:
            output.note(f"waiting for the end of {call or 'the next call'} on {connecting(client)}")
            known = set(live.calls)
            for change in ended:
                record = change.after
                if record is None:
                    continue
                mine = linkedid in (record.linkedid, *(leg.uniqueid for leg in record.legs))
                if mine or (call is None and record.linkedid not in known):
                    show(output, live.explain(record), record)
                    return OK
        raise WaitTimeout(f"the end of {call or 'a call'}", timeout)


def show(output: Output, text: str, record: CallRecord | Call) -> None:
    """Print a ladder, or with --json the record."""
    if output.as_json:
        output.record({**to_json(record), "ladder": text.splitlines()})
    else:
        for line in text.splitlines():
            output.text(line)


def of_tape(output: Output, file: str, call: str | None, every: bool) -> int:
    """Draw calls of a recording."""
    from .tapes import read_traffic

    try:
        with output.busy(f"reading {file}"):
            events = list(events_of(read_traffic(file)))
    except (OSError, ValueError, lzma.LZMAError) as exc:
        raise click.UsageError(f"{file} can't be read: {exc}") from None
    records: list[CallRecord] = []
    calls: dict[str, Call] = {}
    for view, changes in replay(events, *AREAS):
        records += [change.after for change in changes if isinstance(change.after, CallRecord)]
        calls = dict(view.calls)
    found: list[CallRecord | Call] = [*records, *calls.values()]
    if call is not None:
        chosen = [
            each
            for each in found
            if call == each.linkedid or any(call in (leg.uniqueid, leg.channel) for leg in each.legs)
        ]
        if not chosen:
            raise click.UsageError(f"{file} holds no call {call!r}, but {len(found)} others")
        found = chosen
    if len(found) == 1 or every or call is not None:
        for each in found:
            show(output, explain(events, each.linkedid), each)
        return OK
    for each in found:
        legs = ", ".join(f"{leg.channel} {leg.disposition}" for leg in each.parties)
        if output.as_json:
            output.record(to_json(each))
        else:
            output.text(f"{each.linkedid}  {legs}")
    return OK


def events_of(records: list[Record]) -> Iterator[Event]:
    """Yield the events of a recording in their typed classes."""
    rest = b""
    for record in records:
        if record.direction != "received":
            continue
        *frames, rest = (rest + record.raw).split(b"\r\n\r\n")
        for frame in frames:
            start = frame.find(b"Event: ")
            if start == 0 or (start > 0 and frame[:start].startswith(b"Asterisk Call Manager")):
                message = Message.from_bytes(frame[start:])
                if isinstance(message, Event):
                    yield message
