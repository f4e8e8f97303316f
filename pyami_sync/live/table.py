"""Persistent maps: the cost of a snapshot does not depend on the number of entries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

__all__ = ["Editor", "Table"]

V = TypeVar("V")
SHARDS = 64
MASK = SHARDS - 1
EMPTY: dict[str, Any] = {}  # shared by all empty shards and never written: an editor copies before its first write


class Table(Mapping[str, V]):
    """An immutable map, made by an :class:`Editor`. Iteration order is arbitrary."""

    __slots__ = ("_shards", "_size")

    def __init__(self, shards: tuple[dict[str, V], ...] = (EMPTY,) * SHARDS, size: int = 0) -> None:
        self._shards = shards
        self._size = size

    def __getitem__(self, key: str) -> V:
        return self._shards[hash(key) & MASK][key]

    def get(self, key: str, default: Any = None) -> Any:
        """Return the value of a key, or `default`."""
        return self._shards[hash(key) & MASK].get(key, default)

    def __contains__(self, key: object) -> bool:
        return key in self._shards[hash(key) & MASK]

    def __iter__(self) -> Iterator[str]:
        for shard in self._shards:
            yield from shard

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"Table({dict(self.items())!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # String hashes differ between processes, so the shards have to be built again.
        return table_of, (dict(self.items()),)


class Editor(Generic[V]):
    """A mutable map with immutable snapshots.

    A shard is copied at its first write after a snapshot, so :meth:`freeze` copies nothing but the list of shards, and
    a write costs at most one shard.
    """

    __slots__ = ("_frozen", "_owned", "_shards", "_size")

    def __init__(self, table: Table[V]) -> None:
        self._frozen: Table[V] | None = table
        self._shards = list(table._shards)
        self._size = len(table)
        self._owned: set[int] = set()  # shards that are not shared with a snapshot

    def get(self, key: str) -> V | None:
        """Return the value of a key, or None."""
        return self._shards[hash(key) & MASK].get(key)

    def __contains__(self, key: str) -> bool:
        return key in self._shards[hash(key) & MASK]

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[str]:
        """Iterate over the present keys; the editor may be changed meanwhile."""
        return iter([key for shard in self._shards for key in shard])

    def values(self) -> list[V]:
        """Return all values in a new list, so that the editor may be changed meanwhile."""
        return [value for shard in self._shards for value in shard.values()]

    def _writable(self, key: str) -> dict[str, V]:
        number = hash(key) & MASK
        if number not in self._owned:
            self._owned.add(number)
            self._shards[number] = self._shards[number].copy()
            self._frozen = None
        return self._shards[number]

    def put(self, key: str, value: V) -> None:
        """Set the value of a key."""
        shard = self._writable(key)
        if key not in shard:
            self._size += 1
        shard[key] = value

    def pop(self, key: str) -> V | None:
        """Remove a key and return its value; None if it is absent."""
        if key not in self._shards[hash(key) & MASK]:
            return None
        self._size -= 1
        return self._writable(key).pop(key)

    def freeze(self) -> Table[V]:
        """Return an immutable snapshot."""
        if self._frozen is None:
            self._frozen = Table(tuple(self._shards), self._size)
            self._owned.clear()
        return self._frozen


def table_of(entries: Mapping[str, V]) -> Table[V]:
    """Return a table with these entries."""
    editor: Editor[V] = Editor(Table())
    for key, value in entries.items():
        editor.put(key, value)
    return editor.freeze()
