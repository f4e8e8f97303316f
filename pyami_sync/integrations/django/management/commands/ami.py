"""``manage.py ami``: sends one action."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from pyami_sync.exceptions import AMIError
from pyami_sync.wire.action import Action

from ...clients import make_client


class Command(BaseCommand):
    """Send one action and show its whole answer."""

    help = "Send one action to the Asterisk server and show its whole answer as JSON, one message a line."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", help="such as QueueStatus; or a console command with --command")
        parser.add_argument("headers", nargs="*", metavar="HEADER=VALUE", help="such as Queue=support")
        parser.add_argument("--client", default="default", help="its name in PYAMI (default: default)")
        parser.add_argument("--timeout", type=float, help="time limit in seconds")
        parser.add_argument("--command", action="store_true", help="run the arguments as a console command")

    def handle(self, *args: Any, **options: Any) -> None:
        client = make_client(options["client"])
        limits = {} if options["timeout"] is None else {"timeout": options["timeout"]}
        try:
            with client:
                if options["command"]:
                    for line in client.command(" ".join([options["action"], *options["headers"]]), **limits):
                        self.stdout.write(line)
                    return
                response = client.send(Action(options["action"], _pairs(options["headers"])), check=False, **limits)
        except AMIError as exc:
            raise CommandError(str(exc)) from None
        for message in (response, *response.events):
            self.stdout.write(json.dumps(message.to_dict(), ensure_ascii=False))
        if not response.ok:
            raise CommandError(f"{options['action']} failed: {response.message}")


def _pairs(headers: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for each in headers:
        name, separator, value = each.partition("=")
        if not separator:
            raise CommandError(f"{each!r} is not HEADER=VALUE")
        found.setdefault(name, []).append(value)
    return found
