"""``python -m benchmarks``: take all figures, interleaved, and write the table and the plot."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

from .clients import CLIENTS
from .environment import ROOT, Environment, cache_folder, machine, versions
from .plot import draw
from .report import render
from .results import TARGETS, Results
from .scenarios import SCENARIOS
from .sender import build
from .traffic import prepare

TIMEOUT = 400


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the work")
    parser.add_argument("--only", metavar="GLOB", action="append", help="scenarios, such as 'ping*'; may be repeated")
    parser.add_argument("--clients", metavar="GLOB", action="append", help="clients, such as pyami_sync")
    parser.add_argument("--rounds", type=int, help="how often everything is measured (5; --quick: 1)")
    parser.add_argument("--scale", type=float, help="part of the work (1; --quick: 0.1)")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for the table and the plot (docs/benchmarks for a whole run, else none: they are only shown)",
    )
    parser.add_argument("--list", action="store_true", help="show scenarios and clients, measure nothing")
    return parser.parse_args(arguments)


def chosen(names: tuple[str, ...], globs: list[str] | None) -> list[str]:
    """The names that match one of the globs; all when there are none."""
    return [name for name in names if not globs or any(fnmatch(name, glob) for glob in globs)]


def take(environment: Environment, asked: dict[str, object], results: Results) -> str:
    """Take one measurement; give what to show of it."""
    scenario, client = str(asked["scenario"]), str(asked["client"])
    try:
        done = environment.run("benchmarks.measure", json.dumps(asked), TIMEOUT)
    except subprocess.TimeoutExpired:
        results.skip(scenario, client, f"not done after {TIMEOUT} s")
        return "timed out"
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        results.skip(scenario, client, reason)
        return f"failed: {reason}"
    answer = json.loads(done.stdout.splitlines()[-1])
    if "figures" not in answer:
        results.skip(scenario, client, answer["skipped"])
        return f"skipped: {answer['skipped']}"
    results.add(scenario, client, answer["figures"])
    return ", ".join(f"{name} {value:,.6g}" for name, value in answer["figures"].items())


def main(arguments: list[str] | None = None) -> int:
    """Run the command; give its exit status."""
    options = parse(arguments)
    scenarios = chosen(tuple(SCENARIOS), options.only)
    clients = chosen(CLIENTS, options.clients)
    if options.list:
        for name in scenarios:
            print(f"{name:20} {SCENARIOS[name].title}: {', '.join(SCENARIOS[name].clients)}")
        return 0
    folder = cache_folder()
    load, command = prepare(folder / "load"), build(folder)
    environment = Environment(folder)
    environment.prepare()
    rounds = options.rounds or (1 if options.quick else 5)
    scale = options.scale or (0.1 if options.quick else 1.0)
    results = Results()
    for number in range(rounds):
        for name in scenarios:
            scenario = SCENARIOS[name]
            if scenario.rounds is not None and number >= scenario.rounds:
                continue
            # Not always the same one first: what warms up or wears out in a round would favour it.
            order = scenario.clients if number % 2 == 0 else scenario.clients[::-1]
            for client in order:
                if client not in clients:
                    continue
                if client in environment.missing:
                    results.skip(name, client, environment.missing[client])
                    continue
                if client in results.skipped.get(name, {}):
                    continue
                asked = {
                    "client": client,
                    "scenario": name,
                    "folder": str(load.folder),
                    "command": command,
                    "scale": scale,
                }
                print(f"{number + 1}/{rounds} {name:20} {client:15} {take(environment, asked, results)}", flush=True)
    whole = not options.only and not options.clients
    for target in TARGETS:
        value = target.value(results)
        if value is not None:
            print(f"{'met ' if target.met(value) else 'MISS'} {target.shown.format(value):>10}  {target.text}")
    output = options.output or (ROOT / "docs" / "benchmarks" if whole and not options.quick else None)
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        page = render(
            results,
            machine=machine(),
            versions=versions(),
            rounds=rounds,
            date=time.strftime("%Y-%m-%d"),
            quick=scale < 1,
        )
        (output / "benchmarks.rst").write_text(page)
        (output / "benchmarks.svg").write_text(draw(results))
        print(f"written: {output}/benchmarks.rst and benchmarks.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
