"""Signal handlers that run at each point of starting and stopping what runs scripts."""

from __future__ import annotations

import pytest

from pyami_sync import AMIError, connect
from pyami_sync.agi import AsyncAGI, FastAGIServer, Router
from pyami_sync.testing import Simulator

from ..support.injection import Stepper

pytestmark = pytest.mark.promise(9)


def test_a_server_that_is_stopped_by_a_handler() -> None:
    server = FastAGIServer(Router(), port=0)

    def fresh() -> None:
        nonlocal server
        server.stop()
        server = FastAGIServer(Router(), port=0)

    def use() -> None:
        server.start()
        server.stop()

    for place, outcome in Stepper(use, lambda: server.stop(), longest=150, before=fresh):
        assert outcome.error is None, (place, repr(outcome.error))
    server.stop()


def test_async_agi_that_is_closed_by_a_handler() -> None:
    with Simulator() as simulator, connect(simulator.url) as ami:
        agi = AsyncAGI(ami, Router(), adopt=False)

        def fresh() -> None:
            nonlocal agi
            agi.close()
            agi = AsyncAGI(ami, Router(), adopt=False)

        for place, outcome in Stepper(lambda: agi.close(), lambda: agi.close(), longest=150, before=fresh):
            assert outcome.error is None or isinstance(outcome.error, AMIError), (place, repr(outcome.error))
        agi.close()
        assert ami.ping() >= 0
