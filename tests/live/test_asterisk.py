"""The live model against real servers. ``PYAMI_STORMS`` and ``PYAMI_GAP`` make it longer; see also :mod:`.storm`."""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Iterator

import pytest

from pyami_sync import AMIClient
from pyami_sync.live import CallRecord, Channel
from tests.faults.proxy import Proxy

from .records import against_cdr, against_cel
from .server import StormServer
from .storm import Storm, Watch, weather

STORMS = int(os.environ.get("PYAMI_STORMS", "6"))
GAP = float(os.environ.get("PYAMI_GAP", "1.5"))


def client(port: int, **options: object) -> AMIClient:
    return AMIClient("127.0.0.1", port, username="patient", secret="patient-secret", timeout=20.0, **options)


@pytest.fixture
def looker(asterisk_storm: StormServer) -> Iterator[AMIClient]:
    """A session of its own for looking, which clears the server up in the end."""
    with client(asterisk_storm.port) as ami:
        yield ami
        ami.send("Hangup", Channel="/.*/")


def call(ami: AMIClient, exten: str, channel: str = "Local/rest@storm/n") -> None:
    ami.originate(channel, Context="storm", Exten=exten, Priority="1", wait=True, timeout=10.0)


def test_storms_leave_no_difference(asterisk_storm):
    said: list[str] = []
    checked, found = weather(asterisk_storm, 1, STORMS, report=said.append, restarts=False)
    assert (checked, found) == (STORMS, 0), "\n".join(said)


def test_a_restart_leaves_no_difference(asterisk_storm, looker):
    with client(asterisk_storm.port) as ami, ami.live() as live:
        call(looker, "queue-rest")
        live.wait(lambda view: view.queues["nobody"].calls == 1, timeout=10)
        ended = live.changes(CallRecord)
        asterisk_storm.kill()
        live.wait(lambda view: view.health == "gap", timeout=10)
        assert live.queues["nobody"].calls == 1  # what was, with an age, not a guess
        asterisk_storm.start()
        with client(asterisk_storm.port, wait_fully_booted=True):
            booted = time.monotonic()
        view = live.wait(lambda view: view.health == "consistent", timeout=20)
        assert time.monotonic() - booted < 2.0
        assert view.queues["nobody"].calls == 0
        assert [member.name for member in view.queues["one"].members] == ["Ann", "Bob O'Brien"]
        change = ended.get(timeout=5)
        assert change.inferred
        assert not change.after.complete
        assert {leg.cause for leg in change.after.legs} == {None}
        assert Watch(ami).compare(live) == []


def test_a_gap_is_repaired_and_what_it_hid_is_marked(asterisk_storm, looker):
    with (
        Proxy(asterisk_storm.port) as proxy,
        client(proxy.port) as ami,
        ami.live() as live,
    ):
        call(looker, "queue-rest")
        live.wait(lambda view: view.queues["nobody"].calls == 1, timeout=10)
        before = live.view()
        changes = live.changes()
        proxy.target = 9  # nothing listens there
        proxy.drop()
        live.wait(lambda view: view.health == "gap", timeout=10)
        looker.send("Hangup", Channel="/.*/")
        call(looker, "confer-a")
        time.sleep(GAP)
        assert live.view().age > 0
        assert set(live.view().channels) == set(before.channels)
        proxy.target = asterisk_storm.port
        live.wait(lambda view: view.health == "consistent", timeout=30)
        assert Watch(looker).compare(live) == []
        found = []
        while True:
            try:
                found.append(changes.get(timeout=0.1))
            except TimeoutError:
                break
        gone = [change for change in found if change.kind is Channel and change.after is None]
        assert {change.before.uniqueid for change in gone} == set(before.channels)
        assert all(change.inferred and change.event is None for change in gone)
        new = [change for change in found if change.kind is Channel and change.before is None]
        assert new
        assert all(change.inferred for change in new)
        (record,) = [change.after for change in found if change.kind is CallRecord]
        assert not record.complete
        assert record.ended_at is None
        assert record.cause is None


def test_a_model_that_begins_in_mid_storm_is_consistent(asterisk_storm, looker):
    with client(asterisk_storm.port) as ami, ami.live() as first:
        storm = Storm(asterisk_storm, looker, first, 77)
        thread = threading.Thread(target=storm.run, args=(40, 0.05))
        thread.start()
        try:
            while thread.is_alive():
                with client(asterisk_storm.port) as other, other.live() as live:
                    assert live.health == "consistent"
                    for leg in (leg for each in live.calls.values() for leg in each.legs):
                        assert leg.started is not None
                    thread.join(0.3)
        finally:
            thread.join()
        with client(asterisk_storm.port) as other, other.live() as live:
            storm.end()
            assert Watch(looker).compare(live) == []
        assert Watch(looker).compare(first) == []


def test_records_are_those_of_the_servers_files(asterisk_storm, looker):
    with client(asterisk_storm.port) as ami, ami.live(records=10_000) as live:
        for exten in ("dial-talk", "dial-slow", "dial-busy", "dial-ring", "dial-many", "dial-sip", "dial-deep"):
            call(looker, exten, "Local/talk@storm/n")
        live.wait(lambda view: not view.channels, timeout=30)
        assert Watch(looker).quiet(10)
        time.sleep(1.5)  # detail records are written behind the end of a call
        records = live.records
    mine = {leg.uniqueid for record in records for leg in record.legs}
    others = {line.split('","')[1] for line in asterisk_storm.cel.read_text().splitlines()} - mine
    assert len(records) >= 7
    assert list(against_cel(records, asterisk_storm.cel, others)) == []
    assert list(against_cdr(records, asterisk_storm.cdr, others)) == []
    # And the comparison can fail: another cause, another answer, a leg less.
    first = next(record for record in records if len(record.legs) > 2)
    legs = [dataclasses.replace(first.legs[0], cause=99), dataclasses.replace(first.legs[1], answered_at=None)]
    wrong = dataclasses.replace(first, legs=tuple(legs))
    assert len(list(against_cel([wrong], asterisk_storm.cel, others))) > 3


def test_transfers_are_recorded_with_their_kind(asterisk_storm, looker):
    with client(asterisk_storm.port) as ami, ami.live(records=10_000) as live, live.changes(CallRecord) as ended:
        call(looker, "dial-rest")
        view = live.wait(lambda view: any(each.talking for each in view.calls.values()), timeout=20)
        (talking,) = next(iter(view.calls.values())).talking
        looker.send("BlindTransfer", Channel=talking[0].channel, Context="storm", Exten="talk")
        view = live.wait(lambda view: any(each.transfers for each in view.calls.values()), timeout=20)
        (transfer,) = next(iter(view.calls.values())).transfers
        assert (transfer.kind, transfer.to, transfer.result) == ("blind", "talk@storm", "Success")
        assert transfer.by in {leg.uniqueid for leg in talking}
        looker.send("Hangup", Channel="/.*/")
        record = ended.get(timeout=20).after
        assert record.transfers == (transfer,)
        assert Watch(looker).quiet(10)
    mine = {leg.uniqueid for leg in record.legs}
    others = {line.split('","')[1] for line in asterisk_storm.cel.read_text().splitlines()} - mine
    assert '"BLINDTRANSFER"' in asterisk_storm.cel.read_text()
    assert list(against_cel([record], asterisk_storm.cel, others)) == []


def test_an_audit_finds_no_drift_and_repairs_what_is_made_wrong(asterisk_storm, looker):
    with client(asterisk_storm.port) as ami, ami.live("calls", "queues", audit=0.3) as live:
        call(looker, "queue-rest")
        tracker = live._one
        live._wait(lambda: tracker.audits > 1, 20)
        assert live.drift == 0
        wrong = dataclasses.replace(live.queues["nobody"], waiting=())
        with tracker.lock:
            tracker.reducer.draft.queues.put("nobody", wrong)
        live._wait(lambda: live.drift > 0, 20)
        live.wait(lambda view: view.queues["nobody"].calls == 1, timeout=10)


def test_a_reload_is_looked_up(asterisk_storm, looker):
    queues = asterisk_storm.run_dir / "etc" / "queues.conf"
    text = queues.read_text("utf-8")
    with client(asterisk_storm.port) as ami, ami.live("queues") as live:
        assert live.queues["one"].weight == 3
        queues.write_text(text.replace("weight = 3", "weight = 7") + "\n[late]\nstrategy = ringall\n", "utf-8")
        try:
            looker.send("Reload", Module="app_queue")
            live.wait(lambda view: view.queues["one"].weight == 7 and "late" in view.queues, timeout=20)
        finally:
            queues.write_text(text, "utf-8")
            looker.send("Reload", Module="app_queue")
        live.wait(lambda view: view.queues["one"].weight == 3, timeout=20)
