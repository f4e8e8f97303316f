"""Settings: the options that all commands share: the server, the user, the secret, and the form of the output."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from ..client import AMIClient
from ..connection.tls import TLS
from ..session.options import Options, broker_url, options_from_url
from ..subscriptions.selectors import Selectors
from ..subscriptions.subscribers import MAXSIZE, EventStream, Overflow
from .output import Output
from .profiles import Profile, config_file, load_profiles, read_secret
from .types import DURATION

__all__ = ["Settings", "cluster_options", "connecting", "output_options", "pass_settings"]

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Settings:
    """The values of the shared options."""

    url: str | None = None
    profile: str | None = None
    user: str | None = None
    secret_file: str | None = None
    timeout: float | None = None
    tls_ca: str | None = None
    config: str | None = None
    as_json: bool = False
    quiet: bool = False
    debug: bool = False

    _output: Output | None = None

    @property
    def output(self) -> Output:
        """The command's output."""
        if self._output is None:
            self._output = Output(as_json=self.as_json, quiet=self.quiet)
        return self._output

    @property
    def given(self) -> bool:
        """True if a server is given: by an argument, the environment or a profile."""
        return bool(self.url or self.profile or os.environ.get("AMI_URL") or self._chosen_profile())

    def _chosen_profile(self) -> Profile | None:
        """Return the profile to use, if there is one.

        Raises:
            click.UsageError: there is no profile of that name, or the file is not valid.

        """
        if self.url:
            return None
        name = self.profile
        if name is None and os.environ.get("AMI_URL"):
            return None
        name = name or os.environ.get("AMI_PROFILE")
        profiles, default = load_profiles()
        if name is None:
            return profiles[default] if default is not None else None
        if name not in profiles:
            known = ", ".join(profiles) or "none"
            raise click.UsageError(f"no profile {name!r} in {config_file()} (there are {known})")
        return profiles[name]

    def start_logging(self) -> None:
        """Show the library's log if --verbose is given; otherwise suppress it, since errors are printed anyway."""
        logger = logging.getLogger("pyami_sync")
        if self.debug:
            logging.basicConfig(format="%(asctime)s %(threadName)s %(levelname)s: %(message)s")
            logger.setLevel(logging.DEBUG)
        else:
            logger.addHandler(logging.NullHandler())
            logger.propagate = False

    def make_options(self, **options: Any) -> Options:
        """Return the options of the session; prompts for the secret if there is none.

        Args:
            options: further options of the session.

        Raises:
            click.UsageError: no server is given, or a value is not valid.

        """
        profile = self._chosen_profile()
        url = self.url or (profile.url if profile else None)
        timeout = self.timeout or (profile.timeout if profile else None)
        if timeout is not None:
            options = {"timeout": timeout, "connect_timeout": timeout, **options}
        if self.user:
            options["username"] = self.user
        try:
            made = options_from_url(url, options)
            ca_file = self.tls_ca or (profile.tls_ca if profile else None)
            if ca_file is not None:
                if not isinstance(made.tls, TLS):
                    raise ValueError("--tls-ca needs amis:// in the URL")
                made = replace(made, tls=replace(made.tls, ca_file=ca_file))
        except ValueError as exc:
            if url is None and not os.environ.get("AMI_URL"):
                raise click.UsageError(
                    "no server given: --url ami://user@host, AMI_URL, or a profile (see `pyami-sync profiles --help`)"
                ) from None
            raise click.UsageError(str(exc)) from None
        if not made.username:
            raise click.UsageError("no user given: ami://USER@host, or --user")
        return replace(made, secret=self._find_secret(made, profile))

    def _find_secret(self, options: Options, profile: Profile | None) -> str:
        """Return the secret, from the first place that has one."""
        if self.secret_file:
            return read_secret(self.secret_file)
        if options.secret:
            return options.secret
        if "AMI_SECRET" in os.environ:
            return os.environ["AMI_SECRET"]
        if os.environ.get("AMI_SECRET_FILE"):
            return read_secret(os.environ["AMI_SECRET_FILE"])
        if profile is not None and profile.secret is not None:
            return profile.secret
        if profile is not None and profile.secret_file is not None:
            return read_secret(profile.secret_file)
        if sys.stdin.isatty():
            return str(click.prompt(f"Secret of {options.username}@{options.host}", hide_input=True, err=True))
        raise click.UsageError(
            f"no secret for {options.username}: AMI_SECRET, AMI_SECRET_FILE, --secret-file, or a profile's secret_file"
        )

    def make_client(self, **options: Any) -> AMIClient:
        """Return a client that is not open yet; see :meth:`make_options`."""
        self.start_logging()
        broker = self._broker()
        if broker is not None:
            return self._make_bridged(broker, options)
        return AMIClient.from_options(self.make_options(**options))

    def _broker(self) -> str | None:
        """Return the URL of the broker, if one is given."""
        profile = self._chosen_profile()
        return broker_url(self.url or (profile.url if profile else None))

    def _make_bridged(self, url: str, options: dict[str, Any]) -> AMIClient:
        from ..bridge import BridgeClient

        if self.timeout is not None:
            options = {"timeout": self.timeout, "connect_timeout": self.timeout, **options}
        try:
            return BridgeClient(url, **options)
        except (ValueError, ImportError) as exc:
            raise click.UsageError(str(exc)) from None

    @contextmanager
    def connect(self, *, events: bool | str = False, stay: bool = False, **options: Any) -> Iterator[AMIClient]:
        """Open a session for the length of a ``with`` block.

        Args:
            events: event mask; by default the server sends no events.
            stay: whether to reconnect when the link is lost; commands that send one action fail instead.
            options: further options of the session.

        Raises:
            ConnectError: the session could not be opened.

        """
        options.setdefault("event_mask", events if isinstance(events, str) else None if events else "off")
        options.setdefault("reconnect", stay)
        client = self.make_client(**options)
        with self.output.busy(f"connecting to {client.options.address}"):
            client.open()
        try:
            yield client
        finally:
            client.close(1.0)

    @contextmanager
    def listen(
        self,
        selectors: Sequence[str],
        where: Mapping[str, Any] | None,
        *,
        overflow: Overflow = "error",
        events: bool | str = True,
        stay: bool = True,
    ) -> Iterator[tuple[AMIClient, EventStream]]:
        """Open a session with a stream that is opened before the login, so that it misses no events.

        Args:
            selectors: names and globs of events; none means all.
            where: conditions on headers.
            overflow: see :meth:`~pyami_sync.AMIClient.events`.
            events: which classes of events are wanted.
            stay: whether to reconnect when the link is lost.

        Raises:
            ConnectError: the session could not be opened.

        """
        client = self.make_client(event_mask=events if isinstance(events, str) else None, reconnect=stay)
        # The client's method refuses to open a stream while the session is not open.
        stream = EventStream(Selectors(filter(None, selectors)), where, MAXSIZE, overflow, client.subscriptions)
        client.subscriptions.add(stream)
        with self.output.busy(f"connecting to {client.options.address}"):
            client.open()
        try:
            yield client, stream
        finally:
            client.close(1.0)


def _store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Store the value of a shared option in the settings."""
    settings = context.find_root().ensure_object(Settings)
    source = context.get_parameter_source(str(parameter.name))
    if source is not ParameterSource.DEFAULT:
        setattr(settings, str(parameter.name), value)


class SharedOption(click.Option):
    """A shared option, which may precede or follow the command's name."""

    def __init__(self, *declarations: str, **attributes: Any) -> None:
        super().__init__(declarations, expose_value=False, callback=_store, **attributes)


def complete_profile(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return names of profiles for the shell's completion."""
    return [name for name in load_profiles()[0] if name.startswith(incomplete)]


def output_options() -> list[click.Option]:
    """Return the options of all commands."""
    return [
        SharedOption("--json", "as_json", is_flag=True, help="Print JSON, one object a line."),
        SharedOption("-q", "--quiet", is_flag=True, help="Print results and errors only."),
        SharedOption("--debug", is_flag=True, help="Log what the library does to standard error."),
    ]


def timeout_option() -> click.Option:
    """Return the option for time limits."""
    text = "For connecting and for each action.  [10s]"
    return SharedOption("--timeout", type=DURATION, metavar="TIME", help=text)


def cluster_options() -> list[click.Option]:
    """Return the options of commands that connect to many servers."""
    return [
        SharedOption(
            "-c",
            "--config",
            type=click.Path(exists=True, dir_okay=False),
            metavar="FILE",
            help="TOML file of the nodes (else AMI_CLUSTER).",
        ),
        timeout_option(),
    ]


def server_options() -> list[click.Option]:
    """Return the options of commands that connect to a server."""
    return [
        SharedOption("--url", metavar="URL", help="Server: ami://user@host:5038, amis:// for TLS (else AMI_URL)."),
        SharedOption(
            "-p",
            "--profile",
            metavar="NAME",
            help="Server by its name in config.toml (else AMI_PROFILE).",
            shell_complete=complete_profile,
        ),
        SharedOption("--user", metavar="NAME", help="User in manager.conf, in place of the URL's."),
        SharedOption(
            "--secret-file",
            metavar="FILE",
            type=click.Path(),
            help="File with the secret (else AMI_SECRET, AMI_SECRET_FILE, the profile, or a prompt).",
        ),
        timeout_option(),
        SharedOption("--tls-ca", metavar="FILE", type=click.Path(), help="Certificate or authority to trust."),
    ]


pass_settings = click.make_pass_decorator(Settings, ensure=True)
"""Decorator that passes the settings as first argument."""


def connecting(client: AMIClient) -> str:
    """Return user, address and encryption of a client, for messages."""
    options = client.options
    return f"{options.username}@{options.address}{' (TLS)' if options.tls else ''}"


assert {each.name for each in fields(Settings)} >= {
    option.name for option in (*output_options(), *cluster_options(), *server_options())
}
