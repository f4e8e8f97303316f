"""Messages that several tests turn into other forms."""

from __future__ import annotations

from pathlib import Path

from pyami_sync import events
from pyami_sync.vocabulary.model import ListResponse

TRAFFIC = Path(__file__).parents[1] / "traffic" / "asterisk-22.10-400-calls.ami.xz"
HANGUP = events.Hangup.from_bytes(
    b"Event: Hangup\r\nTimestamp: 1795311952.75\r\nChannel: PJSIP/a-1\r\nCause: 16\r\nCause-txt: Normal Clearing\r\n"
    b"ChanVariable: A=1\r\nChanVariable: B=2\r\nX-New: 1"
)
LIST: ListResponse[events.QueueMember] = ListResponse(
    [("Response", "Success"), ("EventList", "start")],
    events=[events.QueueMember.from_bytes(b"Event: QueueMember\r\nQueue: a\r\nPaused: 1\r\nPenalty: 3")],
    complete=events.QueueStatusComplete.from_bytes(b"Event: QueueStatusComplete\r\nListItems: 1"),
)
