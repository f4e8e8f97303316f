"""``Command`` gives every line, as the server's own console prints it."""

from __future__ import annotations

import pytest

from pyami_sync import ActionError, AMIClient

from .conftest import Target


@pytest.mark.parametrize(
    "text",
    [
        "core show help",
        "core show applications",
        "core show application Dial",
        "dialplan show",
        "dialplan show default",
        "manager show commands",
        "manager show user admin",
        "no such command",
        "core show help no such command",
        "queue show no-such-queue",
        "database show no-such-family",
        "core set verbose 0",
    ],
)
def test_output_is_that_of_the_console(real: Target, text: str) -> None:
    assert real.server is not None
    with real.client(event_mask="off") as ami:
        got = ami.command(text)
    printed = real.server.cli(text)
    assert got == printed.removesuffix("\n").split("\n")


def test_without_output_is_one_empty_line_at_most(real: Target) -> None:
    with real.client(event_mask="off") as ami:
        ami.send("UserEvent", UserEvent="Before")
        output = ami.command("channel request hangup all")
        assert not any(line.strip() for line in output), output


def test_long_output_with_many_more_behind_it(real: Target) -> None:
    with real.client(event_mask="off") as ami:
        expected = ami.command("core show help")
        outputs = [ami.submit("Command", Command="core show help") for _ in range(30)]
        pings = [ami.submit("Ping") for _ in range(30)]
        assert all(future.result(30).output == expected for future in outputs)
        assert all(future.result(30)["Ping"] == "Pong" for future in pings)


def test_an_unknown_command_says_so(client: AMIClient) -> None:
    (line,) = client.command("nonesuch 7f3a")
    assert "No such command 'nonesuch 7f3a'" in line


@pytest.mark.parametrize("text", ["module unload res_agi.so", "restart gracefully"])
def test_what_the_server_refuses_to_run_raises(client: AMIClient, text: str) -> None:
    with pytest.raises(ActionError, match="blacklisted"):
        client.command(text)
