"""Comparing records of calls with the files that the server writes of the same calls."""

from __future__ import annotations

import csv
import json
import pathlib
from collections.abc import Container, Iterable, Iterator
from datetime import UTC, datetime

from pyami_sync.live import CallRecord, Leg

TRANSFERS = {"BLINDTRANSFER": ("blind",), "ATTENDEDTRANSFER": ("attended", "blonde"), "PICKUP": ("pickup",)}
SLACK = 1.1  # seconds: the files have whole ones


def against_cel(
    records: Iterable[CallRecord], path: pathlib.Path, unseen: Container[str] = frozenset()
) -> Iterator[str]:
    """Return where the legs of records differ from the channel events (CEL) of the server.

    Args:
        records: those of calls that were seen completely.
        path: the server's file.
        unseen: unique ids of channels that were not.

    """
    records = list(records)
    legs = {leg.uniqueid: leg for record in records for leg in record.legs}
    transfers = [transfer for record in records for transfer in record.transfers]
    seen: dict[str, dict[str, tuple[float, str, str]]] = {}
    with path.open(newline="") as lines:
        for kind, uniqueid, linkedid, _name, at, extra in csv.reader(lines):
            known = seen.setdefault(uniqueid, {})
            if kind != "ANSWER" or kind not in known:
                known[kind] = (float(at), linkedid, extra)
    yield from (f"leg {uniqueid}: not in the file" for uniqueid in sorted(set(legs) - set(seen)))
    for uniqueid, events in seen.items():
        leg = legs.get(uniqueid)
        if "CHAN_END" not in events or uniqueid in unseen:
            continue
        if leg is None:
            yield f"channel {uniqueid}: no leg"
            continue
        yield from same_time(f"leg {leg.channel}: started", leg.started, events.get("CHAN_START"))
        yield from same_time(f"leg {leg.channel}: answered_at", leg.answered_at, events.get("ANSWER"))
        yield from same_time(f"leg {leg.channel}: ended_at", leg.ended_at, events.get("CHAN_END"))
        cause = json.loads(events["HANGUP"][2])["hangupcause"] if "HANGUP" in events else None
        if leg.cause != cause:
            yield f"leg {leg.channel}: cause is {leg.cause}, in the file {cause}"
        for kind, words in TRANSFERS.items():
            if kind in events and not any(each.by == uniqueid and each.kind in words for each in transfers):
                yield f"leg {leg.channel}: {kind} is in the file only"
        if leg.linkedid != events["CHAN_END"][1]:
            yield f"leg {leg.channel}: linkedid is {leg.linkedid}, in the file {events['CHAN_END'][1]}"


def same_time(what: str, have: datetime | None, wanted: tuple[float, str, str] | None) -> Iterator[str]:
    """Compare a time with that of an event, or with its absence."""
    if (have is None) != (wanted is None):
        yield f"{what} is {have}, in the file {wanted}"
    elif have is not None and wanted is not None and not -SLACK < have.timestamp() - wanted[0] < SLACK:
        yield f"{what} is {have.timestamp()}, in the file {wanted[0]}"


def lives(cel: pathlib.Path, kind: str) -> dict[str, float]:
    """Return the times of the first channel event of a kind, by unique id."""
    found: dict[str, float] = {}
    with cel.open(newline="") as lines:
        for name, uniqueid, _linkedid, _channel, at, _extra in csv.reader(lines):
            if name == kind:
                found.setdefault(uniqueid, float(at))
    return found


def within(cel: pathlib.Path, gaps: Iterable[tuple[float, float]]) -> set[str]:
    """Return the unique ids of channels that began and ended while events were missing."""
    began, ended = lives(cel, "CHAN_START"), lives(cel, "CHAN_END")
    spans = [(lost - SLACK, back + SLACK) for lost, back in gaps]
    return {
        uniqueid
        for uniqueid, at in began.items()
        if any(lost <= at and ended.get(uniqueid, at) <= back for lost, back in spans)
    }


def against_cdr(
    records: Iterable[CallRecord],
    path: pathlib.Path,
    unseen: Container[str] = frozenset(),
    cel: pathlib.Path | None = None,
) -> Iterator[str]:
    """Return where records differ from the call detail records (CDR) of the server.

    Of each dialled party, the dispositions must be the same; of a channel without one, whether it was answered. Start
    and end of a detail record must lie within the life of its channel.
    """
    answered = frozenset(lives(cel, "ANSWER")) if cel is not None else frozenset()
    by_name: dict[str, list[tuple[CallRecord, Leg]]] = {}
    by_id: dict[str, Leg] = {}
    for record in records:
        for leg in record.legs:
            by_name.setdefault(leg.channel, []).append((record, leg))
            by_id[leg.uniqueid] = leg
    with path.open(newline="") as lines:
        for row in csv.reader(lines):
            channel, other, app = row[5], row[6], row[7]
            start, answer, end = (seconds(text) for text in row[9:12])
            disposition, uniqueid = row[14], row[16]
            leg = by_id.get(uniqueid)
            if uniqueid in unseen:
                continue
            if leg is None:
                yield f"detail record of {channel} ({uniqueid}): no leg"
                continue
            if leg.started is not None and start is not None and start < leg.started.timestamp() - SLACK:
                yield f"detail record of {channel}: starts {leg.started.timestamp() - start} s before the leg"
            if leg.ended_at is not None and end is not None and end > leg.ended_at.timestamp() + SLACK:
                yield f"detail record of {channel}: ends {end - leg.ended_at.timestamp()} s after the leg"
            if not other:
                if (disposition == "ANSWERED") != leg.answered:
                    yield f"detail record of {channel}: {disposition} ({app}), the leg {leg.disposition}"
                continue
            dialled = [each for _, each in by_name.get(other, ()) if each.dialed_by == uniqueid]
            if not dialled:
                continue  # they were bridged without one dialling the other
            told = any(each.answered for each in dialled)
            if (disposition == "ANSWERED") != told and told == any(each.uniqueid in answered for each in dialled):
                continue  # the server's files contradict each other: the caller was moved away while it dialled
            if disposition not in {each.disposition for each in dialled}:
                theirs = [each.disposition for each in dialled]
                yield f"detail record of {channel} to {other}: {disposition}, the legs {theirs}"
            if answer is not None and disposition == "ANSWERED":
                times = [each.answered_at.timestamp() for each in dialled if each.answered_at is not None]
                if times and start is not None and not any(answer <= each + SLACK for each in [*times, start]):
                    yield f"detail record of {channel} to {other}: answered {answer}, the legs {times}"


def seconds(text: str) -> float | None:
    """Return a time of a detail record in seconds since the epoch."""
    return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC).timestamp() if text else None
