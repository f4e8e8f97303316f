"""The command ``shell``: actions and console commands at a prompt, with completion and history."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from ...client import AMIClient
from ...exceptions import AMIError, InvalidAction
from ...wire.action import Action
from ...wire.redaction import redact
from ..answers import show_answer
from ..exits import FAILED, OK
from ..output import Output
from ..program import Command
from ..settings import Settings, connecting, pass_settings
from .describe import vocabulary

__all__ = ["shell"]

HELP = """\
ACTION Header=Value …    send an action, such as: QueuePause Interface=PJSIP/1101 Paused=yes
! CONSOLE COMMAND        run a console command, such as: ! core show channels
describe NAME            explain an action or an event
help                     this text
exit, Ctrl-D             end"""
KNOWN_FOR = 5.0  # seconds for which the server's values are cached

VALUES: dict[str, tuple[str, str]] = {
    "channel": ("CoreShowChannels", "Channel"),
    "queue": ("QueueSummary", "Queue"),
    "interface": ("QueueStatus", "Location"),
    "parkinglot": ("Parkinglots", "Name"),
    "conference": ("ConfbridgeListRooms", "Conference"),
    "endpoint": ("PJSIPShowEndpoints", "ObjectName"),
}
"""Headers whose values can be completed: the list action that returns them, and the header of its items."""


class Completions:
    """Completions at the prompt: names of actions, their headers, and values from the server.

    Args:
        client: used to get values; there are none if the server does not answer.

    """

    def __init__(self, client: AMIClient) -> None:
        self._client = client
        self._values: dict[str, tuple[float, list[str]]] = {}

    def of(self, text: str) -> Iterator[tuple[str, int]]:
        """Yield completions of a line up to the cursor, each with the number of characters that it replaces."""
        head, _, word = text.rpartition(" ")
        words = head.split()
        known = vocabulary()
        if text.startswith("!"):
            return
        if not words:
            names: Iterable[str] = [*known.actions, "describe", "help", "exit"]
        elif words[0] == "describe":
            names = [*known.actions, *known.events]
        else:
            yield from self._arguments(words, word)
            return
        yield from ((name, len(word)) for name in names if name.lower().startswith(word.lower()))

    def _arguments(self, words: list[str], word: str) -> Iterator[tuple[str, int]]:
        action = next((each for name, each in vocabulary().actions.items() if name.lower() == words[0].lower()), None)
        if action is None:
            return
        header, equals, value = word.partition("=")
        if not equals:
            given = {each.partition("=")[0].lower() for each in words[1:]}
            for each in action["parameters"]:
                name = str(each["name"])
                if name.lower().startswith(word.lower()) and name.lower() not in given:
                    yield f"{name}=", len(word)
            return
        kinds = {str(each["name"]).lower(): each.get("type", "text") for each in action["parameters"]}
        offered = ["yes", "no"] if kinds.get(header.lower()) == "bool" else self.values(header)
        yield from ((each, len(value)) for each in offered if each.lower().startswith(value.lower()))

    def values(self, header: str) -> list[str]:
        """Return the values of a header from the server, cached for a few seconds."""
        key = header.lower()
        if key not in VALUES:
            return []
        when, found = self._values.get(key, (0.0, []))
        if time.monotonic() - when > KNOWN_FOR:
            action, name = VALUES[key]
            try:
                items = self._client.send(action, timeout=1.0, check=False).events
            except AMIError:
                items = []
            found = sorted({item[name] for item in items if name in item})
            self._values[key] = (time.monotonic(), found)
        return found


def history_file() -> Path:
    """Return the path of the history."""
    folder = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(folder) / "pyami-sync" / "history"


def keeps_secret(line: str) -> bool:
    """Return True if a line contains a credential, and so must not be stored in the history."""
    try:
        made = parse(line)
    except (ValueError, InvalidAction):
        return "secret" in line.lower() or "password" in line.lower()
    raw = made.to_bytes() if isinstance(made, Action) else f"Command: {made}\r\n".encode("utf-8", "replace")
    return redact(raw) != raw or any(word in line.lower() for word in ("secret", "password"))


def parse(line: str) -> Action[Any] | str:
    """Parse a line: an action, or the text of a console command.

    Raises:
        ValueError: it is neither.

    """
    if line.startswith("!"):
        return line[1:].strip()
    name, *pairs = shlex.split(line)
    headers = []
    for pair in pairs:
        header, equals, value = pair.partition("=")
        if not equals or not header:
            raise ValueError(f"{pair!r} is not Header=Value; `help` explains, ! runs console commands")
        headers.append((header, value))
    return Action(name, headers)


class Shell:
    """Runs the lines that are typed."""

    def __init__(self, output: Output, client: AMIClient) -> None:
        self._output = output
        self._client = client
        self.failed = False

    def run(self, line: str) -> bool:
        """Run a line; return False if it ends the shell."""
        line = line.strip()
        if not line or line.startswith("#"):
            return True
        if line in ("exit", "quit"):
            return False
        if line == "help":
            self._output.text(HELP)
            return True
        try:
            if line.startswith("describe "):
                from .describe import describe

                describe.main(line.split()[1:], standalone_mode=False, obj=None)
                return True
            made = parse(line)
            with self._output.busy(line):
                response = (
                    self._client.send("Command", Command=made, check=False)
                    if isinstance(made, str)
                    else self._client.send(made, check=False)
                )
            show_answer(self._output, response)
            self.failed |= not response.ok
        except (ValueError, AMIError, click.ClickException) as exc:
            self._output.error(exc if isinstance(exc, AMIError) else str(exc), FAILED)
            self.failed = True
        return True


@click.command(
    cls=Command, examples=["shell", "shell -p office", "echo 'QueueStatus Queue=support' | pyami-sync shell"]
)
@pass_settings
def shell(settings: Settings) -> int:
    """Send actions and run console commands at a prompt, with completion (Tab) and history.

    Completion offers actions and their headers, and from the server channels, queues, members and so on. Lines with a
    credential are not stored in the history. Standard input that is not a terminal is read line by line; the exit
    code is then 1 if a line failed.
    """
    output = settings.output
    with settings.connect(stay=True) as client:
        run = Shell(output, client)
        if not sys.stdin.isatty():
            for line in sys.stdin:
                if not run.run(line):
                    break
                output.flush()
            return FAILED if run.failed else OK
        read = make_prompt(client)
        output.text(f"{connecting(client)}; `help` explains, Ctrl-D ends")
        while True:
            output.flush()
            try:
                if not run.run(read()):
                    return OK
            except KeyboardInterrupt:
                continue
            except EOFError:
                return OK


def make_prompt(client: AMIClient) -> Callable[[], str]:
    """Return a function that reads a line, with completion and history."""
    try:
        from prompt_toolkit import PromptSession
        from prompt_toolkit.completion import CompleteEvent, Completer, Completion
        from prompt_toolkit.document import Document
        from prompt_toolkit.history import FileHistory
    except ModuleNotFoundError:
        raise click.UsageError("the shell needs one more package: pip install 'pyami-sync[cli]'") from None
    completions = Completions(client)

    class Offer(Completer):
        def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
            for text, replaces in completions.of(document.text_before_cursor):
                yield Completion(text, -replaces)

    class History(FileHistory):
        def store_string(self, string: str) -> None:
            if not keeps_secret(string):
                super().store_string(string)

    path = history_file()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.touch(0o600)
    session: PromptSession[str] = PromptSession(
        completer=Offer(), history=History(str(path)), complete_while_typing=False, complete_in_thread=True
    )
    return lambda: session.prompt(f"{client.options.host}> ")
