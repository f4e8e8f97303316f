"""The program's list of commands, its handling of errors and exit codes, and of signals."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from importlib import import_module
from types import FrameType
from typing import Any

import click

from ..exceptions import AMIError
from ..version import version
from .arguments import hide_secrets_in_process_list
from .exits import CODES, FAILED, INTERRUPTED, OK, USAGE, code_of
from .output import Output
from .settings import Settings, cluster_options, output_options, server_options

__all__ = ["Command", "Group", "program", "run"]

PROGRAM = "pyami-sync"
COMPLETION_VARIABLE = "_PYAMI_SYNC_COMPLETE"

PURPOSES: dict[str, dict[str, tuple[str, str]]] = {
    "Look": {
        "channels": ("tables", "Active channels, as a table."),
        "queues": ("tables", "Queues with members and callers, as a table."),
        "endpoints": ("tables", "Phones and trunks, as a table."),
        "top": ("top", "Calls, queues and events per second, live."),
        "events": ("listening", "Show what happens, as it happens."),
        "wait": ("listening", "Wait for an event, in scripts."),
    },
    "Act": {
        "dial": ("calls", "Connect a phone with a number, and report the outcome."),
        "originate": ("calls", "Place a call to an extension or an application."),
        "hangup": ("acting", "Hang up channels."),
        "transfer": ("acting", "Transfer a party to an extension."),
        "park": ("acting", "Park a channel."),
        "pause": ("acting", "Pause a queue member."),
        "unpause": ("acting", "End the pause of a queue member."),
        "queue": ("queue", "Add, remove and show the members of queues."),
        "db": ("database", "Read and write the server's database."),
        "reload": ("acting", "Reload the server's configuration."),
    },
    "Ask": {
        "shell": ("shell", "Send actions at a prompt, with completion."),
        "ping": ("asking", "Measure the round trip."),
        "send": ("asking", "Send any action."),
        "command": ("asking", "Run console commands."),
        "cluster": ("cluster", "Send actions to many servers, and watch them."),
    },
    "Serve": {
        "agi": ("agi", "Serve call scripts, over FastAGI or AsyncAGI."),
        "bridge": ("bridge", "Connect servers to a broker, and show its state and events."),
        "exporter": ("exporter", "Serve metrics for Prometheus."),
    },
    "Find faults": {
        "doctor": ("doctor", "Diagnose problems, and say what to do."),
        "record": ("tapes", "Record the traffic in a file, for a bug report."),
        "replay": ("tapes", "Serve a recording like an Asterisk server."),
        "ladder": ("ladder", "Draw what happened to a call."),
        "audit": ("rights", "Find dangerous rights in manager.conf."),
        "permissions": ("rights", "Write the smallest manager.conf user for a program."),
    },
    "Learn and set up": {
        "demo": ("demo", "Show the main features, without any Asterisk."),
        "simulate": ("tapes", "Serve a simulated Asterisk."),
        "describe": ("describe", "Explain an action or an event."),
        "profiles": ("profiles", "Named servers."),
        "completion": ("completion", "Print the shell's completion script."),
    },
}
"""The commands by purpose: module and line of help of each, so that listing the commands imports none."""

COMMANDS = {name: entry for commands in PURPOSES.values() for name, entry in commands.items()}


def _shared(connects: bool, cluster: bool) -> list[click.Option]:
    """Return the options that a command shares with others."""
    options = [*(server_options() if connects else ()), *(cluster_options() if cluster else ()), *output_options()]
    return list({each.name: each for each in options}.values())  # --timeout is in both lists


class Command(click.Command):
    """A command with the shared options, and with examples in its help.

    Args:
        examples: command lines without the program's name.
        connects: whether it has the options of a server.
        cluster: whether it has the options of a cluster.

    """

    def __init__(
        self,
        name: str | None,
        *,
        examples: Sequence[str] = (),
        connects: bool = True,
        cluster: bool = False,
        params: Iterable[click.Parameter] | None = None,
        **more: Any,
    ) -> None:
        own = list(params or ())
        taken = {option for each in own for option in each.opts}
        shared = _shared(connects, cluster)
        # An option of the command itself, such as the --timeout of `wait`, replaces the shared one.
        self.shared = [each for each in shared if not taken & set(each.opts)]
        self.examples = examples
        super().__init__(name, params=[*own, *self.shared], **more)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shared = set(map(id, self.shared))
        # Arguments have no help text, but newer versions of click list them; the usage line is enough.
        own = [each for each in self.get_params(ctx) if id(each) not in shared and isinstance(each, click.Option)]
        for title, options in (("Options", own), ("Common options", self.shared)):
            rows = [row for row in (each.get_help_record(ctx) for each in options) if row]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)


def write_examples(examples: Sequence[str], formatter: click.HelpFormatter) -> None:
    """Write example command lines unwrapped."""
    if examples:
        with formatter.section("Examples"):
            for example in examples:
                formatter.write(f"{'':>{formatter.current_indent}}{PROGRAM} {example}\n")


class Group(click.Group):
    """A command with subcommands, with the shared options."""

    command_class = Command

    def __init__(
        self,
        name: str | None = None,
        *,
        examples: Sequence[str] = (),
        connects: bool = True,
        cluster: bool = False,
        params: Iterable[click.Parameter] | None = None,
        **more: Any,
    ) -> None:
        self.shared = _shared(connects, cluster)
        self.examples = examples
        super().__init__(name, params=[*(params or ()), *self.shared], **more)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        write_examples(self.examples, formatter)


class LazyGroup(Group):
    """The program itself; a command's module is imported when the command is run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            near = get_close_matches(args[0], COMMANDS, n=1)
            if near:
                ctx.fail(f"no such command: {args[0]!r}; did you mean {near[0]}?")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f".commands.{COMMANDS[cmd_name][0]}", __package__)
        command: click.Command = getattr(module, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for purpose, commands in PURPOSES.items():
            with formatter.section(purpose):
                formatter.write_dl([(name, text) for name, (_, text) in commands.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code), text) for code, text in CODES.items()])


def _show_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not context.resilient_parsing:
        sys.stdout.write(f"{PROGRAM} {version}\n")
        context.exit()


program = LazyGroup(
    name=PROGRAM,
    help=(
        "Tools for Asterisk servers: send actions, watch calls and events, and diagnose problems.\n\n"
        "Name the server by --url, by AMI_URL or by a profile, and keep its secret in AMI_SECRET, in a file"
        " (--secret-file) or in the profile; you are asked for it otherwise. Common options may precede or"
        " follow the command. In a pipe there is no colour, and nothing is cut."
    ),
    examples=[
        "demo",
        "--url ami://admin@pbx ping",
        "queues --watch",
        "send QueueAdd Queue=support Interface=PJSIP/1101",
        "events 'Queue*' --where Queue=support --for 5m",
        "doctor --url amis://admin@pbx",
    ],
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_show_version,
            help="Show the version.",
        )
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def run(arguments: list[str]) -> int:
    """Run the program and return its exit code; raises only for bugs in the program itself."""
    output = Output(as_json="--json" in arguments, quiet="-q" in arguments or "--quiet" in arguments)
    if COMPLETION_VARIABLE in os.environ:
        from click.shell_completion import shell_complete

        return shell_complete(program, {}, PROGRAM, COMPLETION_VARIABLE, os.environ[COMPLETION_VARIABLE])
    if hide_secrets_in_process_list(arguments):
        output.warn("a secret in an argument can be seen by others in the process list; use AMI_SECRET or a file")
    with _signals():
        try:
            code = _run(arguments, output)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader of the output, such as `head`, has ended.
            code = OK
        except KeyboardInterrupt:
            code = INTERRUPTED
        except OSError as exc:
            if exc.errno != errno.EPIPE:
                raise
            code = OK
    _detach_broken_pipe()
    return code


def _run(arguments: list[str], output: Output) -> int:
    try:
        with program.make_context(PROGRAM, arguments, obj=Settings()) as context:
            found = program.invoke(context)
        return found if isinstance(found, int) else OK
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.UsageError as exc:
        if type(exc).__name__ == "NoArgsIsHelpError":  # click 8.2 and later; older ones print the help themselves
            sys.stdout.write(exc.format_message() + "\n")
            return USAGE
        hint = f"\nTry `{exc.ctx.command_path} --help`." if exc.ctx is not None and not output.as_json else ""
        output.error(exc.format_message() + hint, USAGE)
        return USAGE
    except click.ClickException as exc:
        output.error(exc.format_message(), FAILED)
        return FAILED
    except click.Abort:
        return INTERRUPTED
    except AMIError as exc:
        code = code_of(exc)
        output.error(exc, code)
        return code


class Terminated(SystemExit):
    """Raised for SIGTERM or SIGHUP, so that all ``with`` blocks are left and everything is closed."""


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated(128 + number)


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """Raise :exc:`Terminated` at a signal, so that the session is closed and the terminal is restored."""
    before = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # A signal that is ignored, as by nohup, stays ignored.
        with contextlib.suppress(ValueError):  # not on the main thread, where signals can't be handled
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                before[number] = signal.signal(number, _terminate)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _detach_broken_pipe() -> None:
    """Replace standard output, so that the interpreter's flush at exit does not fail."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
