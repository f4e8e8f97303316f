"""Member: a node of a cluster that is reached over a broker."""

from __future__ import annotations

from typing import Any

from .client import parse_beginning, split_url
from .gateway import USERNAME, Gateway
from .transport import open_transport

__all__ = ["Member"]


class Member:
    """Makes the gateway of one node of a :class:`~pyami_sync.ClusterPool` when the node starts.

    Args:
        url: of the broker; ``node_id`` is the node unless the URL names one.
        node_id: the node's id in the cluster.

    Raises:
        ValueError: the URL is not valid.

    """

    def __init__(self, url: str, node_id: str) -> None:
        self._broker, own = split_url(url)
        self._node = own.get("node") or node_id
        self._user = own.get("user")
        self._start = parse_beginning(own.get("start", "now"))
        self._gateway: Gateway | None = None

    def start(self, options: Any) -> None:
        """Start the gateway, and set its port and secret in the node's options."""
        if self._gateway is None:
            timeout = 3600.0 if options.timeout is None else options.timeout
            transport = open_transport(self._broker)
            self._gateway = Gateway(transport, self._node, user=self._user, start=self._start, timeout=timeout)
            self._gateway.moved = lambda port: object.__setattr__(options, "port", port)
            # The session and its connector share this object, and have not read it yet.
            for name, value in (("port", self._gateway.port), ("secret", self._gateway.secret)):
                object.__setattr__(options, name, value)
        self._gateway.start()

    def stop(self) -> None:
        """End all connections; does not wait."""
        if self._gateway is not None:
            self._gateway.stop()

    def close(self, timeout: float) -> None:
        """End all threads, and close the transport."""
        if self._gateway is not None:
            self._gateway.close(timeout)


OPTIONS: dict[str, Any] = {"host": "127.0.0.1", "username": USERNAME, "secret": "", "keepalive": None}
"""The options with which the session of such a node connects to its gateway."""
