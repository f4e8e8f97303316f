"""Spans and metrics of actions with ``opentelemetry-api`` (extra ``opentelemetry``).

::

    stop = instrument(client)

Each action becomes a span of kind *client* in the context of the thread that sends it, and one value of the
histogram ``ami.client.action.duration`` (seconds). Attributes: ``rpc.system`` (``ami``), ``rpc.method`` (the
action's name), ``server.address``, ``server.port``, and of what failed ``error.type``. Values of headers, which
may be secrets or about people, are never recorded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..exceptions import ActionError
from ..version import version
from . import missing

try:
    from opentelemetry import metrics, trace
    from opentelemetry.trace import SpanKind, Status, StatusCode
except ModuleNotFoundError:
    raise missing("opentelemetry-api", "opentelemetry") from None

if TYPE_CHECKING:
    from ..client import AMIClient
    from ..wire.response import Response

__all__ = ["instrument"]

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def instrument(client: AMIClient, *, tracer_provider: Any = None, meter_provider: Any = None) -> Callable[[], None]:
    """Record the actions of a client; in a cluster, those of a node (``pool[node_id]``).

    Args:
        client: the client.
        tracer_provider: provider for spans, by default the global one.
        meter_provider: provider for metrics, by default the global one.

    Returns:
        A function that ends the recording.

    """
    tracer = trace.get_tracer("pyami_sync", version, tracer_provider)
    meter = metrics.get_meter("pyami_sync", version, meter_provider)
    duration = meter.create_histogram(
        "ami.client.action.duration",
        unit="s",
        description="Time from sending an AMI action to its whole answer",
        explicit_bucket_boundaries_advisory=BUCKETS,
    )
    where = {"rpc.system": "ami", "server.address": client.options.host, "server.port": client.options.port}

    def begin(action: Any) -> Callable[[Response | None, BaseException | None], None]:
        attributes = {**where, "rpc.method": action.name}
        span = tracer.start_span(f"AMI {action.name}", kind=SpanKind.CLIENT, attributes=attributes)
        started = time.perf_counter()

        def end(response: Response | None, exc: BaseException | None) -> None:
            seconds = time.perf_counter() - started
            error = _error(response, exc)
            if error is not None:
                attributes["error.type"] = error
                span.set_attribute("error.type", error)
                # Only the type and text of an exception are recorded: its traceback would show code of the caller.
                span.set_status(Status(StatusCode.ERROR, str(exc) if exc is not None else _said(response)))
            span.end()
            duration.record(seconds, attributes)

        return end

    return client.on_action(begin)


def _error(response: Response | None, exc: BaseException | None) -> str | None:
    if exc is not None:
        return type(exc).__qualname__
    return ActionError.__qualname__ if response is not None and not response.ok else None


def _said(response: Response | None) -> str:
    return response.message if response is not None else ""
