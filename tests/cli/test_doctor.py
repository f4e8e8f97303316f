"""The doctor names the cause of each planted fault, and what to do about it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyami_sync import Action
from pyami_sync.cli.doctor.certificate import validity
from pyami_sync.cli.doctor.managerconf import read_manager_conf
from pyami_sync.testing import Simulator, User
from tests.asterisk.certs import Certificates, make_certificates
from tests.asterisk.plugin import AsteriskFactory
from tests.asterisk.server import AsteriskServer
from tests.cli.conftest import SECRET
from tests.cli.running import Ran, Server, run

START_TIME = 1.5
"""Seconds that the program needs to start and end on a busy machine."""


@contextlib.contextmanager
def service(serve: Callable[[socket.socket], object]) -> Iterator[int]:
    """Listen on a port and treat each client so; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    client = listener.accept()[0]
                except OSError:
                    return
                with client, contextlib.suppress(OSError):
                    client.settimeout(5)
                    serve(client)

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def diagnose(url: str, *more: str, secret: str = SECRET) -> Ran:
    done = run("doctor", "--url", url, "--timeout", "5", *more, env={"AMI_SECRET": secret})
    assert secret not in done.out + done.err
    return done


def failure(done: Ran) -> str:
    """The line of the one failure; there is a remedy with it."""
    lines = done.out.splitlines()
    found = [at for at, line in enumerate(lines) if line.startswith("FAIL")]
    assert len(found) == 1, done.out
    assert lines[found[0] + 1].strip().startswith("->")
    return lines[found[0]] + lines[found[0] + 1]


def url(port: int, scheme: str = "ami", host: str = "127.0.0.1") -> str:
    return f"{scheme}://admin@{host}:{port}"


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_finds_nothing_where_all_is_well(server: Server) -> None:
    done = server.run("doctor")
    assert done.code == 0, done.out
    assert [line.split()[1] for line in done.out.splitlines()[:6]] == [
        "name",
        "port",
        "greeting",
        "login",
        "answers",
        "version",
    ]
    assert "an event of ours came back" in done.out
    assert "clock" in done.out
    assert "It works" in done.out


@pytest.mark.parametrize(
    ("late", "found", "least"),
    [
        (None, "ok lateness events carry no Timestamp", None),
        (0.0, "ok lateness an event came", 0.0),
        (9.0, "WARN lateness an event came", 8_000.0),  # the two clocks are compared to some milliseconds
    ],
)
def test_events_that_are_late(late: float | None, found: str, least: float | None) -> None:
    """Whatever the server's clock says."""
    ahead = 7200.0
    with Simulator() as simulator:
        simulator.on("Ping", lambda action, session: {"Response": "Success", "Timestamp": f"{time.time() + ahead:.6f}"})

        def user_event(action: Action, session: object) -> dict[str, str]:
            stamp = [] if late is None else [("Timestamp", f"{time.time() + ahead - late:.6f}")]
            simulator.emit("UserEvent", [("Privilege", "user,all"), *stamp, ("Mark", action["Mark"])])
            return {"Response": "Success"}

        simulator.on("UserEvent", user_event)
        done = diagnose(simulator.url)
    told = [line for line in (" ".join(line.split()) for line in done.out.splitlines()) if line.startswith(found)]
    assert len(told) == 1, done.out
    if least is not None:
        milliseconds = float(told[0].removeprefix(found).split()[0])
        assert least <= milliseconds < least + 5_000.0, done.out
    assert "ahead" in done.out


@pytest.mark.parametrize("eager", [True, False])
def test_http_on_the_port(eager: bool) -> None:
    def serve(client: socket.socket) -> None:
        if not eager:
            client.recv(1024)
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with service(serve) as port:
        done = diagnose(url(port))
        assert done.code == 3
        assert "an HTTP server answers" in failure(done)
        assert "5038" in failure(done)


@pytest.mark.parametrize(
    ("user", "secret"), [("admin", "Wr0ng-planted"), ("nobody", SECRET)], ids=["wrong secret", "unknown user"]
)
def test_rejected_login(sim: Simulator, user: str, secret: str) -> None:
    done = diagnose(f"ami://{user}@127.0.0.1:{sim.port}", secret=secret)
    assert done.code == 4
    for cause in ("unknown user", "wrong secret", "ACL", "alike"):
        assert cause in failure(done)


@pytest.mark.asterisk
@pytest.mark.parametrize(
    ("user", "secret", "cause"),
    [
        ("nobody", "any-planted-thing", "unknown user"),
        ("admin", "not-what-it-is", "wrong secret"),
        ("acl", "acl-secret", "ACL"),
    ],
)
def test_rejected_login_on_a_real_server(asterisk: AsteriskServer, user: str, secret: str, cause: str) -> None:
    where = f"ami://{user}@127.0.0.1:{asterisk.port}"
    done = diagnose(where, secret=secret)
    assert done.code == 4
    assert cause in failure(done)
    conf = str(asterisk.run_dir / "etc" / "manager.conf")
    told = failure(diagnose(where, "--manager-conf", conf, secret=secret))
    assert cause in told
    assert sum(each in told for each in ("unknown user", "wrong secret", "ACL")) == 1


def test_no_rights_for_events() -> None:
    with Simulator(users={"quiet": User(SECRET, read=())}) as sim:
        done = diagnose(f"ami://quiet@127.0.0.1:{sim.port}")
    assert done.code == 1
    assert "read = (nothing): quiet has no right to any events" in failure(done)


@pytest.mark.asterisk
def test_no_rights_for_events_on_a_real_server(asterisk: AsteriskServer) -> None:
    done = diagnose(f"ami://noevents@127.0.0.1:{asterisk.port}", secret="noevents-secret")
    assert done.code == 1
    assert "read = (nothing): noevents has no right to any events" in failure(done)


@pytest.mark.asterisk
def test_few_rights_on_a_real_server(asterisk: AsteriskServer) -> None:
    done = diagnose(f"ami://limited@127.0.0.1:{asterisk.port}", secret="limited-secret")
    assert done.code == 0, done.out
    assert "write (actions): call\n" in done.out
    assert "is missing" not in done.out  # of no use, unless one is named


@pytest.mark.asterisk
def test_manager_switched_off(asterisk_version: int, asterisk_factory: AsteriskFactory) -> None:
    server = asterisk_factory(asterisk_version)
    server.disable_manager()
    done = diagnose(url(server.port), secret=server.users["admin"].secret)
    assert done.code == 3
    assert "enabled = no" in failure(done)
    conf = str(server.run_dir / "etc" / "manager.conf")
    assert (
        "the manager is switched off" in diagnose(url(server.port), "--manager-conf", conf, secret="admin-secret").out
    )


def test_self_signed_certificate(tmp_path: Path) -> None:
    with Simulator(tls=True, secret=SECRET) as sim:
        done = diagnose(url(sim.port, "amis", "localhost"))
        assert done.code == 3
        assert "the certificate is self-signed" in failure(done)
        assert "--tls-ca" in failure(done)
        trusted = tmp_path / "pbx.pem"
        trusted.write_text(ssl.get_server_certificate(("127.0.0.1", sim.port)))
        assert diagnose(url(sim.port, "amis", "localhost"), "--tls-ca", str(trusted)).code == 0


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


def test_unknown_authority_and_wrong_name(certificates: Certificates) -> None:
    pair = (str(certificates.server_cert), str(certificates.server_key))
    with Simulator(tls=pair, secret=SECRET) as sim:
        where = url(sim.port, "amis", "localhost")
        assert "signed by an authority that is not trusted" in failure(diagnose(where))
        wrong = diagnose(f"{where}/?server_name=pbx.example.com", "--tls-ca", str(certificates.ca))
        assert "the certificate is for another name" in failure(wrong)
        assert "localhost" in failure(wrong)
        assert diagnose(where, "--tls-ca", str(certificates.ca)).code == 0


def test_the_day_of_a_certificate_of_any_kind(certificates: Certificates) -> None:
    for path in (certificates.server_cert, certificates.ca):
        pem = path.read_text("ascii")
        told = subprocess.run(["openssl", "x509", "-noout", "-enddate", "-in", path], capture_output=True, text=True)
        seconds = ssl.cert_time_to_seconds(told.stdout.strip().removeprefix("notAfter="))
        found = validity(ssl.PEM_cert_to_DER_cert(pem))
        assert found is not None
        assert found[1].timestamp() == seconds
        assert found[0] < found[1]
    assert validity(b"") is None
    assert validity(b"\x30\x80nonsense") is None


@pytest.mark.parametrize("scheme", ["ami", "amis"])
def test_the_time_limit_holds_for_all_of_it(scheme: str) -> None:
    def serve(client: socket.socket) -> None:
        while client.recv(1024):  # silent until it is given up
            pass

    with service(serve) as port:
        began = time.monotonic()
        done = diagnose(url(port, scheme), "--timeout", "2s")
        took = time.monotonic() - began
    assert done.code == 5
    assert took < 2 + START_TIME, took


def test_stalled_server(sim: Simulator) -> None:
    sim.stall()
    done = diagnose(url(sim.port), "--timeout", "1")
    assert done.code == 5
    assert "a stalled server" in failure(done)
    sim.resume()
    sim.silence("Ping")
    done = diagnose(url(sim.port), "--timeout", "1")
    assert done.code == 5
    assert "the server has stalled" in failure(done)
    sim.silence("Challenge")
    assert "the server has stalled" in failure(diagnose(url(sim.port), "--timeout", "1"))


def test_tells_it_as_json_and_in_colour(simulated: Server) -> None:
    done = simulated.run("doctor", "--json")
    assert {each["verdict"] for each in done.objects if "verdict" in each} <= {"ok", "warn"}
    assert done.objects[-1] == {"failures": 0, "warnings": done.objects[-1]["warnings"], "exit": 0}
    shown = simulated.in_terminal("doctor")
    assert shown.code == 0
    assert "✔" in shown.out


CONF = """
[general]
enabled = yes ; on
[tpl](!)
deny=0.0.0.0/0.0.0.0
permit=10.1.0.0/255.255.0.0
[one](tpl)
secret = a\\;b
[Two]
secret=x
permit=!10.0.0.1/32
acl=office
#include "more.conf"
"""


def test_reads_manager_conf(tmp_path: Path) -> None:
    (tmp_path / "manager.conf").write_text(CONF)
    (tmp_path / "more.conf").write_text("[three]\nsecret = y\n")
    conf = read_manager_conf(tmp_path / "manager.conf")
    assert conf is not None
    assert conf.enabled
    assert conf.why_refused("one", "a;b", "192.168.0.1")[0].startswith("ACL")
    assert conf.why_refused("ONE", "a;b", "10.1.2.3") == ("", "")
    assert conf.why_refused("one", "other", "10.1.2.3")[0].startswith("wrong secret")
    assert conf.why_refused("two", "x", "10.1.2.3")[0].startswith("ACL")
    assert conf.why_refused("three", "y", "10.1.2.3") == ("", "")
    assert "[four]" in conf.why_refused("four", "y", "10.1.2.3")[0]
    assert conf.why_refused("tpl", "y", "10.1.2.3")[0].startswith("unknown user")
    assert read_manager_conf(tmp_path / "none.conf") is None
