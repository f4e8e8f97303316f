"""Running examples as their users do: as processes, spoken to by HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.asterisk.server import free_ports

from .waiting import until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def free_port() -> int:
    return free_ports(1, socket.SOCK_STREAM)[0]


class Process:
    """A process of its own group, with its output in a file."""

    def __init__(self, log: Path, *args: str, cwd: Path = EXAMPLES, **environment: str) -> None:
        self.log = log
        with log.open("ab") as file:
            self.popen = subprocess.Popen(
                [sys.executable, *args],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8", "replace")

    def wait_for_output(self, text: str, timeout: float = 30.0) -> None:
        def there() -> bool:
            assert self.popen.poll() is None, f"it ended:\n{self.output}"
            return text in self.output

        until(there, f"the output {text!r}", timeout)

    def end(self, number: int = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Send a signal to the process itself and wait for its end; give its exit code."""
        self.popen.send_signal(number)
        return self.popen.wait(timeout)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()


class Service:
    """Something that serves HTTP on a port of this machine."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.headers: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{port}"

    def request(self, method: str, path: str, body: Any = None, raw: bytes | None = None) -> tuple[int, Any]:
        """Send a request; give the status and the JSON (or text) that came back."""
        data = raw if body is None else json.dumps(body).encode()
        request = Request(self.url + path, data, {"Content-Type": "application/json", **self.headers}, method=method)
        try:
            with urlopen(request, timeout=30) as answer:
                status, text, kind = answer.status, answer.read(), answer.headers["Content-Type"]
        except HTTPError as exc:
            with exc:
                status, text, kind = exc.code, exc.read(), exc.headers["Content-Type"]
        return status, json.loads(text) if kind.startswith("application/json") else text.decode()

    def get(self, path: str) -> Any:
        """Give what a path answers, which must be 200."""
        status, found = self.request("GET", path)
        assert status == 200, found
        return found

    def wait_until_up(self, process: Process, timeout: float = 30.0) -> None:
        def up() -> bool:
            assert process.popen.poll() is None, f"it ended:\n{process.output}"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                return False
            return True

        until(up, "the service listens", timeout)

    @contextlib.contextmanager
    def stream(self, path: str, timeout: float = 30.0) -> Iterator[Iterator[dict[str, Any]]]:
        """Read server-sent events; yields an iterator of their data."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200

        def events() -> Iterator[dict[str, Any]]:
            while line := answer.readline():
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])

        try:
            yield events()
        finally:
            answer.close()
            connection.close()


@contextlib.contextmanager
def serving(log: Path, *args: str, port: int, cwd: Path = EXAMPLES, **environment: str) -> Iterator[Service]:
    """Run a service until the end of the block."""
    service = Service(port)
    with Process(log, *args, cwd=cwd, **environment) as process:
        service.wait_until_up(process)
        yield service


__all__ = ["EXAMPLES", "Process", "Service", "free_port", "serving"]
