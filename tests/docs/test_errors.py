"""Every exception names the section of the site that explains it, and the section exists."""

from __future__ import annotations

import pickle
import re
import traceback

import pytest

from pyami_sync import exceptions
from pyami_sync.agi import HungUp
from pyami_sync.exceptions import AMIError, documentation

from .blocks import ROOT

PAGE = (ROOT / "docs/reference/errors.rst").read_text("utf-8")
ANCHORS = re.findall(r"^\.\. _([\w-]+):\n\n(\w+)\n-+$", PAGE, re.MULTILINE)
CLASSES = [getattr(exceptions, name) for name in exceptions.__all__]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_section_exists(cls: type[AMIError]) -> None:
    anchor = documentation(cls).rpartition("#")[2]
    assert (anchor, cls.__name__) in ANCHORS


def test_page_has_no_other_section() -> None:
    assert len(ANCHORS) == len(set(ANCHORS)) == len(CLASSES)


def test_subclass_elsewhere_leads_to_its_base() -> None:
    named = documentation(HungUp).rpartition("#")[2]
    assert named in dict(ANCHORS)


@pytest.mark.parametrize("exc", [exceptions.ActionTimeout("Ping", 2.0), exceptions.EventsLost(3)], ids=repr)
def test_traceback_ends_with_the_address(exc: AMIError) -> None:
    for each in (exc, pickle.loads(pickle.dumps(exc))):
        last = traceback.format_exception(each)[-1].strip()
        assert last == documentation(type(exc))
        assert last not in str(each)
