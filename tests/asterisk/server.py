"""Run a real Asterisk out of an installed tree, as a child of the tests.

The tree is shared and only read. Each server has a run directory of its own, which is mounted on ``/srv`` of
the tree in a mount namespace of its own: the mounts are gone with the process, and never seen from outside.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import itertools
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from types import TracebackType
from typing import Self

from . import install
from .certs import make_certificates
from .raw import RawError, RawSession

ETC = pathlib.Path(__file__).with_name("etc")

START = """
mount -t proc proc "$TREE/proc"
mount --rbind /dev "$TREE/dev"
mount --bind "$RUN" "$TREE/srv"
mount --bind "$RUN/resolv.conf" "$TREE/etc/resolv.conf"
exec chroot "$TREE" /usr/sbin/asterisk -f -C /srv/etc/asterisk.conf
"""

FILTERS = ("Event: UserEvent", "!UserEvent: Hidden")

_names = itertools.count(1)


class ServerError(Exception):
    """The server did not do what it was told; the text ends with the tail of its log."""


@dataclasses.dataclass
class ManagerUser:
    """One section of manager.conf; the secret is ``<name>-secret``."""

    name: str
    options: list[str]

    @property
    def secret(self) -> str:
        """Return the password of the test user."""
        return f"{self.name}-secret"


def default_users() -> dict[str, ManagerUser]:
    """Return the accounts every server starts with."""
    everything = ["read = all", "write = all"]
    users = (
        ManagerUser("admin", everything),
        ManagerUser("limited", ["read = call", "write = call"]),
        ManagerUser("noevents", ["read =", "write = all"]),
        ManagerUser("acl", [*everything, "deny = 0.0.0.0/0.0.0.0"]),
        ManagerUser("filtered", [*everything, *(f"eventfilter = {rule}" for rule in FILTERS)]),
        ManagerUser("single", [*everything, "allowmultiplelogin = no"]),
        ManagerUser("patient", [*everything, "writetimeout = 30000"]),
    )
    return {user.name: user for user in users}


class AsteriskServer:
    """One server on 127.0.0.1 with ports of its own; `start` it, or use it as a context manager.

    `users` and `general` are what manager.conf is written from: change them, then call `reload_manager`.
    """

    def __init__(self, version: int, name: str | None = None, *, systemname: str | None = None) -> None:
        """Choose the ports and write the configuration; nothing runs yet."""
        self.version = version
        self.name = name or f"a{version}-{next(_names)}"
        self.systemname = systemname or f"a{version}"
        self.full_version = install.installed_version(version)
        self.tree = install.tree(version)
        self.run_dir = pathlib.Path(tempfile.mkdtemp(prefix=f"pyami-asterisk-{self.name}-"))
        self.port, self.tls_port, self._skinny_port = free_ports(3, socket.SOCK_STREAM)
        self._pjsip_port, self._iax_port, self._sip_port = free_ports(3, socket.SOCK_DGRAM)
        (self.run_dir / "tls").mkdir()
        self.certificates = make_certificates(self.run_dir / "tls")
        self.users = default_users()
        self.general = {
            "authtimeout": "5",
            "authlimit": "1000",
            "timestampevents": "yes",
            "displayconnects": "no",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._write_files()
        atexit.register(self.remove)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    @property
    def ca_file(self) -> pathlib.Path:
        """Return the authority that the TLS certificate of the server is signed by."""
        return self.certificates.ca

    @property
    def pid(self) -> int | None:
        """Return the process id of Asterisk itself, or None when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def running(self) -> bool:
        """Tell whether the process is there."""
        return self.pid is not None

    def start(self, *, timeout: float = 60.0) -> None:
        """Start it and wait until it is fully booted and the manager port answers."""
        reason = install.why_missing(self.version)
        if reason is not None:
            raise ServerError(reason)
        if self.running:
            return
        self._end_guard()
        environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "TREE": str(self.tree),
            "RUN": str(self.run_dir),
        }
        command = ("unshare", "--mount", "--propagation", "private", "sh", "-ec", START)
        with (self.run_dir / "log" / "console").open("ab") as console:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                env=environment,
                start_new_session=True,
            )
        self._guard = _start_guard(self._process.pid, self.run_dir)
        deadline = time.monotonic() + timeout
        while not self._fully_booted():
            if not self.running:
                raise ServerError(f"{self.name} ended while starting, {self._ended()}\n{self.log_tail()}")
            if time.monotonic() > deadline:
                tail = self.log_tail()
                self.kill()
                raise ServerError(f"{self.name} was not fully booted in {timeout:g} s\n{tail}")
            time.sleep(0.05)

    def stop(self, *, timeout: float = 15.0) -> None:
        """End it in good order (its clients see a Shutdown event first), by force when it takes too long."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()

    def kill(self) -> None:
        """End it at once with SIGKILL, as a crash would."""
        if self._process is not None:
            self._end_guard()
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop it and start it again on the same ports."""
        self.stop()
        self.start()

    def remove(self) -> None:
        """Stop it and delete its run directory; safe to call again, and without effect in a forked child."""
        if os.getpid() != self._owner:
            return
        self.stop(timeout=5.0)
        shutil.rmtree(self.run_dir, ignore_errors=True)
        atexit.unregister(self.remove)

    def cli(self, command: str, *, timeout: float = 20.0) -> str:
        """Run a command on the server's own console, past the manager, and return its text."""
        if self.pid is None:
            raise ServerError(f"{self.name} does not run\n{self.log_tail()}")
        inside = ("nsenter", f"--target={self.pid}", "--mount", "--root", "--wd=/")
        console = ("/usr/sbin/asterisk", "-C", "/srv/etc/asterisk.conf", "-rx", command)
        done = subprocess.run((*inside, *console), capture_output=True, text=True, errors="replace", timeout=timeout)
        if done.returncode:
            raise ServerError(f"{command!r} failed: {done.stdout}{done.stderr}")
        return done.stdout

    def session(self, user: str | None = "admin", *, events: str | None = "off", tls: bool = False) -> RawSession:
        """Open a raw session, logged in unless `user` is None."""
        raw = RawSession(self.tls_port if tls else self.port, ca_file=self.ca_file if tls else None)
        if user is not None:
            answer = raw.login(user, events=events)
            if not answer.startswith(b"Response: Success\r\n"):
                raw.close()
                raise ServerError(f"{user} was not let in: {answer!r}")
        return raw

    def reload_manager(self) -> None:
        """Write manager.conf again from `users` and `general` and let the server read it.

        Sessions that are logged in keep their rights; the next login meets the new ones.
        """
        self._write_manager_conf()
        self.cli("manager reload")

    def remove_user(self, name: str) -> None:
        """Take an account away, so that its next login is refused."""
        del self.users[name]
        self.reload_manager()

    def reset_users(self) -> None:
        """Undo every change to the accounts."""
        self.users = default_users()
        self.reload_manager()

    def disable_manager(self) -> None:
        """Switch the manager off (``enabled = no``): the ports stop to listen, the server goes on.

        `reload_manager` switches it on again, but a server may open the plain port only after a restart.
        """
        self._write_manager_conf(enabled=False)
        self.cli("manager reload")

    def log_tail(self, lines: int = 40) -> str:
        """Return the last lines of the log and of what the process printed."""
        text = ""
        for name in ("console", "messages", "messages.log"):
            path = self.run_dir / "log" / name
            if path.exists():
                tail = path.read_text("utf-8", "replace").splitlines()[-lines:]
                text += f"--- {name}\n" + "".join(f"{line}\n" for line in tail)
        return text

    def _fully_booted(self) -> bool:
        """Ask a fresh manager session whether boot is over; it is told right after the login, or not yet."""
        try:
            with RawSession(self.port, timeout=2.0) as raw:
                raw.login(events="system")
                raw.read_until(b"Status: Fully Booted", timeout=2.0)
        except (OSError, RawError):
            return False
        return True

    def _ended(self) -> str:
        code = self._process.returncode if self._process is not None else None
        return f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"

    def _end_guard(self) -> None:
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None

    def _write_files(self) -> None:
        for directory in ("etc", "lib/moh", "lib/keys", "db", "spool", "run", "log/cdr-custom", "log/cel-custom"):
            (self.run_dir / directory).mkdir(parents=True)
        marks = {
            "SYSTEMNAME": self.systemname,
            "PJSIP_PORT": self._pjsip_port,
            "IAX_PORT": self._iax_port,
            "SIP_PORT": self._sip_port,
            "SKINNY_PORT": self._skinny_port,
        }
        for source in ETC.glob("*.conf"):
            text = source.read_text("utf-8")
            for mark, value in marks.items():
                text = text.replace(f"@{mark}@", str(value))
            (self.run_dir / "etc" / source.name).write_text(text, "utf-8")
        (self.run_dir / "resolv.conf").touch()  # no name server: nothing of a test leaves the machine
        (self.run_dir / "lib" / "moh" / "silence.ulaw").write_bytes(b"\xff" * 16000)
        self._write_manager_conf()

    def _write_manager_conf(self, *, enabled: bool = True) -> None:
        lines = [
            "[general]",
            f"enabled = {'yes' if enabled else 'no'}",
            "bindaddr = 127.0.0.1",
            f"port = {self.port}",
            f"tlsenable = {'yes' if enabled else 'no'}",
            f"tlsbindaddr = 127.0.0.1:{self.tls_port}",
            "tlscertfile = /srv/tls/server.pem",
            "tlsprivatekey = /srv/tls/server.key",
            *(f"{option} = {value}" for option, value in self.general.items()),
        ]
        for user in self.users.values():
            lines += ["", f"[{user.name}]", f"secret = {user.secret}", *user.options]
        (self.run_dir / "etc" / "manager.conf").write_text("\n".join(lines) + "\n", "utf-8")


def free_ports(count: int, kind: socket.SocketKind) -> list[int]:
    """Return free ports of 127.0.0.1, from below the range that the kernel takes a client's own port from.

    So a client that tries to connect while its server is down can neither take the port nor meet itself. Where
    tests run in several processes at once (pytest-xdist), each has a range of its own.
    """
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % workers
    found: list[int] = []
    with contextlib.ExitStack() as held:
        while len(found) < count:
            port = random.randrange(15000 + mine, 32000, workers)
            probe = held.enter_context(socket.socket(socket.AF_INET, kind))
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found.append(port)
    return found


def _start_guard(pid: int, run_dir: pathlib.Path) -> subprocess.Popen[bytes]:
    """Start a shell that ends the server and cleans up when this process dies and so closes the pipe."""
    command = ("sh", "-c", 'read line; kill -9 "$1"; rm -rf "$2"', "guard", str(pid), str(run_dir))
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)
