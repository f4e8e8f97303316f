"""Channel: the actions on a channel, such as hangup, transfer, hold, park, play and record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from ..exceptions import ActionError
from ..wire.response import Response
from .target import dialplan_place
from .variables import Variables

if TYPE_CHECKING:
    from ..wire.message import Event
    from .call import Call

__all__ = ["Channel"]

CONTEXT = "pyami-sync"
"""The context of the dialplan that :meth:`Channel.play` adds its one extension to."""


class HasUniqueid(Protocol):
    """Something that identifies a channel: one of the live model, a leg, or an event about it."""

    @property
    def uniqueid(self) -> str | None:
        """The unique id of the channel."""


RECORDING = "PYAMI_RECORDING"  # the variable in which MixMonitor stores the id of a recording


class Placer(Protocol):
    """Places calls and sends actions on one server."""

    def send(self, name: str, /, **headers: Any) -> Response:
        """Send an action and wait for its answer."""

    def place(self, device: str, to: str, **options: Any) -> Call:
        """Place a call."""

    def wait_parked(self, channel: Channel, headers: dict[str, Any]) -> Event:
        """Park a channel and return the ParkedCall event."""


class Channel:
    """A channel of a server, by its name or its unique id. Every method sends an action and blocks until its answer.

    If the server refuses the action, for example because the channel has ended, :exc:`~pyami_sync.ActionError` is
    raised.
    """

    def __init__(self, placer: Placer, name: str | HasUniqueid) -> None:
        self._placer = placer
        self._name = name if isinstance(name, str) else name.uniqueid or ""
        if not self._name:
            raise ValueError(f"{name!r} names no channel")

    @property
    def channel(self) -> str:
        """Its name, or its unique id."""
        return self._name

    def request(self, action: str, /, **headers: Any) -> Response:
        """Send any action about this channel."""
        return self._placer.send(action, Channel=self.channel, **headers)

    # Ending and moving

    def hangup(self, cause: int | None = None) -> None:
        """Hang it up; does nothing if it has ended.

        Args:
            cause: the hangup cause (Q.850) for the other side, such as 17 for busy.

        """
        try:
            self.request("Hangup", Cause=cause)
        except ActionError as exc:
            if "no such channel" not in exc.response.message.lower():
                raise

    def redirect(self, to: str) -> None:
        """Send this channel itself to a place in the dialplan, ``"exten@context"``, from whatever it executes."""
        exten, context, priority = dialplan_place(to)
        self.request("Redirect", Exten=exten, Context=context, Priority=priority)

    def transfer(self, to: str) -> None:
        """Transfer blindly: the party that this channel talks with is sent to ``"exten@context"``, and this channel
        ends.
        """
        exten, context, _ = dialplan_place(to)
        self.request("BlindTransfer", Exten=exten, Context=context)

    def attended_transfer(self, to: str) -> None:
        """Begin an attended transfer: put the party on hold and call ``"exten@context"`` to consult it.

        The server acts as if the device had dialled the code for it: the call must allow that (option ``t`` or ``T``
        of Dial), and ``features.conf`` must have a code for ``atxfer``. The transfer is completed when this channel
        hangs up, or by :meth:`complete_transfer`, also while the target still rings (a blonde transfer);
        :meth:`cancel_transfer` returns to the party.
        """
        exten, context, _ = dialplan_place(to)
        self.request("Atxfer", Exten=exten, Context=context)

    def complete_transfer(self) -> None:
        """Complete an attended transfer: hang this channel up, so that the other two talk."""
        self.hangup()

    def cancel_transfer(self) -> None:
        """Abandon an attended transfer and return to the party on hold."""
        self.request("CancelAtxfer")

    def park(self, lot: str | None = None, *, timeout: float | None = None) -> str:
        """Park it, and return the number of its parking space; blocks until it is parked.

        Args:
            lot: the parking lot, the default one unless given.
            timeout: seconds after which the parked call returns to the parker.

        """
        headers = {"Parkinglot": lot, "Timeout": None if timeout is None else round(timeout * 1000)}
        return self._placer.wait_parked(self, headers)["ParkingSpace"]

    def pickup(self, device: str, **options: Any) -> Call:
        """Pick up this ringing channel with another device: call that device, and connect it with the caller when it
        answers.

        Args:
            device: such as ``"PJSIP/1102"``.
            options: those of :meth:`AMIClient.call() <pyami_sync.AMIClient.call>`.

        """
        return self._placer.place(device, f"PickupChan({self.channel})", **options)

    def bridge_with(self, other: Channel | str, *, tone: bool = False) -> None:
        """Connect it with another channel; both stop what they execute.

        Args:
            other: a channel or call, or the name of one.
            tone: play a tone to both.

        """
        second = other.channel if isinstance(other, Channel) else other
        self._placer.send("Bridge", Channel1=self.channel, Channel2=second, Tone="Both" if tone else None)

    # Sound

    def hold(self, music: str | None = "default") -> None:
        """Put the party on hold: neither hears the other, and the party hears music.

        The bridge stays, so the dialplan and the call's records are not affected. Without ``music``, or if the party
        is not known, there is silence. This is independent of a telephone's own hold key, which causes Hold and
        Unhold events.
        """
        self.request("MuteAudio", Direction="all", State="on")
        party = self._party()
        if music is not None and party is not None:
            self._music = party.play_application("MusicOnHold", music)

    def unhold(self) -> None:
        """End the hold, so that the parties hear each other again."""
        music = self._music
        if music is not None:
            self._music = None
            music.hangup()
            for leg in music.legs:  # without sound ChanSpy may not notice that the other half has ended
                if not leg.ended:
                    Channel(self._placer, leg.channel).hangup()
        self.request("MuteAudio", Direction="all", State="off")

    _music: Call | None = None

    def _party(self) -> Channel | None:
        """Return the channel that this one talks with, if that is known."""
        status = self._status()
        bridge = status.get("BridgeID") if status is not None else None
        if status is None or not bridge:
            return None
        events = self._placer.send("BridgeInfo", BridgeUniqueid=bridge).events
        others = [event["Channel"] for event in events if event.get("Uniqueid") != status["Uniqueid"]]
        return Channel(self._placer, others[0]) if len(others) == 1 else None

    def _status(self) -> Event | None:
        return next((event for event in self.request("Status").events if event.name == "Status"), None)

    def mute(self, direction: str = "in") -> None:
        """Mute it.

        Args:
            direction: ``"in"``: the others do not hear it; ``"out"``: it does not hear them; ``"all"``: both.

        """
        self.request("MuteAudio", Direction=direction, State="on")

    def unmute(self, direction: str = "all") -> None:
        """Undo :meth:`mute`."""
        self.request("MuteAudio", Direction=direction, State="off")

    def send_dtmf(self, digits: str, *, duration: float | None = None) -> None:
        """Send DTMF digits to the channel's device, one after the other.

        Args:
            digits: of ``0``-``9``, ``*``, ``#``, ``A``-``D``.
            duration: length of each digit in seconds.

        Raises:
            ValueError: it contains another character.

        """
        if not digits or set(digits.upper()) - set("0123456789*#ABCD"):
            raise ValueError(f"DTMF digits are 0-9, *, #, A-D, not {digits!r}")
        for digit in digits:
            self.request("PlayDTMF", Digit=digit, Duration=None if duration is None else round(duration * 1000))

    def play(self, sound: str) -> Call:
        """Play a sound to this channel, whatever it executes; return the call that plays it.

        ``play("beep").wait_ended()`` waits for its end. Needs app_chanspy and the write class ``system``, because it
        adds an extension, which plays the sound, in the context ``pyami-sync``.
        """
        return self.play_application("Playback", sound)

    def play_application(self, application: str, data: str) -> Call:
        """Play the sound of an application to this channel, whatever it executes; return the call that plays it."""
        self._placer.send(
            "DialplanExtensionAdd",
            Context=CONTEXT,
            Extension="whisper",
            Priority=1,
            Application="ChanSpy",
            ApplicationData="${PYAMI_TARGET},qwES",
            Replace=True,
        )
        return self._placer.place(
            f"Local/whisper@{CONTEXT}/n",
            f"{application}({data})",
            variables={"__PYAMI_TARGET": self._spied()},
            hangup_on_exit=False,
        )

    def _spied(self) -> str:
        """Return its name, because ChanSpy finds channels by the beginning of the name, not by unique id."""
        if "/" in self.channel:
            return self.channel
        status = self._status()
        return self.channel if status is None else status["Channel"]

    def record(self, file: str, options: str | None = None) -> str:
        """Record what is said (MixMonitor); return an id for :meth:`stop_recording`.

        Args:
            file: path on the server, relative to its directory for recordings; its extension determines the format.
            options: of MixMonitor, such as ``"b"`` for recording only while it is bridged.

        """
        self.request("MixMonitor", File=file, Options=f"{options or ''}i({RECORDING})")
        return self.variables[RECORDING]

    def stop_recording(self, recording: str | None = None) -> None:
        """Stop a recording, or all of them."""
        self.request("StopMixMonitor", MixMonitorID=recording or None)

    def spy(self, device: str, *, whisper: bool = False, barge: bool = False, **options: Any) -> Call:
        """Call a device that then listens to this channel; return that call.

        Args:
            device: such as ``"PJSIP/1100"``.
            whisper: whether it also speaks to this channel.
            barge: whether it also speaks to this channel and its party.
            options: those of :meth:`AMIClient.call() <pyami_sync.AMIClient.call>`.

        """
        mode = "q" + ("B" if barge else "w" if whisper else "") + "E"
        return self._placer.place(device, f"ChanSpy({self._spied()},{mode})", **options)

    # Variables

    @property
    def variables(self) -> Variables:
        """The channel's variables, and functions of the dialplan, as a mapping."""
        return Variables(self)

    def __getitem__(self, name: str) -> str:
        return self.variables[name]

    def __setitem__(self, name: str, value: str) -> None:
        self.variables[name] = value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.channel}>"
