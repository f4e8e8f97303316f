"""The states of the simulator's devices, and of the queue members with these devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .state import DEVICE_STATES, DOWN, RINGING, Channel, Member, Queue

if TYPE_CHECKING:
    from .pbx import PBX

__all__ = ["Devices"]


class Devices:
    """What devices are doing: derived from the channels, and sent as events when it changes.

    Args:
        pbx: has the channels, endpoints and queues.

    """

    def __init__(self, pbx: PBX) -> None:
        self._pbx = pbx
        self._told: dict[str, str] = {}  # states as they were sent last

    def state(self, device: str) -> str:
        """Return the state of a device as events spell it."""
        technology, _, name = device.partition("/")
        if technology == "PJSIP":
            endpoint = self._pbx.endpoints.get(name)
            if endpoint is None:
                return "INVALID"
            if not endpoint.contacts:
                return "UNAVAILABLE"
            states = {channel.state for channel in list(self._pbx.channels.values()) if channel.endpoint is endpoint}
        else:
            name = device.removesuffix("/n")
            states = {channel.state for channel in list(self._pbx.channels.values()) if channel.device == name}
        if not states:
            return "NOT_INUSE"
        if RINGING in states:
            return "RINGING" if states <= {RINGING, DOWN} else "RINGINUSE"
        return "INUSE"

    def member_status(self, member: Member) -> int:
        """Return the number that says whether a queue's member can be called."""
        return DEVICE_STATES[self.state(member.state_interface or member.interface)][0]

    def member_event(self, event: str, queue: Queue, member: Member) -> None:
        """Send an event about a queue's member."""
        self._pbx.emit(
            event,
            [("Queue", queue.name), ("MemberName", member.name), ("Interface", member.interface)],
            member.headers(self.member_status(member)),
            [("Ringinuse", int(member.ring_in_use)), ("Wrapuptime", 0)],
        )

    def changed(self, channel: Channel) -> None:
        """Send the events for the new state of a channel's device, and of the queue members with that device."""
        device = channel.endpoint.device if channel.endpoint is not None else channel.device
        state = self.state(device)
        if self._told.get(device, "NOT_INUSE") == state:
            return
        self._told[device] = state
        self._pbx.emit("DeviceStateChange", [("Device", device), ("State", state)])
        for queue in self._pbx.queues.values():
            for member in queue.members.values():
                if member.interface.removesuffix("/n") == device:
                    self.member_event("QueueMemberStatus", queue, member)
                    queue.wake()
