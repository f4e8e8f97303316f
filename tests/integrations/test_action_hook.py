"""What observers of actions are told."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from pyami_sync import ActionError, AMIClient, ConnectionClosed
from pyami_sync.testing import Simulator

LIMIT = 10.0


def test_tells_begin_and_end_on_the_sending_thread(client: AMIClient) -> None:
    log: list[tuple[Any, ...]] = []

    def observer(action: Any) -> Any:
        log.append(("begin", action.name, threading.current_thread()))
        return lambda response, exc: log.append(("end", response, exc, threading.current_thread()))

    stop = client.on_action(observer)
    response = client.send("Ping")
    here = threading.current_thread()
    assert log == [("begin", "Ping", here), ("end", response, None, here)]
    stop()
    client.send("Ping")
    assert len(log) == 2


def test_tells_errors(sim: Simulator, client: AMIClient) -> None:
    ends: list[Any] = []
    client.on_action(lambda action: lambda response, exc: ends.append((response, exc)))
    sim.on("QueueAdd", {"Response": "Error", "Message": "no"})
    with pytest.raises(ActionError) as caught:
        client.send("QueueAdd", Queue="x")
    unchecked = client.send("QueueAdd", check=False, Queue="x")
    client.close()
    with pytest.raises(ConnectionClosed):
        client.send("Ping")
    with pytest.raises(ConnectionClosed):
        client.submit("Ping")
    assert ends[0] == (None, caught.value)
    assert ends[1] == (unchecked, None)
    assert [type(exc) for response, exc in ends[2:]] == [ConnectionClosed, ConnectionClosed]


def test_tells_the_end_of_futures_on_a_callback_thread(sim: Simulator, client: AMIClient) -> None:
    ended = threading.Semaphore(0)
    ends: list[Any] = []

    def end(response: Any, exc: Any) -> None:
        ends.append((response and response.ok, type(exc), threading.current_thread().name))
        ended.release()

    client.on_action(lambda action: end)
    sim.silence("QueueStatus")
    client.submit("QueueStatus").cancel()
    assert ended.acquire(timeout=LIMIT)
    client.submit("Ping").result(LIMIT)
    assert ended.acquire(timeout=LIMIT)
    assert [type(None), "CancelledError"] == [ends[1][1], ends[0][1].__name__]
    assert ends[1][0] is True
    assert not any(name.endswith("-engine") for *_, name in ends)


def test_an_observer_that_raises_changes_nothing(client: AMIClient, caplog: pytest.LogCaptureFixture) -> None:
    client.on_action(lambda action: 1 / 0)  # type: ignore[arg-type, return-value]
    client.on_action(lambda action: lambda response, exc: {}["x"])
    assert client.send("Ping").ok
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError, KeyError]
