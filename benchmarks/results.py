"""Figures of all rounds, their medians, and what they show."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

from .clients import OWN
from .scenarios import SCENARIOS, Figures

__all__ = ["TARGETS", "Results", "Target"]


@dataclass
class Results:
    """What was measured: figures by scenario and client, a set for each round."""

    rounds: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)

    def add(self, scenario: str, client: str, figures: Figures) -> None:
        """Note the figures of one round."""
        self.rounds.setdefault(scenario, {}).setdefault(client, []).append(figures)

    def skip(self, scenario: str, client: str, reason: str) -> None:
        """Note why there are none."""
        self.skipped.setdefault(scenario, {})[client] = reason

    def median(self, scenario: str, client: str = OWN, figure: str = "value") -> float | None:
        """The median of a figure over the rounds; :data:`None` when it was not taken."""
        found = [each[figure] for each in self.rounds.get(scenario, {}).get(client, ()) if figure in each]
        return statistics.median(found) if found else None

    def ratio(self, scenario: str, client: str, reference: str = OWN) -> float | None:
        """How many times better than a reference a client is: above 1 is better, whatever is counted."""
        mine, theirs = self.median(scenario, client), self.median(scenario, reference)
        if not mine or not theirs:
            return None
        return mine / theirs if SCENARIOS[scenario].more_is_better else theirs / mine

    def lost(self, scenario: str, client: str) -> float:
        """Most events, items or lines that were missing in any round."""
        return max((each.get("lost", 0) for each in self.rounds.get(scenario, {}).get(client, ())), default=0)


@dataclass(frozen=True)
class Target:
    """Something that the library is to show."""

    text: str
    value: Callable[[Results], float | None]
    met: Callable[[float], bool]
    shown: str = "{:.2f}"


def _ratio(scenario: str, reference: str) -> Callable[[Results], float | None]:
    return lambda results: results.ratio(scenario, OWN, reference)


def _between(scenario: str, other: str) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        one, two = results.median(scenario), results.median(other)
        return one / two if one and two else None

    return value


def _figure(scenario: str, figure: str = "value", factor: float = 1.0) -> Callable[[Results], float | None]:
    def value(results: Results) -> float | None:
        found = results.median(scenario, OWN, figure)
        return None if found is None else found * factor

    return value


def _linear(large: str, small: str) -> Callable[[Results], float | None]:
    """Rate for many over rate for few; of memory that is touched for the first time splitting pays the price too."""

    def value(results: Results) -> float | None:
        many, few = results.ratio(large, OWN, "split"), results.ratio(small, OWN, "split")
        return many / few if many and few else None

    return value


def _excess(results: Results) -> float | None:
    grown, buffer = results.median("blocked"), results.median("blocked", OWN, "buffer_mb")
    return grown / buffer if grown is not None and buffer else None


def _lost(results: Results) -> float | None:
    scenarios = [name for name in SCENARIOS if OWN in results.rounds.get(name, {})]
    return max((results.lost(name, OWN) for name in scenarios), default=None)


TARGETS: tuple[Target, ...] = (
    Target(
        "Events to one callback, times asterisk-ami (at least 4)",
        _ratio("events-all", "asterisk-ami"),
        lambda x: x >= 4,
    ),
    Target(
        "Name and three headers read, one of them absent, times asterisk-ami (at least 4)",
        _ratio("events-read", "asterisk-ami"),
        lambda x: x >= 4,
    ),
    Target("The same, times a lazy parser (at least 0.8)", _ratio("events-read", "batches"), lambda x: x >= 0.8),
    Target(
        "List, a header read, times a lazy parser (at least 0.8)", _ratio("list-read", "batches"), lambda x: x >= 0.8
    ),
    Target("Events, items and lines lost (none)", _lost, lambda x: x == 0, "{:.0f}"),
    Target(
        "Callback for one name, times asterisk-ami (at least 8)",
        _ratio("events-filtered", "asterisk-ami"),
        lambda x: x >= 8,
    ),
    Target(
        "Events by class, times by name (0.85 or more)", _between("events-typed", "events-named"), lambda x: x >= 0.85
    ),
    Target("List of 20,000, times asterisk-ami (at least 6)", _ratio("list-20k", "asterisk-ami"), lambda x: x >= 6),
    Target(
        "Output of 20,000 lines, time relative to reading and splitting (at most 1.5)",
        lambda results: None if (x := results.ratio("output-20k", OWN, "split")) is None else 1 / x,
        lambda x: x <= 1.5,
    ),
    Target(
        "List: 1,000,000 against 20,000, as splitting fares (linear: near 1)",
        _linear("list-1m", "list-20k"),
        lambda x: x >= 0.6,
    ),
    Target(
        "Output: 1,000,000 against 20,000, as splitting fares (linear: near 1)",
        _linear("output-1m", "output-20k"),
        lambda x: x >= 0.6,
    ),
    Target("Round trip, times faster than asterisk-ami (over 1)", _ratio("ping", "asterisk-ami"), lambda x: x > 1),
    Target(
        "Round trip, times faster than a reader thread and a lock (aim: 1)",
        _ratio("ping", "reader-lock"),
        lambda x: x >= 0.9,
    ),
    Target(
        "Round trip, time relative to a raw socket (at most 1.3)",
        lambda results: None if (x := results.ratio("ping", OWN, "raw-socket")) is None else 1 / x,
        lambda x: x <= 1.3,
    ),
    Target("16 threads, times asterisk-ami (at least 2.5)", _ratio("ping-16", "asterisk-ami"), lambda x: x >= 2.5),
    Target("64 threads, times asterisk-ami (at least 3)", _ratio("ping-64", "asterisk-ami"), lambda x: x >= 3),
    Target(
        "Round trip in a flood, median in ms (under 10)", _figure("flood-ping", factor=1e-3), lambda x: x < 10, "{:.1f}"
    ),
    Target(
        "Events during these, % of the flood alone (over 50)",
        _figure("flood-ping", "rate_share"),
        lambda x: x > 50,
        "{:.0f}",
    ),
    Target(
        "Memory that a blocked callback costs, times the size of the events in its buffer (no more: near 1)",
        _excess,
        lambda x: x <= 1.15,
    ),
    Target(
        "1,000 subscriptions, cost of an event times that with one (flat: near 1)",
        _between("subscriptions-1", "subscriptions-1000"),
        lambda x: x <= 1.2,
    ),
    Target("Memory of a held event, times its wire size (near 1)", _figure("held"), lambda x: x <= 1.5),
    Target(
        "Wake-ups of an idle session a minute (keepalive only)",
        _figure("idle", "wakes_a_minute"),
        lambda x: x <= 20,
        "{:.0f}",
    ),
    Target("Resident size of an idle process in MB (under 25)", _figure("idle"), lambda x: x < 25, "{:.1f}"),
)
