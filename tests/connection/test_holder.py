"""A claim is released once, whichever threads do it."""

from __future__ import annotations

import threading
from typing import Any

from pyami_sync.connection.holder import let_go


def test_released_once() -> None:
    holder: dict[None, Any] = {}
    once: list[None] = [None]
    assert holder.setdefault(None, "first") == "first"
    let_go(holder, once)
    assert not holder
    assert holder.setdefault(None, "second") == "second"
    let_go(holder, once)  # the thread that was relieved comes back
    assert holder == {None: "second"}


def test_two_threads_that_release_the_same_claim() -> None:
    """However they meet, the claim of a third thread, which comes between them, stays."""
    barrier = threading.Barrier(2, timeout=30)
    rounds: list[tuple[dict[None, Any], list[None]]] = [({None: "first"}, [None]) for _ in range(2000)]

    def release(claims: bool) -> None:
        for holder, once in rounds:
            barrier.wait()
            let_go(holder, once)
            if claims:
                while holder.setdefault(None, "third") == "first":
                    pass

    other = threading.Thread(target=release, args=(True,))
    other.start()
    release(False)
    other.join(30)
    assert all(holder == {None: "third"} for holder, _ in rounds)
