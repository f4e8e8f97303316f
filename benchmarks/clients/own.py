"""pyami_sync itself."""

from __future__ import annotations

from threading import Thread
from typing import Any

from pyami_sync import AMIClient, EventsLost, actions, events

from ..traffic import END
from .base import Client, Tally

__all__ = ["PyamiSync"]


class PyamiSync(Client):
    shown = "pyami_sync"
    module = "pyami_sync"
    session = """
from pyami_sync import connect
ami = connect(f"ami://admin:amp111@127.0.0.1:{port}")
"""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.ami = AMIClient("127.0.0.1", port, username="admin", secret="amp111", timeout=300.0)
        self.lost = 0

    def open(self) -> None:
        self.ami.on_error(self._note)
        self.ami.open()

    def _note(self, exc: BaseException, *more: Any) -> None:
        if isinstance(exc, EventsLost):
            self.lost += exc.count

    def close(self) -> None:
        self.ami.close()

    def listen(self, names: tuple[str, ...] | None) -> Tally:
        tally = Tally()

        @self.ami.on(*(names or ()), maxsize=10_000_000)
        def count(event: Any) -> None:
            name = event.name
            event.get("Channel")
            tally.count += 1
            if name == END:
                tally.done.set()

        return tally

    def listen_typed(self, names: tuple[str, ...]) -> Tally:
        """As :meth:`listen`, by class and attribute."""
        tally = Tally()

        @self.ami.on(*(getattr(events, name) for name in names), maxsize=10_000_000)
        def count(event: Any) -> None:
            name = event.name
            if name == END:
                tally.count += 1
                tally.done.set()
                return
            event.channel  # noqa: B018
            tally.count += 1

        return tally

    def hold(self) -> list[Any]:
        held: list[Any] = []
        self.ami.on(held.append, maxsize=10_000_000)
        return held

    def stream(self) -> Tally:
        tally = Tally()
        stream = self.ami.events(maxsize=10_000_000)

        def consume() -> None:
            for event in stream:
                name = event.name
                event.get("Channel")
                tally.count += 1
                if name == END:
                    tally.done.set()

        Thread(target=consume, daemon=True).start()
        return tally

    def ping(self) -> None:
        self.ami.send("Ping")

    def fetch_list(self) -> int:
        return len(self.ami.send(actions.CoreShowChannels(), timeout=None).events)

    def fetch_output(self) -> int:
        return len(self.ami.command("core show channels concise", timeout=None))
