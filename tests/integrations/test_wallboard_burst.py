"""The wallboard's listening thread, on a stream that loses events."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import Any

from pyami_sync import ConnectionClosed, EventsLost, Response
from pyami_sync import events as typed
from pyami_sync.vocabulary.model import event_class

from .processes import EXAMPLES


def load_board() -> Any:
    spec = importlib.util.spec_from_file_location("wallboard_board", EXAMPLES / "wallboard" / "board.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Stream:
    """Gives out what it was given, then says that all is over."""

    def __init__(self, *items: Any) -> None:
        self.items = list(items)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def get(self, timeout: float | None = None) -> Any:
        item = self.items.pop(0) if self.items else ConnectionClosed()
        if isinstance(item, Exception):
            raise item
        return item


class Client:
    """Answers the lists, and counts how often it was asked."""

    options = SimpleNamespace(address="pbx:5038")

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.asked: list[str] = []

    def events(self, *names: str) -> Stream:
        return self.stream

    def send(self, action: str, **more: Any) -> Any:
        self.asked.append(action)
        return SimpleNamespace(events=[], response=Response({"Response": "Success"}))


def test_events_lost_within_a_burst_make_it_read_the_state_again() -> None:
    assert event_class(b"Hangup") is typed.Hangup
    hangup = typed.Hangup({"Event": "Hangup", "Uniqueid": "1"})
    module = load_board()
    module.QUIET = 60.0  # the burst ends with the stream, not with time
    client = Client(Stream(hangup, EventsLost(5), hangup))
    board = module.Board(lambda: client)
    try:
        board._listen(client)
    except ConnectionClosed:
        pass
    assert client.asked == ["CoreShowChannels", "QueueStatus"] * 2
