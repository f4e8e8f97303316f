"""The exceptions that the library raises.

::

    AMIError
    ├─ ConnectError              could not reach the server, TLS failed, no or a wrong banner
    │   └─ LoginRejected         credentials or ACL; not retried by default
    ├─ ConnectionClosed          any use after the end
    │   └─ ConnectionLost        EOF, reset, missed keepalive; the action may or may not have run
    ├─ ProtocolError             a message broke the rules of the protocol
    │   ├─ LocalProtocolError    one to be sent
    │   │   └─ InvalidAction     raised before a byte is sent (also a ValueError)
    │   └─ RemoteProtocolError   one that the server sent
    ├─ ActionError               the server answered ``Response: Error``
    ├─ ActionTimeout             no answer in time (also a TimeoutError)
    ├─ WaitTimeout               wait_for() and expect() saw no event in time (also a TimeoutError)
    ├─ EventsLost                a subscriber was too slow for its buffer
    ├─ ConcurrencyError          a blocking call on a thread that must never block
    └─ ClusterError
        ├─ UnknownNode           no node has that id
        └─ NoNodeAvailable       no node could take the action

Attributes carry the facts, ``str()`` gives a readable message, and causes are chained. All of them can be
pickled (Celery and multiprocessing send exceptions between processes), and each can be rebuilt from its
``args``, which are plain values of JSON: Celery's JSON result backend keeps nothing else. None ever holds a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .wire.message import Event
    from .wire.response import Response

__all__ = [
    "AMIError",
    "ActionError",
    "ActionTimeout",
    "ClusterError",
    "ConcurrencyError",
    "ConnectError",
    "ConnectionClosed",
    "ConnectionLost",
    "EventsLost",
    "InvalidAction",
    "LocalProtocolError",
    "LoginRejected",
    "NoNodeAvailable",
    "ProtocolError",
    "RemoteProtocolError",
    "UnknownNode",
    "WaitTimeout",
]


ERRORS = "https://pyami-sync.readthedocs.io/reference/errors.html"


def _restore(cls: type[AMIError], args: tuple[Any, ...], state: dict[str, Any]) -> AMIError:
    """Rebuild a pickled exception without running its constructor."""
    exc = cls.__new__(cls, *args)
    exc.args = args
    exc.__dict__.update(state)
    return exc


@cache
def documentation(cls: type[BaseException]) -> str:
    """Return the address of the section that explains an exception, or of its nearest base that has one."""
    name = next((each.__name__ for each in cls.__mro__ if globals().get(each.__name__) is each), "AMIError")
    anchor = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=AMI)(?=Error)", "-", name).lower()
    return f"See {ERRORS}#{anchor}"


class AMIError(Exception):
    """Base class of the exceptions that this library raises.

    A traceback ends with the address of the section of the documentation that explains the exception.

    Attributes:
        node: id of the node concerned, if a method of a cluster raised it.

    """

    __module__ = "pyami_sync"  # its public path

    node: str | None = None

    def __init__(self, *args: object) -> None:
        super().__init__(*args)
        self.add_note(documentation(type(self)))  # type: ignore[arg-type]

    def __reduce__(self) -> tuple[Any, ...]:
        # Subclasses have keyword-only constructors, which the default protocol can't call.
        return _restore, (type(self), self.args, self.__dict__)


class ConnectError(AMIError):
    """A session could not be opened.

    Attributes:
        host: name or address that was tried.
        port: TCP port that was tried.
        reason: what went wrong and what to check.

    """

    __module__ = "pyami_sync"  # its public path

    def __init__(self, reason: str, host: str = "", port: int = 0) -> None:
        super().__init__(reason, host, port)
        self.reason = reason
        self.host = host
        self.port = port

    def __str__(self) -> str:
        where = f" to {self.host}:{self.port}" if self.host else ""
        return f"cannot connect{where}: {self.reason}"


class LoginRejected(ConnectError):
    """The server refused the login.

    The server does not say whether the user, the secret or the address was wrong: it gives the same answer to all of
    them, so that user names can't be guessed.

    Attributes:
        username: the user name that was sent.
        response: the server's answer.

    """

    __module__ = "pyami_sync"  # its public path

    def __init__(
        self, reason: str, host: str = "", port: int = 0, username: str = "", *, response: Response | None = None
    ) -> None:
        super().__init__(reason, host, port)
        self.args = (reason, host, port, username)
        self.username = username
        self.response = response

    def __str__(self) -> str:
        where = f" at {self.host}:{self.port}" if self.host else ""
        return f"login rejected for user {self.username!r}{where}: {self.reason}"


class ConnectionClosed(AMIError):
    """The session is closed: by :meth:`close`, by ``Logoff``, or because it was never opened."""

    __module__ = "pyami_sync"  # its public path

    def __init__(self, reason: str = "the session is closed") -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class ConnectionLost(ConnectionClosed):
    """The link to the server was lost.

    The action that was under way may or may not have run; the library never sends it again.

    Attributes:
        reason: how the link ended.
        sent: whether bytes of the action may have reached the server. False means that it has certainly
            not run, so that it may be sent elsewhere.
        partial: items of a list action that had arrived.

    """

    __module__ = "pyami_sync"  # its public path

    def __init__(self, reason: str, sent: bool = True, *, partial: Sequence[Event] = ()) -> None:
        super().__init__(reason)
        self.args = (reason, sent)
        self.sent = sent
        self.partial = partial

    def __str__(self) -> str:
        text = f"connection lost: {self.reason}"
        if not self.sent:
            text += "; the action was not sent"
        if self.partial:
            text += f"; {len(self.partial)} list items had arrived (.partial)"
        return text


class ProtocolError(AMIError):
    """A message broke the rules of the protocol."""

    __module__ = "pyami_sync"  # its public path


class LocalProtocolError(ProtocolError):
    """The fault is on this side: the message to be sent is not allowed."""

    __module__ = "pyami_sync"  # its public path


class InvalidAction(LocalProtocolError, ValueError):
    """An action that must not be sent; raised before any byte of it is sent.

    Attributes:
        header: the name of the offending header, if it is one.

    """

    __module__ = "pyami_sync"  # its public path

    def __init__(self, reason: str, header: str | None = None) -> None:
        super().__init__(reason, header)
        self.header = header

    def __str__(self) -> str:
        return str(self.args[0])


class RemoteProtocolError(ProtocolError):
    """The fault is on the server's side: it sent what no AMI server may send, or more than the limits allow."""

    __module__ = "pyami_sync"  # its public path


class ActionError(AMIError):
    """The server answered an action with ``Response: Error``.

    Attributes:
        action: name of the action.
        response: the whole answer; its ``message`` has the server's reason. An exception that was rebuilt from its
            arguments has a response with this message only.
        partial: items of a list action that had arrived before the error.

    """

    __module__ = "pyami_sync"  # its public path

    def __init__(self, action: str, response: Response | str, *, partial: Sequence[Event] = ()) -> None:
        if isinstance(response, str):  # rebuilt from its arguments, by Celery for one
            from .wire.response import Response

            response = Response([("Response", "Error"), *([("Message", response)] if response else [])])
        super().__init__(action, response.message or "")
        self.action = action
        self.response = response
        self.partial = partial

    def __str__(self) -> str:
        said = self.response.message or "no reason given"
        text = f"{self.action} failed: {said}"
        if said == "Permission denied":
            text += " (the AMI user lacks the write class that this action needs: see manager.conf)"
        if self.partial:
            text += f"; {len(self.partial)} list items had arrived (.partial)"
        return text


class ActionTimeout(AMIError, TimeoutError):
    """No (complete) answer came in time. The action may have run, or may still run.

    Attributes:
        action: name of the action.
        timeout: seconds that the caller waited.
        partial: items of a list action that had arrived.
        sent: whether the action had been sent.

    """

    __module__ = "pyami_sync"  # its public path

    def __init__(self, action: str, timeout: float | None, sent: bool = True, *, partial: Sequence[Event] = ()) -> None:
        super().__init__(action)  # with more arguments, OSError would read an errno and a file name
        self.args = (action, timeout, sent)
        self.action = action
        self.timeout = timeout
        self.partial = partial
        self.sent = sent

    def __str__(self) -> str:
        within = "in time" if self.timeout is None else f"within {self.timeout:g} s"
        if not self.sent:
            text = f"{self.action} could not be sent {within}: the action has not run"
            return f"{text} ({self.__cause__})" if self.__cause__ is not None else text
        if self.partial:
            return f"the list of {self.action} was not complete {within}: {len(self.partial)} items (.partial)"
        return f"no answer to {self.action} {within}; it may still run"


class WaitTimeout(AMIError, TimeoutError):
    """No matching event came in time.

    Attributes:
        selectors: what was waited for.
        timeout: seconds that the caller waited.

    """

    __module__ = "pyami_sync"  # its public path

    def __init__(self, selectors: str, timeout: float | None) -> None:
        super().__init__(selectors)
        self.args = (selectors, timeout)
        self.selectors = selectors
        self.timeout = timeout

    def __str__(self) -> str:
        within = "in time" if self.timeout is None else f"within {self.timeout:g} s"
        return (
            f"no event matching {self.selectors} {within}"
            " (check the user's read classes in manager.conf and the event mask if none ever comes)"
        )


class EventsLost(AMIError):
    """A subscriber was too slow and its buffer overflowed.

    Raised by the stream that lost them, at the place in the order where they are missing; iteration can continue
    after it.

    Attributes:
        count: number of events missing at this place.
        lost_by_node: in a cluster, the number of lost events by node id.

    """

    __module__ = "pyami_sync"  # its public path

    def __init__(self, count: int, *, lost_by_node: Mapping[str, int] | None = None) -> None:
        super().__init__(count)
        self.count = count
        self.lost_by_node = dict(lost_by_node or {})

    def __str__(self) -> str:
        return (
            f"{self.count} events lost: this subscriber is slower than the server"
            " (narrow its selectors, raise maxsize, or choose overflow='drop_oldest')"
        )


class ConcurrencyError(AMIError):
    """A blocking call was made on a thread that must never block; the call could never have returned."""

    __module__ = "pyami_sync"  # its public path


class ClusterError(AMIError):
    """A call to a cluster could not be routed."""

    __module__ = "pyami_sync"  # its public path


class UnknownNode(ClusterError, KeyError):
    """No node of the cluster has that id.

    Attributes:
        node_id: the id that was asked for.

    """

    __module__ = "pyami_sync"  # its public path

    def __init__(self, node_id: str) -> None:
        super().__init__(node_id)
        self.node_id = node_id

    def __str__(self) -> str:
        return f"the cluster has no node {self.node_id!r}"


class NoNodeAvailable(ClusterError):
    """No node could take the action.

    Attributes:
        errors: the reason of each node that was tried, by its id.

    """

    __module__ = "pyami_sync"  # its public path

    def __init__(self, reason: str, *, errors: dict[str, AMIError] | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.errors = errors or {}

    def __str__(self) -> str:
        tried = "; ".join(f"{node}: {exc}" for node, exc in self.errors.items())
        return f"{self.reason} ({tried})" if tried else self.reason
