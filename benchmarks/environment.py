"""Where the other libraries live: an environment outside the checkout, made when it is first needed."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import venv
from pathlib import Path

from .clients import OWN, PEERS, client_class

__all__ = ["Environment", "cache_folder"]

ROOT = Path(__file__).parent.parent


def cache_folder() -> Path:
    """Where everything is kept between runs; ``PYAMI_SYNC_BENCHMARKS`` names another place."""
    chosen = os.environ.get("PYAMI_SYNC_BENCHMARKS")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pyami-sync" / "benchmarks"


class Environment:
    """An interpreter with the other libraries; pyami_sync is found by way of ``PYTHONPATH``.

    Args:
        folder: where it is, or is to be.

    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / f"env-{sys.version_info.major}.{sys.version_info.minor}"
        self.missing: dict[str, str] = {}
        """Clients that can't be measured, with the reason."""

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.folder / "bin" / "python"

    def prepare(self) -> None:
        """Make it, and install each library that it lacks; one that can't be installed is noted, not raised."""
        if not self.python.exists():
            venv.create(self.folder, with_pip=True)
        for name in PEERS:
            wanted = client_class(name).distribution
            mark = self.folder / f"{wanted}.installed"
            if mark.exists():
                continue
            command = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wanted]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
                self.missing[name] = f"{wanted} can't be installed: {last[0]}"
            else:
                mark.touch()
        self._build_extension()

    def _build_extension(self) -> None:
        """Build the library's extension into this checkout."""
        install = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "setuptools>=77"]
        subprocess.run(install, check=True)
        command = [str(self.python), "setup.py", "--quiet", "build_ext", "--inplace"]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "PYAMI_SYNC_EXTENSION": "required"}, check=True)

    def run(self, module: str, argument: str, timeout: float) -> subprocess.CompletedProcess[str]:
        """Run a module of this checkout in it."""
        command = [str(self.python), "-m", module, argument]
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


def machine() -> str:
    """What the figures were taken on, without naming it."""
    try:
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = models[0].partition(":")[2].strip()
    except (OSError, IndexError):
        model = platform.machine()
    return (
        f"{os.cpu_count()} × {model}, {platform.system()}, {platform.python_implementation()} {sys.version.split()[0]}"
    )


def versions() -> dict[str, str]:
    """Versions of the libraries that are compared."""
    from pyami_sync import __version__

    return {OWN: __version__} | {name: client_class(name).distribution.partition("==")[2] for name in PEERS}
