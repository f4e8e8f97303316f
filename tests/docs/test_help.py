"""What ``help()`` shows of typed actions and events."""

from __future__ import annotations

import pydoc

from pyami_sync import actions, events
from pyami_sync.vocabulary.catalogue.vocabulary import Vocabulary, class_name, load_facts

KNOWN = Vocabulary(load_facts())


def test_help_of_an_event_has_the_texts_of_its_fields() -> None:
    text = pydoc.plaintext.document(events.Hangup)
    assert "cause:" in text
    for name, record in KNOWN.events.items():
        cls = getattr(events, class_name(name))
        docs = "\n".join(each.__doc__ or "" for each in cls.__mro__)
        for field in KNOWN.all_fields(record):
            if KNOWN.text(field):
                assert f"    {KNOWN.attribute(field)}: " in docs, (name, field)


def test_help_of_an_action_has_the_texts_of_its_arguments() -> None:
    for record in KNOWN.actions.values():
        cls = getattr(actions, record["name"])
        for parameter in record["parameters"]:
            assert f"    {KNOWN.attribute(parameter)}: " in cls.__doc__, (record["name"], parameter)
