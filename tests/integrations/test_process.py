"""Clients made on first use, at each point of which a signal handler may use, close or raise."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pyami_sync import AMIClient, AMIError
from pyami_sync.integrations.process import LazyClient
from pyami_sync.testing import Simulator

from ..support.injection import Injected, Stepper, run_elsewhere

pytestmark = [
    pytest.mark.promise(9),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # raised within a finalizer
]

SOON = 5.0


@pytest.fixture
def holder() -> Iterator[LazyClient]:
    kept: list[AMIClient] = []  # finalizers within a traced call confuse the interpreter (3.11)

    def make() -> AMIClient:
        client = AMIClient.from_url(simulator.url, keepalive=None, reconnect=None)
        kept.append(client)
        return client

    with Simulator() as simulator:
        made = LazyClient(make)
        yield made
        made.close()


def use(holder: LazyClient) -> None:
    assert holder.get().ping(timeout=SOON) < SOON


def elsewhere(holder: LazyClient) -> None:
    """Use it on another thread, and wait for that."""
    run_elsewhere(lambda: use(holder), 2 * SOON)


@pytest.mark.parametrize("act", [use, elsewhere, LazyClient.close, None])
def test_a_handler_while_it_is_made_and_opened(holder: LazyClient, act: Callable[[LazyClient], None] | None) -> None:
    handler = None if act is None else lambda: act(holder)
    for place, outcome in Stepper(lambda: use(holder), handler, longest=80, before=holder.close):
        if act is None:
            assert outcome.error is None or outcome.interrupted or isinstance(outcome.error, Injected), place
        elif act is LazyClient.close:
            assert outcome.error is None or isinstance(outcome.error, AMIError), (place, repr(outcome.error))
        else:
            assert outcome.error is None, (place, repr(outcome.error))
