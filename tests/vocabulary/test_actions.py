"""Typed actions: their arguments, what they send, and that no mistake passes a type checker."""

from __future__ import annotations

import inspect
import keyword
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pyami_sync import Action, InvalidAction, Response, actions
from pyami_sync.vocabulary.catalogue.answers import ANSWERS
from pyami_sync.vocabulary.model import ListResponse, fields_of

HERE = Path(__file__).parents[1]
CLASSES: list[Any] = [getattr(actions, name) for name in actions.__all__]
SAMPLES: dict[str, Any] = {"str": "x", "int": 1, "float": 1.5, "bool": True}


def arguments_of(cls: Any, *, required: bool = False) -> dict[str, Any]:
    """A value for each argument, or for each required one."""
    found: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        if name in ("self", "action_id", "headers"):
            continue
        if required and parameter.default is not inspect.Parameter.empty:
            continue
        kind = str(parameter.annotation).removesuffix(" | None")
        if kind in SAMPLES:
            found[name] = SAMPLES[kind]
        elif kind.startswith("Mapping"):
            found[name] = {"a": "b"}
        elif kind.startswith("Iterable[ConfigChange]"):
            found[name] = [{"action": "NewCat", "cat": "general"}]
        elif kind.startswith("Iterable"):
            found[name] = [1, 2]
        else:
            found[name] = "1" if "int" in kind else "x"
    return found


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_can_be_made(cls: Any) -> None:
    bare = cls(**arguments_of(cls, required=True))
    assert bare.name == cls.action_name == cls.__name__
    full = cls(**arguments_of(cls), action_id="mine", headers={"X-More": ["1", "2"]})
    assert full.action_id == "mine"
    assert full.get_all("X-More") == ["1", "2"]
    assert type(full.with_action_id("other")) is cls
    for name in fields_of(cls):
        assert getattr(full, name) is not None
    for name in set(arguments_of(cls)) & set(fields_of(cls)) - set(arguments_of(cls, required=True)):
        parameter = inspect.signature(cls.__init__).parameters[name]
        assert getattr(bare, name) in (None, [], {}, parameter.default)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_required_arguments_are_required(cls: Any) -> None:
    needed = arguments_of(cls, required=True)
    for name in needed:
        with pytest.raises(TypeError, match=name):
            cls(**{other: value for other, value in needed.items() if other != name})


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_tells_what_it_is(cls: Any) -> None:
    text = inspect.getdoc(cls) or ""
    assert f"``{cls.action_name}``" in text
    assert "Asterisk" in text
    assert "write class" in text
    for privilege in cls.privileges:
        assert privilege in text
    for name in arguments_of(cls):
        assert re.search(rf"^    {name}: \S", text, re.MULTILINE), name
        assert not keyword.iskeyword(name)


def test_answers_by_rule() -> None:
    """Actions with a list or event rule answer with a list, and no others do."""
    listed = {cls.action_name.lower() for cls in CLASSES if cls.response_class is ListResponse}
    assert listed == {name for name, rule in ANSWERS.items() if rule.shape != "text"}
    assert {cls.response_class for cls in CLASSES} == {ListResponse, Response}


def test_originate() -> None:
    action = actions.Originate(
        channel="PJSIP/alice",
        context="default",
        exten="100",
        priority=1,
        timeout=20000,
        variable={"A": "1,2", "B": 'say "hi"'},
        async_=True,
        early_media=False,
    )
    assert action.to_bytes() == (
        b"Action: Originate\r\nChannel: PJSIP/alice\r\nExten: 100\r\nContext: default\r\nPriority: 1\r\n"
        b'Timeout: 20000\r\nVariable: A=1\\,2\r\nVariable: B=say \\"hi\\"\r\nEarlyMedia: no\r\nAsync: yes\r\n\r\n'
    )
    assert action.variable == {"A": "1,2", "B": 'say "hi"'}
    assert (action.timeout, action.async_, action.early_media, action.application) == (20000, True, False, None)


def test_variables_may_be_written_by_hand() -> None:
    assert actions.Originate(channel="x", variable="A=1").get_all("Variable") == ["A=1"]
    assert actions.Originate(channel="x", variable=["A=1", "B=2"]).variable == {"A": "1", "B": "2"}


def test_config_changes_are_numbered() -> None:
    action = actions.UpdateConfig(
        src_filename="a.conf",
        dst_filename="a.conf",
        reload=True,
        changes=[
            {"action": "NewCat", "cat": "general"},
            {"action": "Append", "cat": "general", "var": "x", "value": "1"},
        ],
    )
    assert action.items()[4:] == [
        ("Action-000000", "NewCat"),
        ("Cat-000000", "general"),
        ("Action-000001", "Append"),
        ("Cat-000001", "general"),
        ("Var-000001", "x"),
        ("Value-000001", "1"),
    ]
    assert action.reload == "yes"


def test_numbered_arguments() -> None:
    action = actions.AOCMessage(channel="x", msg_type="D", unit_amount=[5, 6], unit_type=[1])
    assert action.get("UnitAmount(1)") == "6"
    assert action.unit_amount == {0: "5", 1: "6"}
    assert action.unit_type == {0: "1"}


def test_user_event_takes_headers() -> None:
    action = actions.UserEvent(user_event="Mine", headers=[("A", "1"), ("A", "2")])
    assert action.items() == [("Action", "UserEvent"), ("UserEvent", "Mine"), ("A", "1"), ("A", "2")]


def test_defaults_of_the_server_are_left_to_it() -> None:
    assert actions.Originate(channel="x").keys() == ["Action", "Channel"]
    assert actions.Filter(filter="Event: Hangup")["Operation"] == "Add"


@pytest.mark.parametrize("value", ["a\r\nAction: Originate", "a\nb", "a\0b"])
def test_injection_is_refused(value: str) -> None:
    with pytest.raises(InvalidAction):
        actions.QueueAdd(queue=value, interface="PJSIP/a")


def test_attributes_shadow_nothing() -> None:
    taken = set(dir(Action)) | {"action_name", "privileges"}
    for cls in CLASSES:
        assert not set(fields_of(cls)) & taken, cls


def test_a_type_checker_finds_mistakes_and_nothing_else() -> None:
    """Each line that ends in ``# wrong: …`` has that mistake; no other line has one."""
    sample = HERE / "typing" / "sample.py"
    lines = sample.read_text(encoding="utf-8").splitlines()
    marked = [(number, re.search(r"# wrong: ([\w-]+)$", line)) for number, line in enumerate(lines, 1)]
    planted = {number: found[1] for number, found in marked if found}
    assert len(planted) >= 10
    run = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--hide-error-context", str(sample)]
    done = subprocess.run(run, capture_output=True, text=True, encoding="utf-8", cwd=HERE.parent, check=False)
    told = re.findall(r"sample\.py:(\d+): error: .*\[([\w-]+)\]$", done.stdout, re.MULTILINE)
    assert {int(number): code for number, code in told} == planted, done.stdout
