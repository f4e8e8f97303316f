"""Real brokers for tests, each on a free port of the loopback interface with a directory of its own."""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import time

import pytest

__all__ = ["RabbitServer", "RedisServer", "free_port"]


chance = random.SystemRandom()  # tests and plugins seed the other one, and processes side by side then agree


def free_port() -> int:
    """Return a free port that no outgoing connection is given.

    A client that tries again and again to reach a server that is down can be given the server's own port for its end:
    then it is connected with itself, and the server can't have its port back.
    """
    while True:
        port = chance.randrange(12_000, 30_000)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port


def require(program: str, variable: str) -> None:
    """Skip where a program is missing; fail if it has to be there."""
    if shutil.which(program) is None:
        if os.environ.get(variable):
            pytest.fail(f"{program} is not installed, and {variable} is set")
        pytest.skip(f"{program} is not installed")


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 0.2).close()
    except OSError:
        return False
    return True


class RedisServer:
    """A Redis server that can be killed, stopped and started again with the same data."""

    def __init__(self, directory: pathlib.Path, *options: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> RedisServer:
        self.process = subprocess.Popen(
            [
                *("redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)),
                *("--save", "", "--appendonly", "yes", "--appendfsync", "always", "--loglevel", "warning"),
                *self.options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 20
        while not self._answers():
            assert time.monotonic() < deadline, "redis-server did not come up"
            assert self.process.poll() is None, "redis-server ended"
            time.sleep(0.01)
        return self

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as sock:
                sock.settimeout(0.5)
                sock.sendall(b"PING\r\n")
                return sock.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(20)
            self.process = None


class RabbitServer:
    """A RabbitMQ server with an Erlang node and a port mapper of its own."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.epmd = free_port()
        self.dist = free_port()
        self.name = f"pyami{self.port}@localhost"
        self.process: subprocess.Popen[bytes] | None = None
        home = directory / "home"
        home.mkdir(parents=True, exist_ok=True)
        (directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\nloopback_users = none\nlog.console.level = error\n"
            "total_memory_available_override_value = 1GB\n"
        )
        (directory / "enabled_plugins").write_text("[].\n")
        self.environment = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "LANG")},
            "HOME": str(home),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
            "RABBITMQ_PID_FILE": str(directory / "pid"),
            "RABBITMQ_DIST_PORT": str(self.dist),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_CRASH_DUMP": str(directory / "erl_crash.dump"),
            "ERL_EPMD_PORT": str(self.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def start(self) -> RabbitServer:
        log = open(self.directory / "out.txt", "ab")  # noqa: SIM115
        program = pathlib.Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
        self.process = subprocess.Popen(
            [str(program) if program.exists() else "rabbitmq-server"],
            env=self.environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()
        deadline = time.monotonic() + 90
        while not reachable(self.port):
            assert time.monotonic() < deadline, (self.directory / "out.txt").read_text()
            assert self.process.poll() is None, (self.directory / "out.txt").read_text()
            time.sleep(0.1)
        return self

    def control(self, *arguments: str) -> str:
        program = pathlib.Path("/usr/lib/rabbitmq/bin/rabbitmqctl")
        done = subprocess.run(
            [str(program) if program.exists() else "rabbitmqctl", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def kill(self) -> None:
        """Kill it with everything that it started, the port mapper included."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(20)
            self.process = None
        deadline = time.monotonic() + 5
        while reachable(self.epmd) and time.monotonic() < deadline:
            # It refuses until it has noticed that the node is gone.
            environment = {**os.environ, "ERL_EPMD_PORT": str(self.epmd)}
            subprocess.run(["epmd", "-kill"], env=environment, capture_output=True, timeout=20)
            time.sleep(0.05)

    stop = kill
