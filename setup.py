"""Metadata, extras and entry points."""

import os
import platform
import re
from pathlib import Path

from setuptools import Extension, find_packages, setup

here = Path(__file__).parent
version = re.search(r'^version = "(.+)"$', (here / "pyami_sync/version.py").read_text("utf-8"), re.MULTILINE)

extras = {
    "cli": ["click>=8.1", "rich>=13.7", "prompt_toolkit>=3.0"],
    "flask": ["flask>=3.0"],
    "django": ["django>=4.2"],
    "schema": ["pydantic>=2.6"],
    "prometheus": ["prometheus-client>=0.20"],
    "opentelemetry": ["opentelemetry-api>=1.26"],
    "rx": ["reactivex>=4.0"],
    "redis": ["redis[hiredis]>=5.0"],
    "rabbitmq": ["pika>=1.3"],
    "test": ["pytest>=8.0"],
}
extras["all"] = sorted({each for needs in extras.values() for each in needs})

site = "https://pyami-sync.readthedocs.io"
repository = "https://github.com/pyami-sync/pyami-sync"
# An index has no files of the repository: there the picture is the site's.
readme = (here / "README.rst").read_text("utf-8").replace("docs/terminal.svg", f"{site}/_images/terminal.svg")

# The same in C as in pyami_sync/wire/lookup.py, several times faster. PYAMI_SYNC_EXTENSION=no leaves it out, and with
# "required" a failure to build it is an error; otherwise the package works without, as it does on PyPy.
wish = os.environ.get("PYAMI_SYNC_EXTENSION", "optional")
if wish not in ("no", "optional", "required"):
    raise SystemExit(f"PYAMI_SYNC_EXTENSION must be no, optional or required, not {wish!r}")
extensions = [
    Extension(
        "pyami_sync.wire._speedups",
        ["pyami_sync/wire/_speedups.c"],
        depends=["pyami_sync/wire/_lookup.h"],
        optional=wish == "optional",
    )
]
if wish == "no" or platform.python_implementation() != "CPython":
    extensions = []

setup(
    name="pyami-sync",
    version=version[1],
    description="A threaded, synchronous client for the Asterisk Manager Interface (AMI)",
    long_description=readme,
    long_description_content_type="text/x-rst",
    author="The pyami_sync developers",
    url=site,
    project_urls={
        "Documentation": site,
        "Source": repository,
        "Issues": f"{repository}/issues",
        "Changelog": f"{site}/changelog.html",
        "Benchmarks": f"{site}/benchmarks/benchmarks.html",
    },
    keywords=["asterisk", "ami", "asterisk manager interface", "voip", "telephony", "pbx", "call center", "agi"],
    license="MIT",
    license_files=["LICENSE"],
    packages=find_packages(include=["pyami_sync", "pyami_sync.*"]),
    package_data={"pyami_sync": ["py.typed", "vocabulary/catalogue/*.json"]},
    ext_modules=extensions,
    python_requires=">=3.11",
    install_requires=[],
    extras_require=extras,
    entry_points={
        "console_scripts": ["pyami-sync = pyami_sync.cli:main"],
        "pytest11": ["pyami_sync = pyami_sync.testing.plugin"],
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: Celery",
        "Framework :: Django",
        "Framework :: Flask",
        "Framework :: Pytest",
        "Intended Audience :: Developers",
        "Intended Audience :: System Administrators",
        "Intended Audience :: Telecommunications Industry",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Communications :: Telephony",
        "Typing :: Typed",
    ],
)
