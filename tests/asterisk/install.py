"""Install the real Asterisk servers that the contract tests talk to.

``python -m tests.asterisk.install`` builds one directory tree for each version, with debootstrap, outside the
checkout. The tests only read the trees: each running server keeps its files elsewhere (see ``server``).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

RECIPE = 1
"""Raise it when the content of the trees changes: a tree made by another recipe counts as missing."""

STAMP = ".pyami-sync-tree.json"
KEYRING = pathlib.Path("/usr/share/keyrings/debian-archive-keyring.gpg")
INSTALL_COMMAND = "python -m tests.asterisk.install"

COMMON = ("asterisk", "asterisk-core-sounds-en-gsm")
DAHDI = ("asterisk-dahdi", "libopenr2-3", "libpri1.4", "libss7-2.0", "libtonezone2.0")

UNPACK = """
mkdir /tmp/deb
cd /tmp/deb
apt-get -q download "$@"
for deb in *; do dpkg-deb -x "$deb" /; done
rm -r /tmp/deb
"""


class InstallError(Exception):
    """The trees cannot be built here; the text says why."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One Debian release that carries the wanted Asterisk, and what to take from it."""

    version: int
    suite: str
    packages: tuple[str, ...]
    unpack: tuple[str, ...]
    """Unpacked without their dependencies, which would pull in a compiler and kernel modules."""


RECIPES = {
    16: Recipe(16, "bullseye", (*COMMON, "asterisk-voicemail"), DAHDI),
    22: Recipe(22, "sid", COMMON, DAHDI),
}


def cache_dir() -> pathlib.Path:
    """Return the directory of the trees; it need not exist yet."""
    own = os.environ.get("PYAMI_ASTERISK_CACHE")
    if own:
        return pathlib.Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "pyami-sync" / "asterisk"


def tree(version: int) -> pathlib.Path:
    """Return where the tree of `version` is, or would be."""
    return cache_dir() / str(version)


def installed_version(version: int) -> str | None:
    """Return the full version of a complete tree, or None when it has to be built."""
    try:
        stamp = json.loads((tree(version) / STAMP).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return str(stamp["asterisk"]) if stamp.get("recipe") == RECIPE else None


def why_missing(version: int) -> str | None:
    """Return what keeps `version` from being run here, or None when nothing does."""
    if os.geteuid() != 0:
        return "running a real Asterisk in its own tree needs root"
    if installed_version(version) is None:
        return f"Asterisk {version} is not installed; install it with: {INSTALL_COMMAND} {version}"
    return None


def install(version: int) -> str:
    """Build the tree of `version` unless it is complete; return its full version.

    Safe to call from several processes: a lock lets one build while the others wait, and a tree appears under
    its final name only when it is complete.
    """
    recipe = RECIPES[version]
    cache = cache_dir()
    cache.mkdir(parents=True, exist_ok=True)
    with _lock(cache / f"{version}.lock"):
        found = installed_version(version)
        if found is not None:
            return found
        for stale in cache.glob(f".{version}-*"):
            remove_tree(stale)
        building = pathlib.Path(tempfile.mkdtemp(prefix=f".{version}-", dir=cache))
        try:
            full = _build(recipe, building)
            remove_tree(tree(version))
            building.rename(tree(version))
        finally:
            remove_tree(building)
    return full


def remove_tree(path: pathlib.Path) -> None:
    """Delete a tree, if it exists; refuse when something is mounted in it, which would be deleted as well."""
    if not path.exists():
        return
    inside = f"{path.resolve()}/"
    for line in pathlib.Path("/proc/self/mounts").read_text("utf-8").splitlines():
        if (line.split()[1] + "/").startswith(inside):
            raise InstallError(f"{line.split()[1]} is still mounted: unmount it, then try again")
    shutil.rmtree(path)


def mirror() -> str:
    """Return the Debian mirror that apt itself is configured with."""
    for attempt in range(2):
        listed = _run("apt-get", "indextargets", "--format", "$(CODENAME) $(ORIGIN) $(REPO_URI)")
        found = sorted({tuple(line.split(None, 2)) for line in listed.splitlines() if len(line.split()) == 3})
        for codename, origin, uri in found:
            if origin == "Debian" and re.fullmatch(r"[a-z]+", codename) and uri.startswith(("http", "file:")):
                return uri.rstrip("/")
        if not attempt:
            _run("apt-get", "update")
    raise InstallError("apt is configured with no Debian mirror (see: apt-get indextargets)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Install the versions that are named, or all, and print what is there."""
    names = sys.argv[1:] if arguments is None else arguments
    wanted = [int(name) for name in names] or sorted(RECIPES)
    failed = False
    try:
        prepare()
    except InstallError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with concurrent.futures.ThreadPoolExecutor(len(wanted)) as pool:
        started = time.monotonic()
        running = {pool.submit(install, version): version for version in wanted}
        for done in concurrent.futures.as_completed(running):
            version = running[done]
            try:
                full = done.result()
            except InstallError as error:
                failed = True
                print(f"error: Asterisk {version}: {error}", file=sys.stderr)
            else:
                print(f"Asterisk {full} in {tree(version)} ({time.monotonic() - started:.0f} s)", flush=True)
    return int(failed)


def prepare() -> None:
    """Install the tools that the build and the servers need, when this machine lacks them."""
    if os.geteuid() != 0:
        raise InstallError("debootstrap needs root")
    missing = [name for name in ("debootstrap", "openssl") if shutil.which(name) is None]
    if not KEYRING.exists():
        missing.append("debian-archive-keyring")
    if missing:
        if shutil.which("apt-get") is None:
            raise InstallError(f"this machine has no apt-get to install {' '.join(missing)} with")
        _run("apt-get", "update")
        _run("apt-get", "install", "-y", "--no-install-recommends", *missing)


def _build(recipe: Recipe, target: pathlib.Path) -> str:
    # In a mount namespace of its own, so that what debootstrap mounts is gone when it ends, even when killed.
    isolated = ("unshare", "--mount", "--propagation", "private")
    target.chmod(0o755)
    packages = ",".join(recipe.packages)
    command = ("debootstrap", "--variant=minbase", f"--keyring={KEYRING}", f"--include={packages}")
    _run(*isolated, *command, recipe.suite, str(target), mirror())
    if recipe.unpack:
        # A mirror may stand still for weeks: its signature is checked, the date on which it runs out is not.
        _run("chroot", str(target), "apt-get", "-q", "-o", "Acquire::Check-Valid-Until=false", "update")
        _run("chroot", str(target), "sh", "-ec", UNPACK, "sh", *recipe.unpack)
    _run("chroot", str(target), "apt-get", "clean")
    for useless in ("var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale"):
        shutil.rmtree(target / useless, ignore_errors=True)
    full = _run("chroot", str(target), "asterisk", "-V").split()[1]
    if not full.startswith(f"{recipe.version}."):
        raise InstallError(f"{recipe.suite} carries Asterisk {full} by now, not {recipe.version}")
    (target / STAMP).write_text(json.dumps({"recipe": RECIPE, "asterisk": full}), "utf-8")
    return full


def _run(*command: str) -> str:
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise InstallError(f"{command[0]} failed ({done.returncode}): {' '.join(command)}\n{tail}")
    return done.stdout


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    raise SystemExit(main())
