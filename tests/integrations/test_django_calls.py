"""The Django project that stores calls, on a simulated and a real server."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, build_opener

import pytest

from pyami_sync import AMIClient, connect

from .processes import EXAMPLES, Process, free_port, serving
from .servers import Server, server
from .waiting import until

__all__ = ["server"]

CALLS = {"Simulated": 240, "Real": 1000}
SHORT = {"Application": "Wait", "Data": "0.2"}


class Project:
    """The project with a database and a server of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.database = folder / "calls.sqlite3"
        self.environment = {"AMI_URL": url, "CALLS_DATABASE": str(self.database)}

    def manage(self, *args: str, **environment: str) -> str:
        """Run a command of manage.py, which must succeed; give its output."""
        log = self.folder / f"{args[0]}.{time.monotonic_ns()}"
        command = ("-W", "error::DeprecationWarning:pyami_sync", "manage.py", *args)
        with Process(log, *command, cwd=EXAMPLES / "django_calls", **self.environment, **environment) as process:
            assert process.popen.wait(60) == 0, process.output
            return process.output

    def listen(self) -> Process:
        log = self.folder / f"listen.{time.monotonic_ns()}"
        return Process(
            log, "manage.py", "ami_listen", "--grace", "60", cwd=EXAMPLES / "django_calls", **self.environment
        )

    def query(self, sql: str) -> list[Any]:
        with closing(sqlite3.connect(self.database, timeout=20)) as connection:
            return connection.execute(sql).fetchall()

    def count(self, where: str = "1") -> int:
        found: int = self.query(f"SELECT count(*) FROM calls_call WHERE {where}")[0][0]
        return found


@pytest.fixture
def project(server: Server, tmp_path: Path) -> Project:
    made = Project(tmp_path, server.url)
    made.manage("migrate", "--verbosity", "0")
    return made


def test_checks_and_migrations_are_complete(project: Project) -> None:
    assert "no issues" in project.manage("check")
    assert "No changes detected" in project.manage("makemigrations", "--check", "--dry-run")
    assert '"Response": "Success"' in project.manage("ami", "Ping")


def place(ami: AMIClient, ids: list[str], count: int, **how: Any) -> None:
    """Place calls, and note the unique ids that they are to have."""
    for _ in range(count):
        number = len(ids)
        # All of one length: Asterisk 22 takes no id that one in use begins with. Both halves get one.
        ids.append(f"call-{number:04}")
        ami.submit(
            "Originate",
            Channel="Local/100@default/n",
            ChannelId=ids[-1],
            OtherChannelId=f"other-{number:04}",
            CallerID=f"Caller {number} <{20000 + number}>",
            Async=True,
            **how,
        )


def wait_for_channels(ami: AMIClient, fits: Callable[[int], bool], what: str) -> None:
    until(lambda: fits(len(ami.send("CoreShowChannels").events)), what, 60)


@pytest.mark.slow
def test_many_calls_none_missing_none_doubled(server: Server, project: Project) -> None:
    ids: list[str] = []
    calls = CALLS[type(server).__name__]
    third = calls // 3
    with project.listen() as listener, connect(server.url, event_mask="call") as ami:
        listener.wait_for_output("listening to")
        # Some while it listens, and some that are up when it is told to end.
        for _ in range(0, third - 20, 40):
            place(ami, ids, 40, **SHORT)
            wait_for_channels(ami, lambda count: count < 40, "calls that end")
        with ami.events("Newchannel", timeout=20) as told:
            place(ami, ids, 20, Application="Wait", Data="3600")
            missing = set(ids[-20:])
            for event in told:
                missing.discard(event["Uniqueid"])
                if not missing:
                    break
        assert not missing
        before = len(ids)
        # The server tells each session in its own time, and may not have told the listener yet.
        until(lambda: project.count() == before, "the calls that are up", 60)
        assert listener.end(timeout=90) == 0
        assert listener.output.endswith("stopped\n")
        assert project.count() == before
        # Calls that begin while nobody listens, and go on; and all those before end meanwhile.
        ami.send("Hangup", Channel="/^Local/")
        place(ami, ids, 20, Application="Wait", Data="3600")
        wait_for_channels(ami, lambda count: count == 40, "calls that stay")
    with project.listen() as listener:
        listener.wait_for_output("listening to")
        until(lambda: project.count("ended IS NULL") == 20, "the calls that are there")
        with connect(server.url, event_mask="off") as ami:
            for _ in range(0, third, 40):
                place(ami, ids, 40, **SHORT)
                wait_for_channels(ami, lambda count: count < 80, "calls that end")
            until(lambda: project.count() == len(ids), "all calls so far", 60)
        # The server dies with calls in it, and comes back with none; the listener stays.
        server.kill()
        server.restart()
        with connect(server.url, event_mask="off") as ami:
            until(lambda: project.count("ended IS NULL") == 0, "calls that died with the server", 60)
            while len(ids) < calls:
                place(ami, ids, min(40, calls - len(ids)), **SHORT)
                wait_for_channels(ami, lambda count: count < 40, "calls that end")
            until(lambda: project.count("ended IS NOT NULL") == calls, "every call stored", 60)
        assert listener.end(timeout=90) == 0
        assert "Traceback" not in listener.output
    stored = [linkedid for (linkedid,) in project.query("SELECT linkedid FROM calls_call")]
    assert sorted(stored) == sorted(ids)
    legs = project.query("SELECT count(*), count(DISTINCT uniqueid), count(ended) FROM calls_leg")
    assert legs == [(2 * calls, 2 * calls, 2 * calls)]


def test_the_admin_shows_calls(server: Server, project: Project, tmp_path: Path) -> None:
    ids: list[str] = []
    with project.listen() as listener:
        listener.wait_for_output("listening to")
        with connect(server.url, event_mask="off") as ami:
            place(ami, ids, 3, **SHORT)
            until(lambda: project.count("ended IS NOT NULL") == 3, "the calls")
    project.manage(
        "createsuperuser",
        "--noinput",
        "--username",
        "demo",
        "--email",
        "d@example.org",
        DJANGO_SUPERUSER_PASSWORD="demo",
    )
    port = free_port()
    runserver = ("manage.py", "runserver", "--noreload", str(port))
    folder = EXAMPLES / "django_calls"
    with serving(tmp_path / "log", *runserver, port=port, cwd=folder, **project.environment) as service:
        assert service.get("/health/ami")["ok"] is True
        opener = build_opener(HTTPCookieProcessor(CookieJar()))
        with opener.open(service.url + "/") as answer:
            form = answer.read().decode()
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', form)
        assert token is not None
        given = {"csrfmiddlewaretoken": token[1], "username": "demo", "password": "demo", "next": "/"}
        with opener.open(service.url + "/admin/login/", urlencode(given).encode()) as answer:
            page = answer.read().decode()
        assert "3 calls" in page
        assert all(f"Caller {number}" in page for number in range(3))
        link = re.search(r'href="(/admin/calls/call/\d+/change/)', page)
        assert link is not None
        with opener.open(service.url + link[1]) as answer:
            detail = answer.read().decode()
        assert detail.count("Local/100@default-") >= 2
        assert 'name="_save"' not in detail


def test_with_nothing_but_its_command(tmp_path: Path) -> None:
    port = free_port()
    project = Project(tmp_path, "")
    with serving(tmp_path / "log", "django_calls", str(port), port=port, **project.environment) as service:
        until(lambda: service.request("GET", "/health/ami")[1]["ok"], "its health", 30)
        until(lambda: project.count() > 0, "a call", 30)
