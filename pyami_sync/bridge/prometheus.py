"""Metrics of a bridge in the text format of Prometheus, and its health, over HTTP."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from .service import Bridge, BridgeHealth

__all__ = ["MetricsServer", "metrics_text"]

NODE_METRICS = (
    ("published_total", "counter", "Events that the broker has confirmed."),
    ("lost_total", "counter", "Events that did not fit into the spool."),
    ("retries_total", "counter", "Batches that were published again."),
    ("spool", "gauge", "Events that wait for the broker."),
    ("lag", "gauge", "Seconds that the oldest event of the batch under way has waited."),
    ("epoch", "gauge", "The epoch in which this bridge leads the node."),
    ("connected", "gauge", "Whether the session with the server is connected."),
)


def metrics_text(health: BridgeHealth) -> str:
    """Return the metrics of a bridge in the text format of Prometheus."""
    lines = []
    for name, value, text in (
        ("broker_up", int(health.broker), "Whether the broker answered the last request."),
        ("bridges", health.bridges, "Bridges that share the nodes."),
        ("nodes", health.nodes, "Nodes that this bridge could lead."),
        ("leading", len(health.leaders), "Nodes that this bridge leads."),
    ):
        metric = f"pyami_bridge_{name}"
        lines += [f"# HELP {metric} {text}", f"# TYPE {metric} gauge", f"{metric} {value}"]
    for name, kind, text in NODE_METRICS:
        metric = f"pyami_bridge_{name}"
        lines += [f"# HELP {metric} {text}", f"# TYPE {metric} {kind}"]
        for each in health.leaders:
            value = getattr(each, name.removesuffix("_total"))
            node = each.node.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            lines.append(f'{metric}{{node="{node}"}} {float(value):g}')
    return "\n".join(lines) + "\n"


class MetricsServer:
    """Serves ``/metrics``, and ``/health``: 200 if the bridge is ready, else 503.

    Args:
        bridge: the bridge.
        host: address to listen on.
        port: TCP port; 0 for any free port, see :attr:`port`.

    """

    def __init__(self, bridge: Bridge, host: str = "127.0.0.1", port: int = 9109) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                health = bridge.health()
                if self.path == "/metrics":
                    self._answer(200, "text/plain; version=0.0.4", metrics_text(health))
                elif self.path == "/health":
                    facts = {"name": health.name, "ready": health.ready, "leading": len(health.leaders)}
                    self._answer(200 if health.ready else 503, "application/json", json.dumps(facts) + "\n")
                else:
                    self._answer(404, "text/plain", "there are /metrics and /health\n")

            def _answer(self, status: int, kind: str, text: str) -> None:
                body = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Log nothing, because scrapes are frequent."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = Thread(target=self._server.serve_forever, args=(0.1,), name="pyami-bridge-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5.0)
