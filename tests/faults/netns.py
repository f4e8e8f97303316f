"""A network of its own: a namespace behind a virtual cable, on which packets can be lost without a word."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

_numbers = itertools.count(1)


@dataclasses.dataclass(frozen=True)
class Far:
    """The other end of the cable."""

    name: str
    """Of the namespace, for ``ip netns exec``."""
    address: str
    cable: str
    """The near end of the cable."""

    def lose_packets(self) -> None:
        """Drop everything from now on, both ways, with no RST and no ICMP."""
        _run("ip", "netns", "exec", self.name, "ip", "link", "set", f"{self.cable}f", "down")

    def deliver_packets(self) -> None:
        """Drop no more."""
        _run("ip", "netns", "exec", self.name, "ip", "link", "set", f"{self.cable}f", "up")


@contextlib.contextmanager
def far_network() -> Iterator[Far]:
    """Make a namespace; skip the test, or fail it with ``PYAMI_REQUIRE_NETNS=1``, where that is not permitted."""
    number = next(_numbers)
    unique = f"{os.getpid() % 100000}n{number}"
    name, cable = f"pyami-{unique}", f"py{unique}"
    subnet = f"198.18.{os.getpid() % 250}"  # reserved for tests of networks
    try:
        if shutil.which("ip") is None:
            raise OSError("there is no ip command (iproute2)")
        _run("ip", "netns", "add", name)
    except OSError as exc:
        if os.environ.get("PYAMI_REQUIRE_NETNS") == "1":
            pytest.fail(f"no network namespace: {exc}", pytrace=False)
        pytest.skip(f"no network namespace: {exc}")
    try:
        _run("ip", "link", "add", cable, "type", "veth", "peer", "name", f"{cable}f", "netns", name)
        _run("ip", "address", "add", f"{subnet}.1/24", "dev", cable)
        _run("ip", "link", "set", cable, "up")
        for command in (
            ("ip", "address", "add", f"{subnet}.2/24", "dev", f"{cable}f"),
            ("ip", "link", "set", f"{cable}f", "up"),
        ):
            _run("ip", "netns", "exec", name, *command)
        yield Far(name, f"{subnet}.2", cable)
    finally:
        with contextlib.suppress(OSError):
            _run("ip", "link", "delete", cable)
        _run("ip", "netns", "delete", name)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
