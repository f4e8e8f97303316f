"""Output: prints results for a terminal, for a pipe, or as JSON, one object a line; and errors and messages."""

from __future__ import annotations

import codecs
import errno
import json
import os
import re
import select
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..wire.message import Message
from ..wire.redaction import redact

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Output", "clean", "hide_secrets", "person", "span"]

UNSEEN = re.compile(r"[^\S \t]|[\x00-\x08\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u200e\u200f\u202a-\u202e]")
SPINNER = "|/-\\"
OPTIONS = {
    "as TLS(ca_file=…)": "by --tls-ca FILE",
    "auth='plain'": "?auth=plain in the URL",
    "pass secret=…, or ami://user:secret@host": "AMI_SECRET, or --secret-file",
}
"""Replacements in the library's errors: names of arguments, and the program's options for them."""
PATIENCE = 1.0
"""Seconds after which a terminal shows that something is in progress."""


def _keep_bytes(exc: UnicodeError) -> tuple[str | bytes, int]:
    """Error handler: write undecodable bytes unchanged, and characters that can't be encoded as escapes."""
    if not isinstance(exc, UnicodeEncodeError):
        raise exc
    found = exc.object[exc.start : exc.end]
    if all("\udc80" <= each <= "\udcff" for each in found):
        return bytes(ord(each) - 0xDC00 for each in found), exc.end
    return found.encode("ascii", "backslashreplace").decode("ascii"), exc.end


codecs.register_error("pyami-cli", _keep_bytes)


def clean(text: str) -> str:
    """Return a server's text in a form that is safe for a terminal: control and unprintable characters are escaped.

    Values come from callers and other users; an escape sequence in a caller's name must not reach the terminal.
    """
    if text.isprintable():
        return text
    return UNSEEN.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def span(seconds: float | None) -> str:
    """Return a duration as text: ``0:07``, ``12:34``, ``1:02:03``; empty if it is not known."""
    if seconds is None:
        return ""
    total = max(0, int(seconds))
    hours, minutes = divmod(total // 60, 60)
    return f"{hours}:{minutes:02}:{total % 60:02}" if hours else f"{minutes}:{total % 60:02}"


def person(name: str | None, number: str | None) -> str:
    """Return ``Name (number)``, or the one that is known; empty if neither is known."""
    return f"{name} ({number})" if name and number and name != number else name or number or ""


def hide_secrets(message: Message) -> Message:
    """Return the message with all credentials replaced."""
    raw = message._raw
    hidden = redact(raw)
    return message if hidden == raw else type(message)._wire(hidden, message._origin)


class Output:
    """Prints results and messages.

    Results go to standard output; messages, progress and errors to standard error. Colour and progress are shown at
    terminals only.

    Args:
        as_json: whether results are JSON.
        quiet: whether to suppress messages and progress.

    """

    def __init__(self, *, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.quiet = quiet
        self._console: Console | None = None
        self._behind_table = False
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="pyami-cli")

    @property
    def terminal(self) -> bool:
        """True if results are printed to a terminal."""
        return not self.as_json and sys.stdout.isatty()

    @property
    def full_screen(self) -> bool:
        """True if the terminal supports full-screen output."""
        return self.terminal and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")

    @property
    def console(self) -> Console:
        """A rich console on standard output; rich is imported on first use."""
        if self._console is None:
            from rich.console import Console

            self._console = Console(highlight=False, emoji=False)
        return self._console

    # Results

    def text(self, text: str, *, style: str = "") -> None:
        """Print a line of a result, at terminals with colour."""
        if style and self.terminal:
            from rich.text import Text

            self.console.print(Text(clean(text), style))
        else:
            self._part()
            sys.stdout.write((clean(text) if self.terminal else text) + "\n")

    def show(self, renderable: RenderableType) -> None:
        """Print a rich renderable; only at a terminal."""
        self.console.print(renderable)

    def record(self, values: Mapping[str, Any]) -> None:
        """Print one object as a line of JSON."""
        sys.stdout.write(json.dumps(values, default=str) + "\n")

    def message(self, message: Message, **more: Any) -> None:
        """Print one message as a line of JSON, with further fields."""
        self.record({**hide_secrets(message).to_dict(), **more})

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Iterable[Sequence[object]],
        *,
        styles: Mapping[str, str] | None = None,
        numbers: Iterable[str] = (),
    ) -> None:
        """Print a table: drawn at a terminal; with aligned columns and without cuts in a pipe.

        Args:
            title: shown above it at a terminal.
            columns: headings.
            rows: one value for each column; a :class:`rich.text.Text` keeps its colour.
            styles: rich styles by heading.
            numbers: headings of the columns to align right.

        """
        rows = list(rows)
        if self.terminal:
            self.show(make_table(title, columns, rows, styles=styles, numbers=numbers))
            return
        self._part()
        texts = [list(columns), *([clean(str(value)) for value in row] for row in rows)]
        right = [column in set(numbers) for column in columns]
        widths = [max(len(row[at]) for row in texts) for at in range(len(columns))]
        for row in texts:
            cells = (
                value.rjust(width) if to_right else value.ljust(width)
                for value, width, to_right in zip(row, widths, right, strict=True)
            )
            sys.stdout.write("  ".join(cells).rstrip() + "\n")
        self._behind_table = True

    def _part(self) -> None:
        """Print a blank line between a table in a pipe and what follows; a drawn table ends with one itself."""
        if self._behind_table:
            sys.stdout.write("\n")
            self._behind_table = False

    def flush(self) -> None:
        """Flush standard output."""
        sys.stdout.flush()

    def check_reader(self) -> None:
        """Check that the reader of a pipe is still there, since otherwise only a write would show that it has gone.

        Raises:
            BrokenPipeError: it has gone.

        """
        if not hasattr(select, "poll"):
            return
        poll = select.poll()
        try:
            poll.register(sys.stdout.fileno(), 0)
        except (OSError, ValueError):
            return  # no file at all, as in a test
        if any(event & (select.POLLERR | select.POLLNVAL) for _, event in poll.poll(0)):
            raise BrokenPipeError(errno.EPIPE, "nobody reads any more")

    # Messages

    def note(self, text: str) -> None:
        """Print a message to standard error, unless quiet."""
        if not self.quiet:
            self._remark({"note": text}, text)

    def warn(self, text: str) -> None:
        """Print a warning to standard error, even if quiet."""
        self._remark({"warning": text}, f"pyami-sync: {text}")

    def error(self, exc: BaseException | str, code: int) -> None:
        """Print an error."""
        kind = "Usage" if isinstance(exc, str) else type(exc).__name__
        text = str(exc)
        for argument, option in OPTIONS.items():
            text = text.replace(argument, option)
        self._remark({"error": text, "type": kind, "exit": code}, f"pyami-sync: {text}")

    def _remark(self, values: dict[str, Any], text: str) -> None:
        # Flush the results that were printed before.
        self.flush()
        line = json.dumps(values) if self.as_json else "\n".join(map(clean, text.split("\n")))
        sys.stderr.write(line + "\n")
        sys.stderr.flush()

    @property
    def progress(self) -> bool:
        """True if progress may be shown: standard error is a terminal."""
        return not (self.quiet or self.as_json) and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def status(self, text: str) -> None:
        """Replace the progress shown at a terminal; an empty text removes it."""
        if self.progress:
            sys.stderr.write(f"\r\x1b[K{clean(text)}")
            sys.stderr.flush()

    @contextmanager
    def busy(self, text: str) -> Iterator[None]:
        """Show at a terminal that something is in progress, once it takes longer than a second."""
        stream = sys.stderr
        if not self.progress:
            yield
            return
        over = threading.Event()

        def turn() -> None:
            wait, step = PATIENCE, 0
            while not over.wait(wait):
                wait = 0.1
                seconds = PATIENCE + step * wait
                stream.write(f"\r\x1b[K{SPINNER[step % len(SPINNER)]} {text} ({seconds:.0f} s)")
                stream.flush()
                step += 1
            if step:
                stream.write("\r\x1b[K")
                stream.flush()

        thread = threading.Thread(target=turn, name="pyami-progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def make_table(
    title: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    styles: Mapping[str, str] | None = None,
    numbers: Iterable[str] = (),
) -> Any:
    """Return a rich table; text of a server is escaped."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    right = set(numbers)
    for column in columns:
        style = (styles or {}).get(column)
        table.add_column(column, justify="right" if column in right else "left", style=style, overflow="fold")
    for row in rows:
        table.add_row(*(value if isinstance(value, Text) else Text(clean(str(value))) for value in row))
    return table
