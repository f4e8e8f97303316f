"""Write one page for each action and each event from the table of facts, before Sphinx reads its sources.

The example frames come from traffic that a real Asterisk 22 sent while it carried 400 calls.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pyami_sync import events
from pyami_sync.vocabulary.catalogue.vocabulary import Vocabulary, class_name, load_facts
from pyami_sync.vocabulary.markers import MARKERS
from pyami_sync.wire.redaction import redact

REPOSITORY = Path(__file__).parent.parent.parent
TRAFFIC = REPOSITORY / "tests/traffic/asterisk-22.10-400-calls.ami.xz"

ANSWERS = {
    "list": "a list",
    "event": "a response and one event",
    "text": "text without headers",
    "window": "a response, then every event until the closing one",
}
TYPES = {
    "text": "str",
    "unknown": "str (``<unknown>`` is None)",
    "escaped unknown": "str (``<unknown>`` is None, escapes decoded)",
    "escaped": "str (escapes decoded)",
    "percent": "float, percent",
    "second": "float, seconds",
    "int": "int",
    "float": "float",
    "bool": "bool",
    "epoch": "datetime",
    "iso": "datetime",
    "local": "datetime, without time zone",
    "list": "tuple of str",
    "variables": "mapping of str",
    "environment": "mapping of str",
    "numbered": "tuple of str",
    "changes": "ConfigChange entries",
}


def frames() -> dict[str, str]:
    """Return the first recorded frame of each event by its name."""
    found: dict[str, str] = {}
    with lzma.open(TRAFFIC, "rb") as file:
        for frame in file.read().split(b"\r\n\r\n"):
            if frame.startswith(b"Event: "):
                name = frame[7:].partition(b"\r\n")[0].decode()
                if name not in found:
                    found[name] = redact(frame).decode("utf-8", "replace").replace("\r\n", "\n")
    return found


def heading(text: str, line: str = "=") -> list[str]:
    return [text, line * len(text), ""]


def table(columns: list[str], rows: Iterable[list[str]], widths: str) -> list[str]:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {widths}", ""]
    for row in [columns, *rows]:
        lines += [f"   {'* -' if n == 0 else '  -'} {cell}".rstrip() for n, cell in enumerate(row)]
    return [*lines, ""]


def literal(name: str) -> str:
    return f"``{name}``"


def sentence(text: str) -> str:
    return (text[:1].upper() + text[1:]).rstrip(".") + "." if text else ""


def write(path: Path, text: str) -> None:
    """Write a page, but leave one alone that is the same, so that a second build is quick."""
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


class Pages:
    def __init__(self, target: Path) -> None:
        self.known = Vocabulary(load_facts())
        self.target = target
        self.frames = frames()

    def write(self) -> None:
        for kind, records in (("actions", self.known.actions), ("events", self.known.events)):
            folder = self.target / kind
            folder.mkdir(parents=True, exist_ok=True)
            made = {"index.rst": self.index(kind, records)}
            for name, record in records.items():
                page = self.action(name, record) if kind == "actions" else self.event(name, record)
                made[f"{class_name(name)}.rst"] = page
            for stale in {each.name for each in folder.iterdir()} - set(made):
                (folder / stale).unlink()
            for file, lines in made.items():
                text = "\n".join(lines) + "\n"
                path = folder / file
                write(path, text)
        write(self.target / "event-groups.rst", "\n".join(self.groups()) + "\n")

    def index(self, kind: str, records: Mapping[str, Mapping[str, Any]]) -> list[str]:
        lines = heading(kind.capitalize())
        if kind == "actions":
            lines += [f"All {len(records)} actions of Asterisk 13 to 23.", ""]
        else:
            lines += [f"All {len(records)} events of Asterisk 13 to 23.", ""]
        rows = [
            [f":doc:`{name} <{class_name(name)}>`", sentence(record.get("text", ""))]
            for name, record in records.items()
        ]
        # No toctree: the theme draws the whole tree on every page, and there are more than four hundred.
        return lines + table([kind[:-1].capitalize(), "Meaning"], rows, "30 70")

    def groups(self) -> list[str]:
        """Return the page of the classes that are no single event."""
        known = self.known
        classes = [getattr(events, name) for name in events.__all__]
        found = [each for each in classes if isinstance(each, type) and not vars(each).get("event_name")]
        lines = heading("Groups of events")
        lines += ["A class that several events share selects all of them: ``ami.on(events.QueueEvent)``, or", ""]
        lines += ["``case events.ChannelEvent():`` in a ``match``. Their attributes are those of each event.", ""]
        for cls in sorted(found, key=lambda each: each.__name__):
            if cls.__module__ != events.__name__:
                continue
            lines += [f".. py:class:: pyami_sync.events.{cls.__name__}", "", f"   {cls.__doc__.splitlines()[0]}", ""]
            names = sorted(name for name in known.events if issubclass(getattr(events, class_name(name)), cls))
            lines += ["   Events: " + ", ".join(self.reference(name) for name in names) + ".", ""]
        lines += [*heading("Markers", "-"), "Put into the stream by the client, in their place in the order.", ""]
        lines += [".. currentmodule:: pyami_sync.events", ""]
        lines += [*(f".. autoclass:: {each.__name__}\n" for each in MARKERS)]
        return [*lines, *heading("From name to class", "-"), ".. autofunction:: event_class", ""]

    def action(self, name: str, record: Mapping[str, Any]) -> list[str]:
        known = self.known
        lines = [":orphan:", "", f".. _action-{name.lower()}:", "", *heading(name)]
        lines += [f".. py:class:: pyami_sync.actions.{class_name(name)}", "   :no-typesetting:", ""]
        lines += [sentence(record.get("text", "")), ""]
        privileges = record["privileges"]
        lines += [f":Privilege: {'write class ' + ' or '.join(map(literal, privileges)) if privileges else 'none'}"]
        lines += [f":Versions: {known.versions(record)}", f":Answer: {self.answer(record.get('answer', {}))}"]
        if record.get("module"):
            lines += [f":Module: ``{record['module']}``"]
        lines += [f":Class: ``actions.{class_name(name)}``", ""]
        parameters = record["parameters"]
        if parameters:
            lines += heading("Headers", "-")
            rows = [
                [
                    literal(each["name"]),
                    literal(known.attribute(each)),
                    TYPES.get(each.get("type", "text"), each.get("type", "text")),
                    "yes" if each.get("required") else "",
                    sentence(known.text(each)),
                ]
                for each in parameters
            ]
            lines += table(["Header", "Argument", "Type", "Required", "Meaning"], rows, "20 20 20 10 40")
        required = [each for each in parameters if each.get("required")]
        arguments = ", ".join(f"{known.attribute(each)}=…" for each in required)
        lines += ["::", "", f"    ami.send(actions.{class_name(name)}({arguments}))", ""]
        return lines

    def answer(self, answer: Mapping[str, Any]) -> str:
        if not answer:
            return "one response"
        text = ANSWERS.get(answer.get("shape", ""), "one response")
        if answer.get("items"):
            text += " of " + ", ".join(self.reference(each) for each in answer["items"])
        if answer.get("complete"):
            text += f", closed by {self.reference(answer['complete'])}"
        if answer.get("empty"):
            text += "; an error that begins with " + " or ".join(f"“{each}”" for each in answer["empty"])
            text += " means an empty list"
        quirks = {
            "fenced": "its answer may be missing; a Ping behind it shows that nothing more comes",
            "items_without_id": "its items carry no ActionID",
            "glued": "items and closing event arrive as one message",
            "unmarked": "servers before 13.2 begin it with a plain Success",
            "bare_lf": "a header of its items ends in a bare LF",
        }
        found = [text for flag, text in quirks.items() if answer.get(flag)]
        return f"{text} ({'; '.join(found)})" if found else text

    def reference(self, event: str) -> str:
        return (
            f":doc:`{event} </reference/events/{class_name(event)}>`" if event in self.known.events else literal(event)
        )

    def event(self, name: str, record: Mapping[str, Any]) -> list[str]:
        known = self.known
        lines = [":orphan:", "", f".. _event-{name.lower()}:", "", *heading(name)]
        lines += [f".. py:class:: pyami_sync.events.{class_name(name)}", "   :no-typesetting:", ""]
        lines += [sentence(record.get("text", "")), ""]
        privileges = record["privileges"]
        lines += [f":Privilege: {'read class ' + ' and '.join(map(literal, privileges)) if privileges else 'none'}"]
        lines += [f":Versions: {known.versions(record)}", f":Class: ``events.{class_name(name)}``"]
        groups = known.groups_of(name)
        if groups:
            lines += [f":Groups: {', '.join(literal(f'events.{each}') for each in groups)}"]
        answers = [
            action
            for action, each in known.actions.items()
            if name in each.get("answer", {}).get("items", ()) or name == each.get("answer", {}).get("complete")
        ]
        if answers:
            lines += [f":Answers: {', '.join(f':doc:`{each} </reference/actions/{each}>`' for each in answers)}"]
        lines += [""]
        fields = known.all_fields(record)
        if fields:
            lines += heading("Headers", "-")
            rows = [
                [
                    literal(each["name"]),
                    literal(known.attribute(each)),
                    TYPES.get(each.get("type", "text"), each.get("type", "text")),
                    sentence(known.text(each)),
                ]
                for each in fields
            ]
            lines += table(["Header", "Attribute", "Type", "Meaning"], rows, "25 25 20 30")
        frame = self.frames.get(name)
        if frame is not None:
            lines += [*heading("Example", "-"), "As Asterisk 22 sent it:", "", ".. code-block:: text", ""]
            lines += [f"    {line}" for line in frame.split("\n")] + [""]
        return lines


def write_pages(app: Any) -> None:
    Pages(Path(app.srcdir) / "reference").write()


def setup(app: Any) -> dict[str, Any]:
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True}
