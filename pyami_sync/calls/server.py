"""Server: places calls on one server, and sends the actions of calls and channels to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..wire.message import Event
from ..wire.response import Response
from .channel import Channel
from .state import CallState

if TYPE_CHECKING:
    from ..client import AMIClient
    from .call import Call
    from .hub import Calls

__all__ = ["Server"]


class Server:
    """Places calls on one server and sends their actions."""

    def __init__(self, calls: Calls, sender: AMIClient, node: str | None) -> None:
        self.calls = calls
        self.sender = sender
        self.node = node

    def send(self, name: str, /, **headers: Any) -> Response:
        """Send an action and wait for its answer."""
        return self.sender.send(name, **{key: value for key, value in headers.items() if value is not None})

    def submit(self, job: Callable[[], None]) -> None:
        """Run a job on a callback thread."""
        self.calls.listener.subscriptions.submit(job)

    def place(self, device: str, to: str, **options: Any) -> Call:
        """Place a call; see :meth:`Calls.place`."""
        return self.calls.place(self, device, to, **options)

    def wait_parked(self, channel: Channel, headers: dict[str, Any]) -> Event:
        """Park a channel and return the ParkedCall event."""
        name = channel.channel
        where = {"ParkeeChannel" if "/" in name else "ParkeeUniqueid": name}
        with self.sender.expect("ParkedCall", where=where) as parked:
            self.send("Park", Channel=name, **headers)
            event: Event = parked.result(self.sender.options.timeout)
        return event

    def check_thread(self, doing: str) -> None:
        """Refuse to block a thread that what is waited for depends on."""
        self.calls.check_thread(doing)

    def talking_to(self, state: CallState) -> tuple[str, ...]:
        """Return the names of the channels that a call's channel is bridged with."""
        return self.calls.bridges.parties(self.node, state)
