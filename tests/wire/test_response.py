"""The answer to an action: its status, its text in every form, its items."""

from __future__ import annotations

import pytest

from pyami_sync.wire.message import Event, Message
from pyami_sync.wire.origin import Origin
from pyami_sync.wire.response import Response


def parse(raw: bytes) -> Response:
    return Message.from_bytes(raw)


class TestResponse:
    @pytest.mark.parametrize(
        ("status", "ok"),
        [("Success", True), ("Error", False), ("error", False), ("Failure", False), ("Goodbye", True), ("Pong", True)],
    )
    def test_ok(self, status, ok):
        assert Response({"Response": status}).ok is ok
        assert Response({"Response": status}).status == status

    def test_an_error_that_means_empty_is_ok(self):
        response = Response({"Response": "Error"})
        response._empty = True
        assert response.ok

    def test_message_loses_one_line_feed(self):
        assert parse(b"Response: Error\r\nMessage: No AORs found\n").message == "No AORs found"
        assert parse(b"Response: Error\r\nMessage: a\nb\n\n").message == "a\nb\n"
        assert Response().message == ""

    def test_action_id(self):
        assert parse(b"Response: Success\r\nActionID: 4 ").action_id == "4 "
        assert parse(b"Response: Success").action_id is None

    def test_new_output(self):
        raw = b"Response: Success\r\nMessage: Command output follows\r\nOutput:   a: b \r\nOutput: \r\nOutput: c"
        assert parse(raw).output == ["  a: b ", "", "c"]

    def test_new_output_of_a_failed_command(self):
        response = parse(b"Response: Error\r\nActionID: 1\r\nOutput: No such command")
        assert response.output == ["No such command"]
        assert not response.ok

    @pytest.mark.parametrize("line", [b"Output:a", b"output: a", b"OUTPUT:  a"])
    def test_output_spelled_otherwise(self, line):
        expected = "a" if b":  " not in line else " a"
        assert parse(b"Response: Success\r\n" + line).output == [expected]
        assert parse(b"Response: Success\r\n" + line + b"\r\nOutput: b").output == [expected, "b"]

    def test_output_between_other_headers(self):
        assert parse(b"Response: Success\r\nOutput: a\r\nX: 1\r\nOutput: b\r\nY: 2").output == ["a", "b"]

    def test_no_output(self):
        assert parse(b"Response: Success").output == []
        assert parse(b"Response: Success\r\nOutput: ").output == [""]

    def test_much_output(self):
        raw = b"Response: Success" + b"".join(b"\r\nOutput: line %d" % n for n in range(5000))
        assert parse(raw).output == [f"line {n}" for n in range(5000)]

    @pytest.mark.parametrize(
        ("text", "lines"),
        [
            (b"a\nb\n", ["a", "b"]),
            (b"a\nb", ["a", "b"]),
            (b"a\r\nb\r\n", ["a", "b"]),
            (b"a\n\n  b: c\n\n", ["a", "", "  b: c", ""]),
            (b"\n", [""]),
            (b"", []),
            (b"Event: Fake\r\n\r\nResponse: Error\r\n", ["Event: Fake", "", "Response: Error"]),
            (b"say --END COMMAND-- now\n", ["say --END COMMAND-- now"]),
            (b"\xff\n", ["\udcff"]),
        ],
    )
    def test_old_output(self, text, lines):
        raw = b"Response: Follows\r\nPrivilege: Command\r\nActionID: 3\r\n" + text + b"--END COMMAND--"
        response = parse(raw)
        assert response.output == lines
        assert response.to_bytes() == raw + b"\r\n\r\n"
        assert response.items() == [("Response", "Follows"), ("Privilege", "Command"), ("ActionID", "3")]
        assert (response.ok, response.status, response.action_id) == (True, "Follows", "3")

    def test_old_output_that_looks_like_headers(self):
        response = parse(b"Response: Follows\r\nPrivilege: Command\r\nX: 1\r\nActionID: 9\r\n--END COMMAND--")
        assert response.output == ["X: 1", "ActionID: 9"]
        assert response.action_id is None

    def test_mere_text(self):
        response = Response._text(b"Peer  State\r\n IAX2/1 up", Origin())
        assert response.output == ["Peer  State", " IAX2/1 up"]
        assert (response.status, response.ok, response.items()) == ("", True, [])
        assert response.to_bytes() == b"Peer  State\r\n IAX2/1 up\r\n\r\n"

    def test_constructor(self):
        item, closing = Event({"Event": "A"}), Event({"Event": "B"})
        response = Response({"Response": "Success"}, events=(item,), complete=closing)
        assert (response.events, response.complete) == ([item], closing)
        assert Response().events == []
