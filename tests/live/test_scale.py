"""Size and time: a view costs the same whatever it holds, and what has ended takes no memory."""

from __future__ import annotations

from benchmarks.live import crowd, events_of, life, soak, view_time
from pyami_sync.live.draft import MOST_GONE
from pyami_sync.live.table import MASK
from tests.live.support import recorded


def test_ten_thousand_channels_at_once():
    reducer = crowd(10_000)
    view = reducer.view()
    assert len(view.channels) == 10_000
    assert len(view.bridges) == len(view.calls) == 5_000
    assert all(call.state == "talking" for call in list(view.calls.values())[:100])
    assert view_time(reducer) < 0.001  # a copy of all would take longer
    before = view.tables.channels._shards
    reducer.apply(events_of([next(iter(life(7))).replace(b"Newchannel", b"Hold")])[0])
    after = reducer.view().tables.channels._shards
    assert sum(one is not other for one, other in zip(before, after, strict=True)) == 1
    assert len(after) == MASK + 1


def test_what_has_ended_takes_no_memory():
    sizes = [kilobytes for _, kilobytes in soak(4_000)]
    assert sizes[-1] < sizes[2] + 8_000


def test_tombstones_and_notes_are_bounded():
    from pyami_sync.live import Reducer

    reducer = Reducer()
    for each in recorded():
        reducer.apply(each)
    draft = reducer.draft
    assert len(draft.gone) + len(draft.gone_before) <= 2 * MOST_GONE
    assert draft.unknown == set()
    assert draft.ended == []
    assert len(draft.moved) < 2_000
    for number in range(3 * MOST_GONE):
        draft.bury(str(number))
    assert len(draft.gone) + len(draft.gone_before) <= 2 * MOST_GONE
    assert draft.is_gone(str(3 * MOST_GONE - 1))
