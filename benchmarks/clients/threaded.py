"""Other libraries for blocking code."""

from __future__ import annotations

from threading import Event
from typing import Any

from ..traffic import END
from .base import Client, Tally, Unsupported

__all__ = ["Astami", "AsteriskAMI", "Pystrix"]


class AsteriskAMI(Client):
    """Callbacks run on its reading thread; it collects no lists, so a callback does."""

    distribution = "asterisk-ami==0.1.7"
    shown = "asterisk-ami"
    module = "asterisk.ami"
    session = """
from asterisk.ami import AMIClient
ami = AMIClient("127.0.0.1", port, timeout=300)
ami.login("admin", "amp111").response
"""
    pace = 0.25

    def open(self) -> None:
        from asterisk.ami import AMIClient

        self.ami = AMIClient(address="127.0.0.1", port=self.port, timeout=300)
        response = self.ami.login("admin", "amp111").response
        assert response is not None
        assert not response.is_error()

    def close(self) -> None:
        self.ami.logoff()
        self.ami.disconnect()

    def listen(self, names: tuple[str, ...] | None) -> Tally:
        tally = Tally()

        def count(event: Any, **more: Any) -> None:
            name = event.name
            event.keys.get("Channel")
            tally.count += 1
            if name == END:
                tally.done.set()

        if names is None:
            self.ami.add_event_listener(count)
        else:
            self.ami.add_event_listener(count, white_list=list(names))
        return tally

    def read(self, how: str, names: tuple[str, ...] | None = None) -> Tally:
        tally = Tally()
        by_name, by_call = tally.names, tally.calls

        def headers(event: Any, **more: Any) -> None:
            name = event.name
            by_name[name] = by_name.get(name, 0) + 1
            event["Privilege"]
            keys = event.keys
            call = keys.get("Linkedid")
            by_call[call] = by_call.get(call, 0) + 1
            keys.get("Nothing")
            tally.count += 1
            if name == END:
                tally.done.set()

        def items(event: Any, **more: Any) -> None:
            for _, value in event.keys.items():
                by_name["all"] = by_name.get("all", 0) + len(value)
            tally.count += 1
            if event.name == END:
                tally.done.set()

        def as_dict(event: Any, **more: Any) -> None:
            by_name["all"] = by_name.get("all", 0) + len(dict(event.keys))
            tally.count += 1
            if event.name == END:
                tally.done.set()

        self.ami.add_event_listener({"headers": headers, "items": items, "dict": as_dict}[how])
        return tally

    def hold(self) -> list[Any]:
        held: list[Any] = []
        self.ami.add_event_listener(lambda event, **more: held.append(event))
        return held

    def ping(self) -> None:
        from asterisk.ami import SimpleAction

        assert self.ami.send_action(SimpleAction("Ping")).response is not None

    def fetch_list(self) -> int:
        return len(self._collect())

    def read_list(self) -> int:
        seen: dict[str, int] = {}
        for item in self._collect():
            application = item["Application"]
            seen[application] = seen.get(application, 0) + 1
        return sum(seen.values())

    def _collect(self) -> list[Any]:
        from asterisk.ami import SimpleAction

        items: list[Any] = []
        done = Event()

        def collect(event: Any, **more: Any) -> None:
            if event.name == "CoreShowChannel":
                items.append(event)
            else:
                done.set()

        listener = self.ami.add_event_listener(collect, white_list=["CoreShowChannel", "CoreShowChannelsComplete"])
        self.ami.send_action(SimpleAction("CoreShowChannels"))
        assert done.wait(300)
        self.ami.remove_event_listener(listener)
        return items

    def fetch_output(self) -> int:
        from asterisk.ami import SimpleAction

        response = self.ami.send_action(SimpleAction("Command", Command="core show channels concise")).response
        # It joins the lines of the answer; what belongs to the output can't be told from its text.
        return len(response.keys["Output"].split("\n"))


class Pystrix(Client):
    """A dispatcher thread that looks for events every 20 ms, so its round trips are left out."""

    distribution = "pystrix==1.3.0"
    shown = "pystrix"
    module = "pystrix"
    pace = 0.06

    def open(self) -> None:
        from pystrix.ami import Manager, core

        self.ami = Manager()
        self.ami.connect("127.0.0.1", self.port)
        self.ami.send_action(core.Login("admin", "amp111"))

    def close(self) -> None:
        self.ami.close()

    def listen(self, names: tuple[str, ...] | None) -> Tally:
        tally = Tally()

        def count(event: Any, manager: Any) -> None:
            name = event.name
            event.get("Channel")
            tally.count += 1
            if name == END:
                tally.done.set()

        for name in names or ("",):
            self.ami.register_callback(name, count)
        return tally


class Astami(Client):
    """Its client for blocking code has no events and takes answers up to 64 KB."""

    distribution = "astami==1.1.0"
    shown = "astami"
    module = "astami"

    def open(self) -> None:
        from astami import AMIClient

        self.ami = AMIClient("127.0.0.1", self.port, "admin", "amp111", timeout=300)
        self.ami.__enter__()

    def close(self) -> None:
        self.ami.__exit__(None, None, None)

    def ping(self) -> None:
        assert self.ami.ping()

    def ping_side_by_side(self, workers: int, each: int) -> None:
        raise Unsupported  # two threads can't use it at a time
