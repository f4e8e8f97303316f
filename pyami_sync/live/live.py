"""Live: the live model of one server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .base import Base
from .calls import Call
from .entities import (
    Bridge,
    Conference,
    Device,
    Endpoint,
    Extension,
    Mailbox,
    ParkedCall,
    ParkingLot,
    Registration,
)
from .view import Channels, Queues, View

if TYPE_CHECKING:
    from ..client import AMIClient

__all__ = ["Live"]


class Live(Base):
    """The live model of one server; made by :meth:`AMIClient.live`.

    ::

        with connect() as ami, ami.live() as live:
            for caller in live.queues["support"].waiting:
                print(caller.position, caller.caller, caller.since)

    Each attribute is a snapshot of the present; :meth:`view` returns one consistent snapshot of everything. After a
    lost connection, a restart of the server or lost events, the model fetches fresh lists, and differences become
    changes that are marked ``inferred``.
    """

    _source: AMIClient

    def __init__(
        self,
        client: AMIClient,
        areas: tuple[str, ...] = (),
        *,
        audit: float | None = None,
        history: int = 20_000,
        records: int = 1_000,
        timeout: float | None = 30.0,
    ) -> None:
        super().__init__(client, areas, audit, history, records)
        try:
            client.ping()  # raises if the session is not usable
        except BaseException:
            self._stream.close()
            raise
        self._one = self._add(client.options.node)
        try:
            self._open()
            self._wait(lambda: self._one.health == "consistent", timeout)
        except BaseException:
            self.close()
            raise

    def _sender(self, node: str | None) -> Callable[..., Any]:
        return self._source.send

    def view(self) -> View:
        """Return an immutable picture of now; costs microseconds and never waits for the server."""
        return self._one.view()

    def wait(self, predicate: Callable[[View], object], timeout: float | None = None) -> View:
        """Block until the predicate accepts a view, and return that view.

        Args:
            predicate: called with a view after each change, and four times a second, on the calling thread.
            timeout: seconds; None for no limit.

        Raises:
            WaitTimeout: it accepted none in time.
            ConnectionClosed: the model or the session was closed.

        """

        def look() -> View | None:
            view = self.view()
            return view if predicate(view) else None

        return self._wait(look, timeout)

    @property
    def health(self) -> str:
        """``consistent``; ``loading`` while lists are fetched; ``gap`` while the connection is lost; ``closed``."""
        return self._one.health

    @property
    def channels(self) -> Channels:
        """Channels by name or unique id."""
        return self.view().channels

    @property
    def bridges(self) -> Mapping[str, Bridge]:
        """Bridges by unique id."""
        return self.view().bridges

    @property
    def calls(self) -> Mapping[str, Call]:
        """Calls by Linkedid."""
        return self.view().calls

    @property
    def queues(self) -> Queues:
        """Queues by name."""
        return self.view().queues

    @property
    def conferences(self) -> Mapping[str, Conference]:
        """Conferences by name."""
        return self.view().conferences

    @property
    def parking_lots(self) -> Mapping[str, ParkingLot]:
        """Parking lots by name."""
        return self.view().parking_lots

    @property
    def parked(self) -> Mapping[str, ParkedCall]:
        """Parked calls by the unique id of the channel."""
        return self.view().parked

    @property
    def devices(self) -> Mapping[str, Device]:
        """States of devices by name."""
        return self.view().devices

    @property
    def extensions(self) -> Mapping[str, Extension]:
        """States of extensions by ``exten@context``."""
        return self.view().extensions

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """PJSIP endpoints by name."""
        return self.view().endpoints

    @property
    def registrations(self) -> Mapping[str, Registration]:
        """Registrations with other servers."""
        return self.view().registrations

    @property
    def mailboxes(self) -> Mapping[str, Mailbox]:
        """Mailboxes by ``number@context``."""
        return self.view().mailboxes

    def __repr__(self) -> str:
        view = self.view()
        return f"<Live {view.health}: {len(view.channels)} channels, {len(view.queues)} queues>"
