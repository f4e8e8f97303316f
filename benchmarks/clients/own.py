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

    def read(self, how: str, names: tuple[str, ...] | None = None) -> Tally:
        tally = Tally()
        by_name, by_call = tally.names, tally.calls

        def headers(event: Any) -> None:
            name = event.name
            by_name[name] = by_name.get(name, 0) + 1
            event["Privilege"]
            call = event.get("Linkedid")
            by_call[call] = by_call.get(call, 0) + 1
            event.get("Nothing")
            tally.count += 1
            if name == END:
                tally.done.set()

        def items(event: Any) -> None:
            for _, value in event.items():
                by_name["all"] = by_name.get("all", 0) + len(value)
            tally.count += 1
            if event.name == END:
                tally.done.set()

        def as_dict(event: Any) -> None:
            by_name["all"] = by_name.get("all", 0) + len(event.to_dict())
            tally.count += 1
            if event.name == END:
                tally.done.set()

        callback = {"headers": headers, "items": items, "dict": as_dict}[how]
        self.ami.on(*(names or ()), callback, maxsize=10_000_000)
        return tally

    def read_named(self, names: tuple[str, ...]) -> Tally:
        """Read four headers by name, and convert one."""
        tally = Tally()
        by_call = tally.calls

        @self.ami.on(*names, maxsize=10_000_000)
        def count(event: Any) -> None:
            name = event.name
            tally.count += 1
            if name == END:
                tally.done.set()
                return
            event["Channel"]
            int(event["ChannelState"])
            event["CallerIDNum"]
            call = event["Linkedid"]
            by_call[call] = by_call.get(call, 0) + 1

        return tally

    def read_typed(self, names: tuple[str, ...]) -> Tally:
        """As :meth:`read_named`, by class and attribute."""
        tally = Tally()
        by_call = tally.calls

        @self.ami.on(*(getattr(events, name) for name in names), maxsize=10_000_000)
        def count(event: Any) -> None:
            name = event.name
            tally.count += 1
            if name == END:
                tally.done.set()
                return
            event.channel  # noqa: B018
            event.channel_state  # noqa: B018
            event.caller_id_num  # noqa: B018
            call = event.linkedid
            by_call[call] = by_call.get(call, 0) + 1

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

    def read_list(self) -> int:
        seen: dict[str, int] = {}
        for item in self.ami.send(actions.CoreShowChannels(), timeout=None).events:
            application = item["Application"]
            seen[application] = seen.get(application, 0) + 1
        return sum(seen.values())

    def fetch_output(self) -> int:
        return len(self.ami.command("core show channels concise", timeout=None))
