"""The command ``describe``: explains actions and events, from the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

import click

from ...vocabulary.catalogue.vocabulary import Vocabulary, class_name, load_facts
from ..output import Output
from ..program import Command
from ..settings import Settings, pass_settings

__all__ = ["complete_action", "complete_event", "describe"]

ANSWERS = {
    "list": "a list",
    "event": "a response and one event",
    "text": "text without headers",
    "window": "a response, then whatever happens until it is over",
}


@cache
def vocabulary() -> Vocabulary:
    """Return the catalogue; reading it takes a moment."""
    return Vocabulary(load_facts())


def complete_action(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return names of actions for the shell's completion."""
    return _complete(vocabulary().actions, incomplete)


def complete_event(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return names of events for the shell's completion."""
    return _complete(vocabulary().events, incomplete)


def complete_both(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return names of actions and events for the shell's completion."""
    return complete_action(context, parameter, incomplete) + complete_event(context, parameter, incomplete)


def _complete(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.lower().startswith(incomplete.lower())]


@click.command(
    cls=Command, connects=False, examples=["describe Originate", "describe queuememberstatus", "describe --json Hangup"]
)
@click.argument("names", nargs=-1, metavar="[ACTION|EVENT]...", shell_complete=complete_both)
@pass_settings
def describe(settings: Settings, names: tuple[str, ...]) -> None:
    """Explain actions and events: their meaning, headers, required rights, and versions.

    Without a name, list all of them. A name of an action and an event, such as Status, is explained as both.
    """
    output, known = settings.output, vocabulary()
    if not names:
        _list_all(output, known)
        return
    for name in names:
        action = _find(known.actions, name)
        event = _find(known.events, name)
        if action is None and event is None:
            every = {each.lower(): each for each in (*known.actions, *known.events)}
            near = [every[each] for each in get_close_matches(name.lower(), every, 5)]
            advice = f"; did you mean {', '.join(near)}?" if near else "; `pyami-sync describe` lists all"
            raise click.UsageError(f"no action and no event is called {name!r}{advice}")
        if action is not None:
            _describe_action(output, known, action)
        if event is not None:
            _describe_event(output, known, event)


def _find(records: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    return next((record for key, record in records.items() if key.lower() == name.lower()), None)


def _list_all(output: Output, known: Vocabulary) -> None:
    for kind, records in (("action", known.actions), ("event", known.events)):
        if output.as_json:
            for record in records.values():
                output.record({"kind": kind, "name": record["name"], "text": record.get("text", "")})
        else:
            rows = [(record["name"], plain(record.get("text", ""))) for record in records.values()]
            output.table(f"{kind.capitalize()}s", [kind.capitalize(), "What it is"], rows, styles={"Action": "cyan"})


def _describe_action(output: Output, known: Vocabulary, action: Mapping[str, Any]) -> None:
    answer = action.get("answer", {})
    if output.as_json:
        headers = [{"attribute": known.attribute(each), **each} for each in action["parameters"]]
        output.record({"kind": "action", **action, "parameters": headers, "class": f"actions.{action['name']}"})
        return
    facts = [
        ("needs", f"write class {' or '.join(action['privileges'])}" if action["privileges"] else "no right"),
        ("answers", _tell_answer(answer)),
        ("there in", known.versions(action)),
        ("module", action.get("module", "")),
        ("in Python", f"actions.{action['name']}"),
    ]
    _head(output, "action", action, facts)
    rows = [
        (
            each["name"],
            "yes" if each.get("required") else "",
            each.get("type", "text"),
            plain(known.text(each)),
        )
        for each in action["parameters"]
    ]
    if rows:
        output.table("Headers", ["Header", "Required", "Type", "Meaning"], rows, styles={"Header": "cyan"})


def _tell_answer(answer: Mapping[str, Any]) -> str:
    if not answer:
        return "one response"
    text = ANSWERS.get(answer.get("shape", ""), "one response")
    items = answer.get("items")
    if items:
        text += f" of {', '.join(items)}"
    if answer.get("complete"):
        text += f", closed by {answer['complete']}"
    return text


def _describe_event(output: Output, known: Vocabulary, event: Mapping[str, Any]) -> None:
    fields = known.all_fields(event)
    if output.as_json:
        headers = [
            {"name": each["name"], "attribute": known.attribute(each), "type": each.get("type", "text")}
            for each in fields
        ]
        output.record({"kind": "event", **event, "fields": headers, "class": f"events.{class_name(event['name'])}"})
        return
    groups = ", ".join(known.groups_of(event["name"]))
    facts = [
        ("needs", f"read class {' and '.join(event['privileges'])}" if event["privileges"] else "no right"),
        ("there in", known.versions(event)),
        ("group", groups),
        ("in Python", f"events.{class_name(event['name'])}"),
    ]
    _head(output, "event", event, facts)
    rows = [(each["name"], known.attribute(each), each.get("type", "text"), plain(known.text(each))) for each in fields]
    if rows:
        output.table("Headers", ["Header", "Attribute", "Type", "Meaning"], rows, styles={"Header": "cyan"})


def _head(output: Output, kind: str, record: Mapping[str, Any], facts: Iterable[tuple[str, str]]) -> None:
    output.text(f"{record['name']} ({kind})", style="bold")
    if record.get("text"):
        output.text(f"  {plain(record['text'])}")
    for name, text in facts:
        if text:
            output.text(f"  {name}: {text}")


def plain(text: str) -> str:
    """Return a text of the catalogue without its markup."""
    return text.replace("``", "")
