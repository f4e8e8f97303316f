"""What the server of the benchmarks sends, rendered before anything is measured."""

from __future__ import annotations

import lzma
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, islice
from pathlib import Path

__all__ = ["END", "RECORDED", "Load", "prepare", "recorded_events"]

RECORDED = Path(__file__).parent.parent / "tests" / "traffic" / "asterisk-22.10-400-calls.ami.xz"
END = "Reload"
"""Name of the event behind the last one of a flood; none in the recording has it."""

ITEM = """\
Event: CoreShowChannel
ActionID: @ID@
Channel: PJSIP/{extension}-{number:08x}
ChannelState: 6
ChannelStateDesc: Up
CallerIDNum: {extension}
CallerIDName: Extension {extension}
ConnectedLineNum: 5551{number:04}
ConnectedLineName: <unknown>
Language: en
AccountCode: {extension}
Context: from-internal
Exten: 5551{number:04}
Priority: 4
Uniqueid: a22-1795311952.{number}
Linkedid: a22-1795311952.{number}
Application: Dial
ApplicationData: PJSIP/trunk/5551{number:04},30,tT
Duration: 00:{minutes:02}:{seconds:02}
BridgeId: 8a3f2c1e-0b5d-4c7a-9e21-{number:012x}

"""
LINE = (
    "Output: PJSIP/{extension}-{number:08x} from-internal 5551{number:04} 4 Up Dial PJSIP/trunk/5551{number:04},30\r\n"
)


def recorded_events() -> list[bytes]:
    """The events of the recording, in wire order, each without its closing blank line."""
    messages = lzma.decompress(RECORDED.read_bytes()).partition(b"\r\n")[2].split(b"\r\n\r\n")
    return [each for each in messages if each.startswith(b"Event: ") and b"FullyBooted" not in each[:30]]


@dataclass(frozen=True)
class Load:
    """Files that the server sends from.

    A flood goes through the recording again and again, a list through a thousand items, output through a
    thousand lines.
    """

    folder: Path

    @property
    def events(self) -> Path:
        return self.folder / "events"

    @property
    def items(self) -> Path:
        return self.folder / "items"

    @property
    def lines(self) -> Path:
        return self.folder / "lines"

    @cached_property
    def names(self) -> list[str]:
        """Names of the events in :attr:`events`."""
        frames = self.events.read_bytes().split(b"\r\n\r\n")[:-1]
        return [frame[7 : frame.find(b"\r\n")].decode() for frame in frames]

    def expected(self, count: int, wanted: tuple[str, ...] | None) -> int:
        """How many events of a flood are wanted, its last one (:data:`END`) included."""
        if wanted is None:
            return count + 1
        whole, rest = divmod(count, len(self.names))
        return sum(
            times * sum(name in wanted for name in names)
            for times, names in ((whole, self.names), (1, islice(cycle(self.names), rest)))
        ) + (END in wanted)

    @property
    def event_size(self) -> float:
        """Mean size of an event in bytes."""
        return self.events.stat().st_size / len(self.names)


def prepare(folder: Path) -> Load:
    """Write the files into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    load = Load(folder)
    load.events.write_bytes(b"".join(each + b"\r\n\r\n" for each in recorded_events()))
    numbers = [
        {"number": n, "extension": 1100 + n % 200, "minutes": n // 60 % 60, "seconds": n % 60} for n in range(1000)
    ]
    load.items.write_bytes("".join(ITEM.format(**each) for each in numbers).replace("\n", "\r\n").encode())
    load.lines.write_bytes("".join(LINE.format(**each) for each in numbers).encode())
    return load
