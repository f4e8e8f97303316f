"""AGITestCall: a call into a script in a test, which says what the caller does and checks what the caller hears."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NoReturn, Self

from ...engine.deadline import Deadline
from ..apps import run_dialplan
from ..flow import Steps
from ..state import UP, Channel
from .line import Line
from .lines import run_agi

if TYPE_CHECKING:
    from ..simulator import Simulator

__all__ = ["AGITestCall"]


class AGITestCall:
    """A call that a simulator has placed into a script; see :meth:`Simulator.agi_call`.

    ::

        simulator.agi_call("ivr/en").hears("welcome").presses("1").goes_to("sales,s,1")

    Each method waits for the script, at most ``timeout`` seconds, and raises :exc:`AssertionError`, with everything
    that has happened, if the script does something else. The simulator does not wait in real time: a sound is played
    at once, and a command that waits for a key waits until the test presses one, or until the test continues without
    a key, which ends the wait like its timeout.
    """

    def __init__(
        self,
        simulator: Simulator,
        path: str,
        arguments: tuple[str, ...],
        *,
        caller_id: str,
        caller_name: str,
        variables: Mapping[str, str],
        apps: Mapping[str, int | Callable[[str], int]],
        answered: bool,
        timeout: float,
    ) -> None:
        self._simulator = simulator
        self._timeout = timeout
        self._next = 0  # index of the first sound that the test has not checked yet
        self._finished = False  # True once the channel has left AGI
        self._line: Line
        url = path if path.startswith("agi://") else "agi:async"
        data = ",".join((url, *arguments) if url == path else (url, path, *arguments))
        simulator.loop.run(self._place, data, caller_id, caller_name, variables, apps, answered)

    def _place(
        self,
        data: str,
        number: str,
        name: str,
        variables: Mapping[str, str],
        apps: Mapping[str, int | Callable[[str], int]],
        answered: bool,
    ) -> None:
        pbx = self._simulator.pbx
        channel = pbx.incoming("PJSIP/caller", "agi-call", "s")
        channel.number, channel.caller = number, name
        channel.variables.update(variables)
        channel.state = UP if answered else 4
        channel.application, channel.data = "AGI", data

        def life() -> Steps[None]:
            try:
                line = yield from run_agi(pbx, channel, data, apps, self._began)
            finally:  # also when the channel is hung up in the middle
                self._finished = True
                self._line.changed.notify_all()
            if line.moved and not line.hung_up:
                yield from run_dialplan(pbx, channel)

        pbx.run(channel, life())

    def _began(self, line: Line) -> None:
        self._line = line

    # State

    @property
    def channel(self) -> Channel:
        """The simulated channel."""
        return self._line.channel

    @property
    def transcript(self) -> list[tuple[str, str]]:
        """The script's commands so far, with their answers."""
        return list(self._line.transcript)

    @property
    def heard(self) -> list[str]:
        """The sounds that the caller has heard so far."""
        return list(self._line.heard)

    # What the caller does and hears

    def hears(self, *sounds: str) -> Self:
        """Check that the caller hears these sounds in this order; others may come between them.

        Sounds are given by name, spoken values by kind: ``digits:12``, ``number:3``, ``alpha:abc``, ``date:…``.
        """
        for sound in sounds:
            self._wait(lambda sound=sound: sound in self._line.heard[self._next :], f"the caller hears {sound!r}")  # type: ignore[misc]
            self._next = self._line.heard.index(sound, self._next) + 1
        return self

    def presses(self, digits: str) -> Self:
        """Wait until the script listens for keys, and press these; keys that it does not use are kept."""
        self._wait(lambda: self._line.pending is not None, f"the script listens, for {digits!r}", silence=False)
        self._simulator.loop.run(self._line.press, digits)
        return self

    def stays_silent(self) -> Self:
        """Wait until the script listens for keys, and let its timeout pass without a key."""
        self._wait(lambda: self._line.pending is not None, "the script listens", silence=False)
        self._simulator.loop.run(self._line.silence)
        return self

    def hangs_up(self) -> Self:
        """Hang up as the caller does."""
        self._simulator.loop.run(self._hang_up)
        return self

    def _hang_up(self) -> None:
        self._simulator.pbx.hangup(self.channel)

    # The end

    def goes_to(self, place: str) -> Self:
        """Check that the script ends, and that the dialplan continues at ``context,extension,priority``."""
        self._wait_end()
        if self._line.hung_up or self._line.place != place:
            where = "is hung up" if self._line.hung_up else f"goes on at {self._line.place}"
            self._fail(f"the call goes to {place}; it {where}")
        return self

    def is_hung_up(self) -> Self:
        """Check that the script, or the caller, hangs up."""
        self._wait_end()
        if not self._line.hung_up:
            self._fail(f"the call is hung up; it goes on at {self._line.place}")
        return self

    def ends(self, status: str = "DONE") -> Self:
        """Check the script's result in ``AGISCRIPT``: ``DONE``, ``ERROR``, ``NOTFOUND`` or ``REFUSED``."""
        self._wait_end()
        found = self.channel.variables.get("AGISCRIPT")
        if found != status:
            self._fail(f"the script ends with {status}; it ended with {found or 'nothing said'}")
        return self

    def has_set(self, **variables: str) -> Self:
        """Wait until the script has ended, and check variables that it has set."""
        self._wait_end()
        found = {name: self.channel.variables.get(name) for name in variables}
        if found != variables:
            self._fail(f"the script sets {variables}; there is {found}")
        return self

    def _wait_end(self) -> None:
        self._wait(lambda: self._finished, "the script ends")

    def _wait(self, ready: Callable[[], object], wanted: str, *, silence: bool = True) -> None:
        """Wait for the script; commands that listen for keys meanwhile time out."""
        line = self._line
        deadline = Deadline(self._timeout)
        while not ready():
            if self._finished:
                self._fail(f"{wanted}; the script is over")
            if silence and line.pending is not None:
                self._simulator.loop.run(self._pass_over, ready)
                continue
            came = line.changed.wait(
                lambda: ready() or self._finished or (silence and line.pending is not None), deadline.remaining()
            )
            if not came:
                self._fail(f"{wanted}; nothing of the kind within {self._timeout:g} s")

    def _pass_over(self, ready: Callable[[], object]) -> None:
        # Checked again on the simulator's thread, where nothing changes meanwhile.
        if not ready():
            self._line.silence()

    def _fail(self, text: str) -> NoReturn:
        lines = [f"expected that {text}", f"heard: {', '.join(self.heard) or 'nothing'}", "commands:"]
        lines += [f"  {command} -> {reply}" for command, reply in self.transcript] or ["  none"]
        raise AssertionError("\n".join(lines))

    def __repr__(self) -> str:
        return f"<AGITestCall on {self.channel.name}, {len(self._line.transcript)} commands>"
