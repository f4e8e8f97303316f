"""BridgeClient: the client of a node that is reached over a broker."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from .. import Action, AMIClient, Response
from ..engine.deadline import DEFAULT
from .envelope import Position
from .errors import NotSupported
from .gateway import NOT_SUPPORTED, USERNAME, Beginning, Gateway
from .transport import Start, Transport, open_transport

__all__ = ["BridgeClient"]

OWN = ("node", "start", "user")


class BridgeClient(AMIClient):
    """A client of one node, whose events and actions are carried by a broker.

    It has the interface of :class:`~pyami_sync.AMIClient`, with these differences:

    * The broker delivers events at least once; the client passes each on once, in the order of the node. Gaps are
      marked by events at their place: ``LeaderChanged``, ``EventsLost``, and the ``ConnectionLost`` and
      ``Reconnected`` of the bridge's session with the server.
    * An action is run at most once. :exc:`~pyami_sync.ActionError` is also raised if the bridge refused the action,
      or if its time was over before it ran; after :exc:`~pyami_sync.ActionTimeout` it may have run.
    * ``Filter`` and ``WaitEvent`` raise :exc:`~pyami_sync.bridge.NotSupported`, as does the option ``event_filter``,
      because all clients share the session with the server.
    * There is no keepalive, because the client's own link does not leave the process.

    Args:
        url: of the broker, with the node: ``redis://broker/0?node=paris``. ``user=`` is the user for the bridge's
            allow-list (by default the environment variable ``AMI_BRIDGE_USER``, or ``default``). ``start=`` is where
            the events begin: ``now``, ``first``, ``snapshot`` (at the latest Snapshot marker, or now if there is
            none) or after a position ``<epoch>-<seq>``.
        transport: the broker, instead of the one in the URL.
        options: options of :class:`~pyami_sync.AMIClient`, apart from those of the connection.

    Raises:
        ValueError: no node is given, or an option is not valid.
        NotSupported: ``event_filter`` is given.

    """

    def __init__(self, url: str, *, transport: Transport | None = None, **options: Any) -> None:
        broker, own = split_url(url)
        node = options.pop("node", None) or own.get("node")
        if not node:
            raise ValueError("which node? Name it in the URL: redis://broker/0?node=paris")
        user = options.pop("user", None) or own.get("user")
        start = parse_beginning(options.pop("start", None) or own.get("start", "now"))
        timeout = options.get("timeout", 10.0)
        callback_threads = options.pop("callback_threads", 32)
        options.pop("keepalive", None)
        options.setdefault("stall_after", None)  # events that waited in the broker are late in any case
        for name in ("host", "port", "username", "secret", "auth", "tls"):
            if name in options:
                raise ValueError(f"{name} is the bridge's matter: a bridged client has no connection with the server")
        if options.get("event_filter") is not None:
            raise NotSupported("event_filter: the session with the server is everybody's, not a bridged client's")
        self.gateway = Gateway(
            transport or open_transport(broker),
            node,
            user=user,
            start=start,
            timeout=3600.0 if timeout is None else timeout,
        )
        try:
            super().__init__(
                "127.0.0.1",
                self.gateway.port,
                username=USERNAME,
                secret=self.gateway.secret,
                callback_threads=callback_threads,
                keepalive=None,
                node=node,
                **options,
            )
        except BaseException:
            self.gateway.close()
            raise
        self.gateway.moved = self._follow

    def _follow(self, port: int) -> None:
        """Connect to the gateway of this forked child from now on; called with its port."""
        # The session and its connector share this object, which is frozen otherwise. No code of the child has read it
        # yet: this runs inside fork().
        object.__setattr__(self.options, "port", port)

    @property
    def node(self) -> str:
        """Id of the node."""
        return self.gateway.node

    @property
    def position(self) -> Position | None:
        """The position of the latest event that was passed on; pass it as ``start`` to continue after it."""
        return self.gateway.sequence.last

    def open(self, timeout: float | None = DEFAULT) -> Self:
        """Open the client: start reading from the broker; see :meth:`AMIClient.open`."""
        self.gateway.start()
        return super().open(timeout)

    def close(self, timeout: float | None = 5.0) -> None:
        """Close the client; it can't be opened again."""
        super().close(timeout)
        self.gateway.close()

    def send(self, action: Any, /, *, check: bool = True, **more: Any) -> Any:
        """Send an action and wait for its answer; see :meth:`AMIClient.send`."""
        return super().send(self._dated(action, more), check=check, **more)

    def submit(self, action: Any, /, *, check: bool = True, **more: Any) -> Any:
        """Send an action and return a future of its answer; see :meth:`AMIClient.submit`."""
        return super().submit(self._dated(action, more), check=check, **more)

    def _dated(self, action: Action[Response] | str, more: dict[str, Any]) -> Any:
        """Return the action with an ActionID, by which the gateway finds its time limit; removes its headers from
        ``more``.
        """
        self.gateway.start()  # in a forked child, or before open()
        headers = {name: more.pop(name) for name in list(more) if name != "timeout"}
        action = self._make(action, headers, more.get("timeout"), stacklevel=5)
        if action.name.lower() in NOT_SUPPORTED:
            raise NotSupported(action.name)
        action_id = action.action_id
        if action_id is None:
            action_id = f"b{uuid.uuid4().hex}"
            action = action.with_action_id(action_id)
        if isinstance(more.get("timeout"), int | float):
            self.gateway.limit(action_id, more["timeout"])
        return action


def split_url(url: str) -> tuple[str, Mapping[str, str]]:
    """Split a URL into the broker's URL and the options of the client."""
    parts = urlsplit(url)
    query = parse_qsl(parts.query, keep_blank_values=True)
    own = {name: value for name, value in query if name in OWN}
    rest = urlencode([(name, value) for name, value in query if name not in OWN])
    return urlunsplit(parts._replace(query=rest)), own


def parse_beginning(text: str | Position) -> Beginning:
    """Parse the ``start`` of a client: a start, or the latest snapshot.

    Raises:
        ValueError: the text is neither.

    """
    return "snapshot" if text == "snapshot" else parse_start(text)


def parse_start(text: str | Position) -> Start:
    """Parse a start.

    Raises:
        ValueError: the text is not a start.

    """
    if isinstance(text, Position):
        return text
    if text == "now" or text == "first":
        return text  # type: ignore[return-value]
    return Position.parse(text)
