"""Write grafana-dashboard.json: ``python make_dashboard.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PANELS: list[tuple[str, str, list[tuple[str, str]], str, int, int]] = [
    # title, kind, (query, legend) ..., unit, width, height
    ("Session", "stat", [("pyami_up", "connected")], "none", 4, 4),
    ("Model agrees with the server", "stat", [("asterisk_live_consistent", "{{node}}")], "none", 4, 4),
    ("Callers waiting", "stat", [("sum(asterisk_queue_waiting)", "waiting")], "none", 4, 4),
    ("Longest wait", "stat", [("max(asterisk_queue_longest_wait_seconds)", "wait")], "s", 4, 4),
    ("Calls", "stat", [("sum(asterisk_calls)", "calls")], "none", 4, 4),
    ("Round trip (p99)", "stat", [('pyami_action_seconds{quantile="0.99"}', "p99")], "s", 4, 4),
    ("Callers waiting, by queue", "timeseries", [("asterisk_queue_waiting", "{{queue}}")], "none", 12, 8),
    ("Longest wait, by queue", "timeseries", [("asterisk_queue_longest_wait_seconds", "{{queue}}")], "s", 12, 8),
    ("Service level", "timeseries", [("asterisk_queue_service_level_percent", "{{queue}}")], "percent", 12, 8),
    (
        "Answered and abandoned, per minute",
        "timeseries",
        [
            ("sum(rate(asterisk_queue_answered_total[5m])) * 60", "answered"),
            ("sum(rate(asterisk_queue_abandoned_total[5m])) * 60", "abandoned"),
        ],
        "none",
        12,
        8,
    ),
    ("Agents", "timeseries", [("sum by (state) (asterisk_queue_agents)", "{{state}}")], "none", 12, 8),
    ("Calls by state", "timeseries", [("sum by (state) (asterisk_calls)", "{{state}}")], "none", 12, 8),
    (
        "Calls that ended, per minute, by outcome",
        "timeseries",
        [("sum by (outcome) (rate(asterisk_calls_ended_total[5m])) * 60", "{{outcome}}")],
        "none",
        12,
        8,
    ),
    (
        "Failures by hangup cause, per minute",
        "timeseries",
        [('sum by (cause) (rate(asterisk_calls_ended_total{outcome!="answered"}[5m])) * 60', "{{cause}}")],
        "none",
        12,
        8,
    ),
    ("Endpoints", "timeseries", [("sum by (state) (asterisk_endpoints)", "{{state}}")], "none", 8, 8),
    ("Registrations", "timeseries", [("sum by (status) (asterisk_registrations)", "{{status}}")], "none", 8, 8),
    ("Parked and in conferences", "timeseries", [("sum(asterisk_parked_calls)", "parked")], "none", 8, 8),
]


def dashboard() -> dict[str, Any]:
    """Return the dashboard, panels from left to right and top to bottom."""
    panels = []
    x = y = row = 0
    for number, (title, kind, queries, unit, width, height) in enumerate(PANELS, 1):
        if x + width > 24:
            x, y, row = 0, y + row, 0
        row = max(row, height)
        panels.append(
            {
                "id": number,
                "title": title,
                "type": kind,
                "datasource": {"type": "prometheus", "uid": "${datasource}"},
                "gridPos": {"x": x, "y": y, "w": width, "h": height},
                "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
                "targets": [
                    {"refId": chr(ord("A") + at), "expr": query, "legendFormat": legend}
                    for at, (query, legend) in enumerate(queries)
                ],
            }
        )
        x += width
    return {
        "title": "Asterisk (pyami-sync exporter)",
        "uid": "pyami-sync",
        "schemaVersion": 39,
        "version": 1,
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "tags": ["asterisk", "telephony"],
        "templating": {"list": [{"name": "datasource", "type": "datasource", "query": "prometheus"}]},
        "panels": panels,
    }


if __name__ == "__main__":
    target = Path(__file__).with_name("grafana-dashboard.json")
    target.write_text(json.dumps(dashboard(), indent=2) + "\n", "utf-8")
