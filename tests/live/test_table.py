"""Persistent maps: snapshots stay what they were."""

from __future__ import annotations

import pickle
import random

from pyami_sync.live.table import Editor, Table, table_of


def test_snapshots_are_not_altered_by_later_writes():
    editor = Editor(Table())
    random_ = random.Random(1)
    expected: dict[str, int] = {}
    taken = []
    for step in range(5_000):
        key = str(random_.randrange(400))
        if random_.random() < 0.4:
            assert editor.pop(key) == expected.pop(key, None)
        else:
            editor.put(key, step)
            expected[key] = step
        assert len(editor) == len(expected)
        if step % 50 == 0:
            taken.append((editor.freeze(), dict(expected)))
    for table, then in taken:
        assert table == then
        assert len(table) == len(then) == len(list(table))
        assert all(key in table and table.get(key) == value for key, value in then.items())


def test_unchanged_snapshots_are_the_same_object():
    editor = Editor(Table())
    editor.put("a", 1)
    first = editor.freeze()
    assert editor.freeze() is first
    editor.put("a", 2)
    assert editor.freeze() is not first
    assert first["a"] == 1


def test_keys_may_be_removed_while_iterating():
    editor = Editor(table_of({str(number): number for number in range(100)}))
    for key in editor:
        editor.pop(key)
    assert len(editor) == 0


def test_a_table_survives_another_process_with_other_hashes():
    table = table_of({str(number): number for number in range(100)})
    assert pickle.loads(pickle.dumps(table)) == table
