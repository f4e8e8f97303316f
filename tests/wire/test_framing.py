"""Cutting bytes into messages: every chunking gives the same, oddities are survived, limits hold, cost is linear."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyami_sync.exceptions import RemoteProtocolError
from pyami_sync.wire.framing import Framer
from pyami_sync.wire.message import Event, Message
from pyami_sync.wire.protocol import Protocol
from pyami_sync.wire.response import Response

from ..traffic import GREETING, recorded

HANGUP = b"Event: Hangup\r\nChannel: SIP/1\r\n\r\n"
PONG = b"Response: Success\r\nPing: Pong\r\n\r\n"
OLD_COMMAND = (
    b"Response: Follows\r\nPrivilege: Command\r\nActionID: 1\r\n"
    b"first\n\nEvent: Fake\r\n\r\nResponse: Success\r\n\r\nlast--END COMMAND--\r\n\r\n"
)


def cut(data: bytes, *sizes: int) -> list[bytes]:
    """Frames of data that is fed in chunks of these sizes, the rest as one chunk."""
    framer, found, start = Framer(), [], 0
    for size in sizes:
        found += framer.feed(data[start : start + size])
        start += size
    found += framer.feed(data[start:]) if data[start:] else []
    return found


def by_byte(data: bytes) -> list[bytes]:
    return cut(data, *[1] * len(data))


class TestMessages:
    def test_one_message(self):
        assert cut(HANGUP) == [HANGUP[:-4]]

    def test_an_unfinished_message_waits(self):
        framer = Framer()
        assert framer.feed(HANGUP + b"Event: Half\r\n") == [HANGUP[:-4]]
        assert framer.pending == len(b"Event: Half\r\n")
        assert framer.feed(b"\r\n") == [b"Event: Half"]
        assert framer.pending == 0

    @pytest.mark.parametrize("at", range(1, len(HANGUP + PONG)))
    def test_any_cut_gives_the_same(self, at):
        assert cut(HANGUP + PONG, at) == [HANGUP[:-4], PONG[:-4]]

    def test_byte_by_byte(self):
        assert by_byte(HANGUP + PONG + HANGUP) == [HANGUP[:-4], PONG[:-4], HANGUP[:-4]]

    def test_an_empty_chunk_is_nothing(self):
        assert Framer().feed(b"") == []

    @pytest.mark.parametrize("noise", [b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\n\n\r\r\n\r\n\r\n", b"\r\n\r"])
    def test_stray_line_ends_between_messages(self, noise):
        data = noise + HANGUP + noise + PONG + noise
        assert cut(data) == [HANGUP[:-4], PONG[:-4]]
        assert by_byte(data) == [HANGUP[:-4], PONG[:-4]]

    def test_stray_line_ends_hold_no_memory(self):
        framer = Framer()
        for _ in range(100):
            assert framer.feed(b"\r\n\r\n\r\n") == []
            assert framer.feed(b"\n") == []
            assert framer.pending == 0

    @pytest.mark.promise(5)
    @pytest.mark.parametrize("inside", ["\n", "\n\n", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\r", "\n\r"])
    def test_only_cr_lf_cr_lf_ends_a_message(self, inside):
        frame = f"Event: VarSet\r\nValue: a{inside}Event: Fake{inside}b".encode()
        assert cut(frame + b"\r\n\r\n" + PONG) == [frame, PONG[:-4]]
        assert by_byte(frame + b"\r\n\r\n" + PONG) == [frame, PONG[:-4]]

    def test_a_line_feed_at_the_end_of_the_last_value(self):
        frame = b"Response: Error\r\nMessage: No AORs found\n"
        assert cut(frame + b"\r\n\r\n" + PONG) == [frame, PONG[:-4]]

    @pytest.mark.parametrize("size", [1, 3, 17, 40, 1000])
    def test_range_spans_what_the_last_feed_gave(self, size):
        data = b"".join((HANGUP, PONG, b"event: Hangup\r\n\r\n", b"\r\n", HANGUP, OLD_COMMAND, HANGUP, HANGUP))
        framer = Framer()
        for start in range(0, len(data), size):
            frames = framer.feed(data[start : start + size])
            assert framer.range == ((min(frames), max(frames)) if frames else (b"", b""))


class TestOldCommandOutput:
    @pytest.mark.parametrize("at", [None, *range(1, len(OLD_COMMAND))])
    def test_blank_lines_in_the_output_end_nothing(self, at):
        assert cut(OLD_COMMAND + PONG, *([at] if at else [])) == [OLD_COMMAND[:-4], PONG[:-4]]

    def test_byte_by_byte_between_others(self):
        data = HANGUP + OLD_COMMAND + OLD_COMMAND + HANGUP
        expected = [HANGUP[:-4], OLD_COMMAND[:-4], OLD_COMMAND[:-4], HANGUP[:-4]]
        assert cut(data) == expected
        assert by_byte(data) == expected

    def test_marker_on_a_line_of_its_own(self):
        data = b"Response: Follows\r\nPrivilege: Command\r\nline\n--END COMMAND--\r\n\r\n"
        assert cut(data + PONG) == [data[:-4], PONG[:-4]]

    def test_marker_inside_the_text_is_text(self):
        data = b"Response: Follows\r\nsay --END COMMAND-- twice\r\n\r\n--END COMMAND--\r\n\r\n"
        assert cut(data + PONG) == [data[:-4], PONG[:-4]]

    def test_written_in_another_case_and_behind_noise(self):
        data = b"response:  follows\r\ntext\r\n\r\nmore--END COMMAND--\r\n\r\n"
        assert cut(b"\r\n" + data + HANGUP) == [data[:-4], HANGUP[:-4]]
        assert by_byte(b"\r\n" + data + HANGUP) == [data[:-4], HANGUP[:-4]]

    def test_an_event_that_mentions_follows_is_an_event(self):
        data = b"Event: OriginateResponse\r\nResponse: Follows\r\n\r\n"
        assert cut(data + PONG) == [data[:-4], PONG[:-4]]

    def test_followed_by_the_start_of_something(self):
        framer = Framer()
        assert framer.feed(OLD_COMMAND + b"Response: Fol") == [OLD_COMMAND[:-4]]
        assert framer.feed(b"lows\r\na\r\n\r\n") == []
        assert framer.feed(b"b\n--END COMMAND--\r\n\r\n" + PONG) == [
            b"Response: Follows\r\na\r\n\r\nb\n--END COMMAND--",
            PONG[:-4],
        ]


@pytest.mark.promise(16)
class TestLimits:
    @pytest.mark.parametrize("step", [1, 7, 1000])
    def test_a_line_without_end(self, step):
        framer = Framer(max_line=500)
        with pytest.raises(RemoteProtocolError, match="line of more than 500 bytes"):
            for _ in range(0, 1000, step):
                framer.feed(b"x" * step)
        assert framer.pending <= 500 + step

    def test_a_long_line_within_a_whole_message(self):
        with pytest.raises(RemoteProtocolError, match="line of more than 50 bytes"):
            Framer(max_line=50).feed(b"Event: A\r\nValue: " + b"x" * 60 + b"\r\nMore: 1\r\n\r\n")

    def test_a_long_line_that_ended_before_its_message(self):
        framer = Framer(max_line=50)
        framer.feed(b"Event: A\r\n")
        with pytest.raises(RemoteProtocolError, match="line of more than 50 bytes"):
            framer.feed(b"Value: " + b"x" * 60 + b"\r\n")
            framer.feed(b"\r\n")

    @pytest.mark.parametrize(("size", "fits"), [(42, True), (43, False)])
    @pytest.mark.parametrize("more", [b"More: 1\r\n", b""], ids=["between", "last"])
    def test_a_line_cut_anywhere(self, size, fits, more):
        data = b"Event: A\r\nValue: " + b"x" * size + b"\r\n" + more + b"\r\n"  # with its CR 50 bytes, or 51
        for first in range(1, len(data) + 1):
            for second in range(first, len(data) + 1):
                framer = Framer(max_line=50)
                pieces = [piece for piece in (data[:first], data[first:second], data[second:]) if piece]
                if fits:
                    assert [frame for piece in pieces for frame in framer.feed(piece)] == [data[:-4]]
                else:
                    with pytest.raises(RemoteProtocolError, match="line of more than 50 bytes"):
                        for piece in pieces:
                            framer.feed(piece)

    def test_many_lines_of_full_length_are_fine(self):
        frame = b"\r\n".join(b"Value: " + b"x" * 43 for _ in range(100))
        assert Framer(max_line=51).feed(frame + b"\r\n\r\n") == [frame]

    @pytest.mark.parametrize("step", [10, 10_000])
    def test_a_message_without_end(self, step):
        framer = Framer(max_frame=1000)
        line = b"Key: 4\r\n"
        with pytest.raises(RemoteProtocolError, match="message of more than 1000 bytes"):
            for _ in range(0, 2000, step):
                framer.feed(line * (step // 8 + 1))

    def test_a_whole_message_that_is_too_big(self):
        with pytest.raises(RemoteProtocolError, match="message of more than 1000 bytes"):
            Framer(max_frame=1000).feed(b"Key: 4\r\n" * 200 + b"\r\n")

    def test_old_command_output_without_end(self):
        framer = Framer(max_frame=1000)
        with pytest.raises(RemoteProtocolError, match="message of more than 1000 bytes"):
            for _ in range(500):
                framer.feed(b"Response: Follows\r\nx\r\n\r\n")

    @pytest.mark.parametrize("step", [1, 4, 10_000])
    def test_a_million_headers(self, step):
        framer = Framer(max_headers=100)
        data = b"A:\r\n" * 101 + b"\r\n"
        with pytest.raises(RemoteProtocolError, match="more than 100 headers"):
            for start in range(0, len(data), step):
                framer.feed(data[start : start + step])

    def test_just_as_many_headers_as_allowed(self):
        assert len(Framer(max_headers=100).feed(b"A:\r\n" * 100 + b"\r\n")) == 1

    def test_many_small_messages_in_one_chunk_are_no_breach(self):
        framer = Framer(max_frame=50, max_line=40, max_headers=5)
        assert len(framer.feed(HANGUP * 100)) == 100


class CountingBytes(bytes):
    """Bytes that count how many of them are searched or copied."""

    touched = 0

    def __getitem__(self, key):
        part = super().__getitem__(key)
        CountingBytes.touched += 1 if isinstance(part, int) else len(part)
        return part

    def find(self, *args):
        CountingBytes.touched += len(self)
        return super().find(*args)


class TestCost:
    def test_a_message_in_many_pieces_costs_a_bounded_number_of_bytes_each(self):
        # Counted, not timed: to find a terminator across the border each piece may be looked at with a
        # few bytes of what came before, however long that is by now.
        framer = Framer()
        framer.feed(b"Event: Big\r\nValue: ")
        CountingBytes.touched = 0
        pieces = 100_000
        for _ in range(pieces):
            framer.feed(CountingBytes(b"xxxxxxxxxx"))
        assert 0 < CountingBytes.touched <= pieces * 60
        assert len(framer._parts) == pieces + 1  # kept as they came: joined once, at the end
        assert len(framer._tail) < 32  # all of them that is looked at again
        [frame] = framer.feed(b"\r\n\r\n")
        assert len(frame) == len(b"Event: Big\r\nValue: ") + 10 * pieces

    def test_a_message_in_a_million_pieces(self):
        framer = Framer()
        data = b"Event: Big\r\nValue: " + b"x" * 1_000_000 + b"\r\n\r\n"
        feed, found = framer.feed, []
        for at in range(len(data)):
            found += feed(data[at : at + 1])
        assert found == [data[:-4]]


PIECES = st.sampled_from(
    [
        *(b"Event: A", b"Response: Success", b"Response: Follows", b"ActionID: 1", b"x", b": ", b"\0\xff"),
        *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", "\u2028".encode()),
        *(b"--END COMMAND--", b"--END COMMAND--\r\n\r\n"),
    ]
)


class TestAnyChunking:
    @settings(deadline=None, max_examples=300)
    @given(data=st.lists(PIECES, max_size=25).map(b"".join), sizes=st.lists(st.integers(1, 30), max_size=20))
    @example(data=b"\r\nResponse: Follows\r\n\r\n--END COMMAND--\r\n\r\nx\r\n\r\n", sizes=[1, 2, 3])
    def test_chunks_never_change_what_is_cut(self, data, sizes):
        assert cut(data, *sizes) == cut(data)

    @settings(deadline=None, max_examples=100)
    @given(data=st.lists(PIECES, max_size=25).map(b"".join))
    def test_byte_by_byte_is_the_same(self, data):
        assert by_byte(data) == cut(data)


def replay(data: bytes, sizes: list[int]) -> list[bytes]:
    protocol, found, start, turn = Protocol(), [], 0, 0
    while start < len(data):
        size = sizes[turn % len(sizes)]
        found += protocol.receive(data[start : start + size])
        start, turn = start + size, turn + 1
    assert protocol.framer.pending == 0
    return found


class TestRecordedTraffic:
    def test_every_message_parses_and_gives_its_bytes_back(self):
        data = recorded()
        messages = [Message.from_bytes(frame) for frame in replay(data, [len(data)])]
        assert GREETING + b"".join(message.to_bytes() for message in messages) == data
        assert len(messages) > 20_000
        kinds = {type(message) for message in messages}
        assert kinds == {Event, Response}
        assert sum(isinstance(message, Event) for message in messages) == data.count(b"\r\nEvent: ")
        for message in messages:
            lines = message.to_bytes()[:-4].split(b"\r\n")
            assert [f"{name}: {value}".encode() for name, value in message.items()] == lines

    def test_one_byte_at_a_time(self):
        data = recorded()[:400_000]
        data = data[: data.rindex(b"\r\n\r\n") + 4]
        assert replay(data, [1]) == replay(data, [len(data)])

    @settings(deadline=None, max_examples=15)
    @given(st.lists(st.integers(1, 70_000), min_size=1, max_size=30))
    def test_random_chunks(self, sizes):
        data = recorded()
        assert GREETING + b"".join(frame + b"\r\n\r\n" for frame in replay(data, [max(50, s) for s in sizes])) == data
