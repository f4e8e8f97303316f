"""The exceptions of the bridge: BrokerUnavailable, Fenced, NotSupported."""

from __future__ import annotations

from .. import AMIError

__all__ = ["BrokerUnavailable", "Fenced", "NotSupported"]


class BrokerUnavailable(AMIError):
    """The broker did not do something in time; trying again later may succeed.

    Attributes:
        reason: what went wrong, without credentials.

    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"broker unavailable: {self.reason}"


class Fenced(AMIError):
    """A write of an old epoch was refused: another bridge leads the node now.

    Attributes:
        node: the node whose lease was lost.
        epoch: the epoch that was refused.

    """

    def __init__(self, node: str, epoch: int) -> None:
        super().__init__(node, epoch)
        self.node = node
        self.epoch = epoch

    def __str__(self) -> str:
        return f"epoch {self.epoch} of node {self.node!r} is over: another bridge leads the node"


class NotSupported(AMIError):
    """An action that needs its own session with the server, which a bridged client does not have; it was not sent.

    Attributes:
        action: name of the action.

    """

    def __init__(self, action: str) -> None:
        super().__init__(action)
        self.action = action

    def __str__(self) -> str:
        return f"{self.action} needs a session of its own with the server, which a client over a broker does not have"
