"""Loading the classes once, whatever interrupts it."""

from __future__ import annotations

import os
import threading

import pytest

from pyami_sync.exceptions import ConcurrencyError
from pyami_sync.vocabulary import model


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "_known", {})
    monkeypatch.setattr(model, "_actions", [])


def test_a_handler_that_interrupts_the_loading_is_refused() -> None:
    claim = model._Claim()
    claim.take()
    try:
        for load in (model.load_events, model.load_actions):
            with pytest.raises(ConcurrencyError, match="interrupted"):
                load()
    finally:
        claim.release()
    assert len(model.event_classes()) > 150
    assert len(model.load_actions()) > 100
    assert not model._loading


def test_another_thread_waits_for_the_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    claim, found = model._Claim(), []
    claim.take()
    other = threading.Thread(target=lambda: found.append(model.event_classes()))
    other.start()
    claim.release()
    other.join(10)
    assert len(found[0]) > 150
    claim.take()
    monkeypatch.setattr(model, "LOAD_WAIT", 0.01)
    errors: list[BaseException] = []

    def load() -> None:
        try:
            model.load_events()
        except ConcurrencyError as exc:
            errors.append(exc)

    monkeypatch.setattr(model, "_known", {})
    other = threading.Thread(target=load)
    other.start()
    other.join(10)
    claim.release()
    assert len(errors) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("interrupted", [False, True])
def test_a_fork_holds_up_nobody_afterwards(interrupted: bool) -> None:
    claim = model._Claim()
    if interrupted:
        claim.take()
    child = os.fork()
    if not child:
        claim.release()
        os._exit(0 if not model._loading and len(model.event_classes()) > 150 else 1)
    claim.release()
    assert os.waitpid(child, 0)[1] == 0
    assert not model._loading
