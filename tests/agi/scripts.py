"""A script whose outcome a test takes."""

from __future__ import annotations

from collections.abc import Callable
from queue import Queue

from pyami_sync.agi import AGICall, Router

PATIENCE = 20.0


class Scripts:
    """One script, whose outcome the test takes."""

    def __init__(self) -> None:
        self.router = Router()
        self.outcomes: Queue[object] = Queue()

    def set(self, function: Callable[[AGICall], object]) -> None:
        @self.router.route("script")
        def run(call: AGICall) -> None:
            try:
                result = function(call)
            except BaseException as exc:
                self.outcomes.put(exc)
                raise
            self.outcomes.put(result)

    def outcome(self) -> object:
        return self.outcomes.get(timeout=PATIENCE)
