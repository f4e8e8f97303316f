"""A server that sends mutated traffic, and knows of each message whose answer it is.

What it sends is made of whole messages. An answer, an item of a list and its end carry the ActionID of a request and,
in ``Echo``, the token that this request brought along: so whatever a call gets must carry its own token, however the
messages were dropped, doubled, delayed, put in another order, replayed from earlier or made to answer another kind of
action. What stands behind these two headers, and messages that answer nothing, is changed byte by byte as well.

Events carry a number each, in ``Seq``: a stream must see all of them, in order and once.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator

from pyami_sync.wire.message import Message
from tests.support.peer import Peer
from tests.traffic import GREETING, recorded

FRAME, LINE, HEADERS, ITEMS = 60_000, 5_000, 200, 60
"""The limits that the client is given, so that they are within reach."""
MOST_SENT = 32 << 20
"""Bytes of an endless message; the client must have ended the link long before."""
EMPTY = b"\r\n\r\n"
RECORDED = [
    each
    for each in recorded()[len(GREETING) :].split(EMPTY)[:3000]
    if each.startswith(b"Event: ") and b"\r\nPrivilege: " in each
]
LISTS = {"queuestatus": b"QueueMember", "coreshowchannels": b"CoreShowChannel", "pjsipshowendpoints": b"EndpointList"}
ACTIONS = ["Ping", "Getvar", "Command", "DBPut", "Unheard", "SetVar", *LISTS, "DBGet"]
ENDS = ["eof", "reset", "cut", "line", "headers", "frame", "follows", "greeting", "over"]


class Fuzzer:
    """What a :class:`~tests.support.peer.Peer` says; the links are served one after the other.

    Args:
        seed: of all that is done at random.

    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.peer = Peer(**dict.fromkeys({*ACTIONS, "UserEvent"}, self._answer))
        self.chaos = False
        """Whether to mutate; if not, all is answered as it should be."""
        self.orderly = False
        """Whether to answer in the order of asking and once at most, but late, or without ActionID."""
        self.messages = 0
        self.seqs: list[int] = []
        """The numbers of the well-formed events that were sent."""
        self.swallowed = 0
        """Bytes of the last endless message that the client took."""
        self._seq = 0
        self._said: list[bytes] = []  # for replays
        self._delayed: list[bytes] = []
        self._asked: list[tuple[bytes, bytes]] = []  # ActionIDs with their tokens
        self._lock = threading.Lock()

    # Messages

    def event(self, name: bytes = b"", **headers: str) -> bytes:
        """Make a well-formed event with the next number; a recorded one unless a name is given."""
        self._seq += 1
        self.seqs.append(self._seq)
        first, _, rest = (b"Event: " + name if name else self.random.choice(RECORDED)).partition(b"\r\n")
        if not name and self._asked and not self.random.randrange(4):
            # A queued event that repeats the id of an action, as OriginateResponse does: no item of its list.
            rest = b"ActionID: " + self.random.choice(self._asked[-9:])[0] + b"\r\n" + rest
        more = "".join(f"\r\n{each}: {value}" for each, value in headers.items()).encode()
        return first + b"\r\nSeq: %d" % self._seq + more + (b"\r\n" + rest if rest else b"") + EMPTY

    def _body(self) -> bytes:
        """Make lines that follow an answer's own: any, up to the limits, none of which makes it another's."""
        roll = self.random.randrange(12)
        if roll == 0:
            return b"\r\nValue: " + self.random.randbytes(self.random.randrange(60)).replace(b"\r", b"").replace(
                b"\n", b""
            )
        if roll == 1:
            return b"\r\nX: " + b"x" * (LINE - self.random.randrange(6, 9))
        if roll == 2:
            return b"".join(b"\r\nOutput: %d" % each for each in range(self.random.randrange(HEADERS - 20)))
        if roll == 3:
            return b"\r\nno colon here\r\n: no name\r\nKey:\r\nKey:no space\r\nA\nResponse: Error\nActionID: 1"
        if roll == 4:
            return b"\r\nEcho: again\r\nActionID: again\r\nResponse: Error\r\nMessage: forged"
        return b""

    def _noise(self) -> bytes:
        """Make a message that answers nothing: recorded, with bytes changed, lines dropped, doubled and swapped."""
        lines = self.random.choice(RECORDED).split(b"\r\n")
        for _ in range(self.random.randrange(1, 6)):
            at, roll = self.random.randrange(len(lines)), self.random.randrange(6)
            if roll == 0:
                lines[at] = lines[at][: self.random.randrange(len(lines[at]) + 1)]
            elif roll == 1:
                lines.insert(at, self.random.choice(lines))
            elif roll == 2:
                line = bytearray(lines[at] or b"x")
                line[self.random.randrange(len(line))] = self.random.randrange(256)
                lines[at] = bytes(line).replace(b"\r", b"?").replace(b"\n", b"?")
            elif roll == 3 and len(lines) > 1:
                del lines[at]
            elif roll == 4:
                lines[at] = b"K" * self.random.choice([0, 1, LINE - 3]) + b": "
            else:
                self.random.shuffle(lines)
        # A blank line would end it, and "Response: Follows" all that comes behind it.
        kept = [line for line in lines if line] or [b"Event"]
        if kept[0][:8].lower() == b"response":  # without ActionID it would answer a call that is alone
            kept[0] = b"Event: Noise"
        return b"\r\n".join(kept) + self.random.choice([EMPTY, EMPTY + b"\r\n", EMPTY * 3])

    def _answer_to(self, kind: str, head: bytes) -> list[bytes]:
        """Make the answer that a kind of action gets; `head` says whose it is."""
        item = LISTS.get(kind.lower())
        success = b"Response: Success" + head
        if item is not None:
            count = self.random.choice([0, 1, 2, 3, 5, ITEMS])
            items = [b"Event: " + item + head + b"\r\nItem: %d" % each + EMPTY for each in range(count)]
            done = b"Event: " + item + b"Complete" + head + b"\r\nEventList: Complete\r\nListItems: %d" % count + EMPTY
            return [success + b"\r\nEventList: start" + EMPTY, *items, done]
        if kind == "DBGet":
            return [success + EMPTY, b"Event: DBGetResponse" + head + b"\r\nVal: 1" + EMPTY]
        if kind == "Command" and self.random.randrange(2):
            text = b"\r\n".join(self.random.choice([b"one", b"", b"Response: Success"]) for _ in range(9))
            return [b"Response: Follows" + head + b"\r\n" + text + b"\r\n--END COMMAND--" + EMPTY]
        status = self.random.choice([b"Success", b"Success", b"Success", b"Error"]) if self.chaos else b"Success"
        return [b"Response: " + status + head + b"\r\nMessage: m" + (self._body() if self.chaos else b"") + EMPTY]

    # Answering: on the link's thread

    def _answer(self, link: Peer.Link, action: Message) -> None:
        with self._lock:
            key, token = action["ActionID"].encode(), action.get("Token", "").encode()
            head = b"\r\nActionID: " + key + b"\r\nEcho: " + token
            name = action["Action"]
            if self.chaos and self.orderly and name not in LISTS and not self.random.randrange(4):
                head = b"\r\nEcho: " + token
            if name == "UserEvent":
                said = [self.event(b"UserEvent", Sync=action["Sync"]), b"Response: Success" + head + EMPTY]
                said, self._delayed = self._delayed + said, []
            elif not self.chaos:
                said = self._answer_to(name, head)
            else:
                self._asked = [*self._asked[-20:], (key, token)]
                said = self._mutated(self._answer_to(name, head), head)
            self.messages += len(said)
            data = b"".join(said)
        for piece in self._pieces(data):
            link.send(piece)

    def _mutated(self, answer: list[bytes], head: bytes) -> list[bytes]:
        roll, pick = self.random.randrange(24), self.random
        if self.orderly:
            self._delayed += answer if roll else []
            answer = []
        elif roll == 0:
            answer = []
        elif roll == 1:
            answer = answer * 2
        elif roll == 2:
            answer = answer[: pick.randrange(len(answer))]  # a list cut short, or nothing
        elif roll == 3:
            answer = answer[pick.randrange(len(answer)) :]  # without its beginning
        elif roll == 4:
            pick.shuffle(answer)
        elif roll == 5:
            self._delayed += answer
            answer = []
        elif roll == 6:
            key, token = pick.choice(self._asked[-9:])  # to another call, in the shape that this one expects
            answer = [each.replace(head, b"\r\nActionID: " + key + b"\r\nEcho: " + token) for each in answer]
        elif roll == 7:
            answer = self._answer_to(pick.choice(ACTIONS), head)
        elif roll == 8:
            answer[1:1] = [b"Event: Surprise" + head + b"\r\nItem: 0" + EMPTY] * pick.choice([1, 5, ITEMS + 1])
        elif roll == 9 and self._said:
            answer += pick.sample(self._said, min(len(self._said), 5))
        elif roll == 10:
            answer += [self._noise() for _ in range(20)]
        if self._delayed and not pick.randrange(3):
            answer, self._delayed = answer + self._delayed, []
        self._said = (self._said + answer)[-200:]
        said = []
        for each in answer:
            said.append(each)
            for _ in range(pick.choice([0, 0, 1, 3])):
                said.append(pick.choice([self.event, self.event, self._noise])())
        return said

    def _pieces(self, data: bytes) -> Iterator[bytes]:
        size = self.random.choice([1, 7, 100, 1460, 1 << 16]) if self.chaos and len(data) < 2000 else 1 << 16
        for start in range(0, len(data), size):
            yield data[start : start + size]

    # Ends of a link

    def end(self, how: str) -> None:
        """End the link in some way, or send what makes the client end it."""
        link = self.peer.link
        link.sock.settimeout(20)
        self.swallowed = 0
        if how == "reset":
            link.reset()
            return
        if how == "cut":
            link.send(b"Response: Success\r\nActionID: ")
        endless: dict[str, tuple[bytes, bytes]] = {
            "line": (b"Event: X\r\nY: ", b"y" * 4096),
            "headers": (b"Event: X\r\n", b"Y: y\r\n" * 64),
            "frame": (b"Event: X\r\n", b"Y: " + b"y" * 4000 + b"\r\n"),
            "follows": (b"Response: Follows\r\n", b"text" * 500 + b"\r\n\r\n"),
            "greeting": (b"", b"\0" * 4096),
            "over": (b"Event: X\r\nY: " + b"y" * LINE + EMPTY, b"\r\n"),
        }
        if how in endless:
            first, more = endless[how]
            try:
                link.send(first)
                while self.swallowed < MOST_SENT:
                    link.send(more)
                    self.swallowed += len(more)
            except OSError:  # the client has ended it
                pass
            return
        link.close()

    def forget(self) -> None:
        """Forget what was said and asked."""
        self._said, self._asked, self.seqs = [], [], []
        self.peer.links.clear()

    def close(self) -> None:
        """End all links."""
        self.peer.close()
