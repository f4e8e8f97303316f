"""What the server itself wrote down of its calls: CDR and CEL files."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterable

from tests.asterisk.server import AsteriskServer


def rows(server: AsteriskServer, kind: str) -> list[list[str]]:
    """Return the rows that are there by now; `kind` is ``cdr`` or ``cel``."""
    path = server.run_dir / "log" / f"{kind}-custom" / "calls.csv"
    if not path.exists():
        return []
    # A line that is being written has no end yet.
    text = path.read_text("utf-8", "replace")
    return list(csv.reader(text[: text.rfind("\n") + 1].splitlines()))


def dispositions(server: AsteriskServer) -> dict[str, list[str]]:
    """Return the CDR dispositions by unique id."""
    found: dict[str, list[str]] = {}
    for row in rows(server, "cdr"):
        found.setdefault(row[0], []).append(row[5])
    return found


def events(server: AsteriskServer, *uniqueids: str) -> list[str]:
    """Return the types of the CEL events of channels, in their order."""
    return [row[0] for row in rows(server, "cel") if not uniqueids or row[2] in uniqueids]


def causes(server: AsteriskServer) -> dict[str, int]:
    """Return the hangup causes in the CEL by unique id."""
    return {row[2]: json.loads(row[6])["hangupcause"] for row in rows(server, "cel") if row[0] == "HANGUP"}


def wait_written(server: AsteriskServer, uniqueids: Iterable[str], timeout: float = 20.0) -> None:
    """Poll until both files have these channels; servers write them after the hangup."""
    wanted = set(uniqueids)
    deadline = time.monotonic() + timeout
    while missing := wanted - (dispositions(server).keys() & causes(server).keys()):
        assert time.monotonic() < deadline, f"no record of {sorted(missing)}"
        time.sleep(0.05)
