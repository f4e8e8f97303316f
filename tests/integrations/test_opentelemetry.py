"""Spans and metrics of actions."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from pyami_sync import ActionError, ActionTimeout, AMIClient
from pyami_sync.integrations.opentelemetry import instrument
from pyami_sync.testing import Simulator

from .waiting import until


class Telemetry:
    """Providers that keep in memory what they are given."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    def points(self) -> dict[str, Any]:
        """The histogram's points by method, with the error's type behind it."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        (metric,) = data.resource_metrics[0].scope_metrics[0].metrics
        assert (metric.name, metric.unit) == ("ami.client.action.duration", "s")
        return {
            " ".join(
                str(point.attributes[key]) for key in ("rpc.method", "error.type") if key in point.attributes
            ): point
            for point in metric.data.data_points
        }


@pytest.fixture
def telemetry(client: AMIClient) -> Telemetry:
    made = Telemetry()
    instrument(client, tracer_provider=made.tracers, meter_provider=made.meters)
    return made


def test_an_action_is_a_span_in_the_callers_context(sim: Simulator, client: AMIClient, telemetry: Telemetry) -> None:
    with telemetry.tracers.get_tracer("test").start_as_current_span("view") as view:
        client.send("Setvar", Variable="PIN", Value="1234")
    span = telemetry.exporter.get_finished_spans()[0]
    assert (span.name, span.kind, span.status.status_code) == ("AMI Setvar", SpanKind.CLIENT, StatusCode.UNSET)
    assert span.parent is not None
    assert span.parent.span_id == view.get_span_context().span_id
    assert dict(span.attributes or {}) == {
        "rpc.system": "ami",
        "rpc.method": "Setvar",
        "server.address": "127.0.0.1",
        "server.port": sim.port,
    }
    assert "1234" not in span.to_json()


def test_failures_say_what_failed(sim: Simulator, client: AMIClient, telemetry: Telemetry) -> None:
    sim.on("QueueAdd", {"Response": "Error", "Message": "No such queue"})
    sim.silence("QueueSummary")
    client.send("QueueAdd", check=False, Queue="x")
    with pytest.raises(ActionError):
        client.send("QueueAdd", Queue="x")
    with pytest.raises(ActionTimeout):
        client.send("QueueSummary", timeout=0.05)
    spans = telemetry.exporter.get_finished_spans()
    assert [span.status.status_code for span in spans] == [StatusCode.ERROR] * 3
    assert [dict(span.attributes or {})["error.type"] for span in spans] == [
        "ActionError",
        "ActionError",
        "ActionTimeout",
    ]
    assert spans[0].status.description == "No such queue"
    points = telemetry.points()
    assert points["QueueAdd ActionError"].count == 2
    assert points["QueueSummary ActionTimeout"].sum >= 0.05


def test_a_future_ends_its_span(client: AMIClient, telemetry: Telemetry) -> None:
    ended: Any = client.submit("Ping").result(10)
    assert ended.ok
    (span,) = until(telemetry.exporter.get_finished_spans, "a finished span")
    assert span.name == "AMI Ping"
    assert until(telemetry.points, "a value of the histogram")["Ping"].count == 1


def test_stops(client: AMIClient) -> None:
    telemetry = Telemetry()
    stop = instrument(client, tracer_provider=telemetry.tracers, meter_provider=telemetry.meters)
    stop()
    client.ping()
    assert telemetry.exporter.get_finished_spans() == ()


def test_without_an_sdk_nothing_breaks(client: AMIClient) -> None:
    instrument(client)
    assert client.send("Ping").ok
