"""Planted faults: the doctor names each of them, and gives the advice that a person needs."""

from __future__ import annotations

import contextlib
import datetime
import functools
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyami_sync import AMIClient
from pyami_sync.cli.doctor.uses import LIVE
from pyami_sync.live.areas import event_mask
from pyami_sync.testing import Simulator, User
from tests.asterisk.server import AsteriskServer
from tests.cli.conftest import SECRET
from tests.cli.running import Server, run
from tests.cli.test_doctor import closed_port, service


@dataclass
class Planted:
    """How the doctor is called on a fault."""

    url: str
    options: tuple[str, ...] = ()
    secret: str = SECRET


@dataclass
class Fault:
    """A fault, and what the doctor has to say of it."""

    plant: Callable[[Path], contextlib.AbstractContextManager[Planted]]
    code: int
    check: str
    cause: str
    advice: str


FAULTS: dict[str, Fault] = {}


def fault(code: int, check: str, cause: str, advice: str) -> Callable[[Callable[[Path], Iterator[Planted]]], None]:
    """Add a fault to the list.

    Args:
        code: exit code; 0 for what is only remarked upon.
        check: the check that finds it.
        cause: a pattern in what is said of it.
        advice: a pattern in the remedy.

    """

    def add(plant: Callable[[Path], Iterator[Planted]]) -> None:
        name = plant.__name__.replace("_", " ")
        FAULTS[name] = Fault(contextlib.contextmanager(plant), code, check, cause, advice)

    return add


def at(port: int, *options: str, scheme: str = "ami", host: str = "127.0.0.1", user: str = "admin") -> Planted:
    return Planted(f"{scheme}://{user}@{host}:{port}", options)


# The network


@fault(3, "name", "'no-such-host.invalid' does not resolve", "spelling.*getent hosts no-such-host.invalid")
def mistyped_host(folder: Path) -> Iterator[Planted]:
    yield at(5038, host="no-such-host.invalid")


@fault(3, "port", "nothing listens on 127.0.0.1", "is Asterisk running.*enabled = yes.*manager reload")
def nothing_listens(folder: Path) -> Iterator[Planted]:
    yield at(closed_port())


@fault(3, "port", "nothing listens", "port 5038 of this host is an AMI server: use that one")
def wrong_port_of_the_right_host(folder: Path) -> Iterator[Planted]:
    try:
        simulator = Simulator(host="127.0.0.77", port=5038, secret=SECRET).start()
    except OSError as exc:
        pytest.skip(f"127.0.0.77:5038: {exc}")
    with simulator:
        yield at(closed_port(), host="127.0.0.77")


@fault(3, "port", "no answer from 127.0.0.1:.*a firewall drops it", "firewall.*nc -vz 127.0.0.1")
def packets_are_dropped(folder: Path) -> Iterator[Planted]:
    # A full backlog makes Linux drop further attempts to connect, as a firewall does.
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as stack:
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield at(listener.getsockname()[1], "--timeout", "2s")


@fault(3, "greeting", "an SSH server answers on 127.0.0.1", "AMI is on port 5038")
def ssh_behind_the_port(folder: Path) -> Iterator[Planted]:
    with service(lambda client: client.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")) as port:
        yield at(port)


@fault(3, "greeting", "an HTTP server answers on 127.0.0.1", "AMI is on port 5038")
def http_behind_the_port(folder: Path) -> Iterator[Planted]:
    def serve(client: socket.socket) -> None:
        client.recv(1024)
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with service(serve) as port:
        yield at(port)


@fault(3, "greeting", "closes the connection without sending anything", "authlimit in manager.conf.*proxy")
def closed_without_a_word(folder: Path) -> Iterator[Planted]:
    with service(lambda client: None) as port:
        yield at(port)


def keep_silent(client: socket.socket) -> None:
    while client.recv(1024):
        pass


@fault(5, "greeting", r"stays silent: is this the AMI port\?", "AMI is on port 5038.*If it is the right one, Asterisk")
def silent_port(folder: Path) -> Iterator[Planted]:
    with service(keep_silent) as port:
        yield at(port, "--timeout", "3s")


# TLS


@fault(5, "tls", r"does not answer the TLS handshake: is this the AMI port\?", "5039 with TLS")
def silent_port_for_tls(folder: Path) -> Iterator[Planted]:
    with service(keep_silent) as port:
        yield at(port, "--timeout", "3s", scheme="amis")


@fault(3, "tls", "is the plain port, and this connection speaks TLS", "use ami://admin@127.0.0.1.*5039")
def tls_to_the_plain_port(folder: Path) -> Iterator[Planted]:
    with Simulator(secret=SECRET) as simulator:
        yield at(simulator.port, scheme="amis")


@fault(3, "greeting", "speaks TLS, and this connection is plain", "use amis://admin@127.0.0.1")
def plain_to_the_tls_port(folder: Path) -> Iterator[Planted]:
    with Simulator(tls=True, secret=SECRET) as simulator:
        yield at(simulator.port)


@contextlib.contextmanager
def certified(folder: Path, begins: datetime.date, ends: datetime.date, name: str = "localhost") -> Iterator[Planted]:
    """Serve TLS with a certificate of these days, which the doctor is told to trust."""
    key, request, cert, conf = (folder / f"pbx.{kind}" for kind in ("key", "csr", "pem", "conf"))
    (folder / "index").touch()
    (folder / "serial").write_text("01")
    conf.write_text(
        f"[ca]\ndefault_ca=own\n[own]\ndatabase={folder}/index\nserial={folder}/serial\nnew_certs_dir={folder}\n"
        "default_md=sha256\npolicy=any\nx509_extensions=own_ca\n[any]\ncommonName=supplied\n"
        # Python 3.13 takes an authority only with these.
        "[own_ca]\nbasicConstraints=critical,CA:TRUE\nkeyUsage=critical,digitalSignature,keyCertSign\n"
        f"subjectKeyIdentifier=hash\nsubjectAltName=DNS:{name}\n"
    )
    dates = f"-startdate {begins:%Y%m%d}000000Z -enddate {ends:%Y%m%d}000000Z"
    for command in (
        f"req -newkey rsa:2048 -nodes -keyout {key} -out {request} -subj /CN={name}",
        f"ca -batch -selfsign -config {conf} -keyfile {key} -in {request} -out {cert} -notext {dates}",
    ):
        subprocess.run(["openssl", *command.split()], check=True, capture_output=True)
    with Simulator(tls=(str(cert), str(key)), secret=SECRET) as simulator:
        yield at(simulator.port, "--tls-ca", str(cert), scheme="amis", host="localhost")


DAY = datetime.timedelta(days=1)
today = functools.partial(datetime.datetime.now, datetime.UTC)


@fault(3, "tls", "the certificate is self-signed, and not trusted here", "openssl s_client.*--tls-ca pbx.pem")
def self_signed_certificate(folder: Path) -> Iterator[Planted]:
    with Simulator(tls=True, secret=SECRET) as simulator:
        yield at(simulator.port, scheme="amis", host="localhost")


@fault(3, "tls", "it is for pbx.example.com, not for localhost", "connect by a name in the certificate")
def certificate_for_another_name(folder: Path) -> Iterator[Planted]:
    with certified(folder, today() - DAY, today() + 90 * DAY, "pbx.example.com") as planted:
        yield planted


@fault(3, "tls", "the certificate expired on 2021-02-03 00:00 UTC", "renewed.*manager reload")
def expired_certificate(folder: Path) -> Iterator[Planted]:
    with certified(folder, datetime.date(2020, 1, 1), datetime.date(2021, 2, 3)) as planted:
        yield planted


@fault(3, "tls", "the certificate is not valid before 2048-01-01 00:00 UTC", "clocks of both machines")
def certificate_of_tomorrow(folder: Path) -> Iterator[Planted]:
    with certified(folder, datetime.date(2048, 1, 1), datetime.date(2049, 1, 1)) as planted:
        yield planted


@fault(0, "tls", r"trusted until \d{4}-\d\d-\d\d, for [89] more days", "have it renewed before that day")
def certificate_that_expires_soon(folder: Path) -> Iterator[Planted]:
    with certified(folder, today() - DAY, today() + 10 * DAY) as planted:
        yield planted


@fault(0, "tls", "the server is not verified", "--tls-ca instead of verify=no")
def certificate_that_is_not_looked_at(folder: Path) -> Iterator[Planted]:
    with Simulator(tls=True, secret=SECRET) as simulator:
        yield Planted(f"amis://admin@localhost:{simulator.port}/?verify=no")


@fault(3, "tls", "--tls-ca can't be used", "PEM file that can be read")
def authority_that_is_no_file(folder: Path) -> Iterator[Planted]:
    with Simulator(tls=True, secret=SECRET) as simulator:
        yield at(simulator.port, "--tls-ca", str(folder / "none.pem"), scheme="amis", host="localhost")


# The login


@fault(4, "login", "unknown user, wrong secret, or an ACL", "manager show users.*--manager-conf FILE tells which")
def wrong_secret(folder: Path) -> Iterator[Planted]:
    with Simulator(secret=SECRET) as simulator:
        yield Planted(simulator.url.replace(f":{SECRET}", ""), secret="Wr0ng-planted")


def conf_of(folder: Path, *section: str) -> str:
    path = folder / "manager.conf"
    path.write_text("\n".join(["[general]", "enabled = yes", "[admin]", *section]) + "\n")
    return str(path)


@fault(4, "login", r"unknown user: .* has no section \[nobody\]", r"use one of its users \(admin\)")
def unknown_user(folder: Path) -> Iterator[Planted]:
    with Simulator(secret=SECRET) as simulator:
        yield at(simulator.port, "--manager-conf", conf_of(folder, "secret = x"), user="nobody")


@fault(4, "login", r"ACL: permit and deny of \[admin\] in .* keep 127.0.0.1 out", "add permit = 127.0.0.1/32")
def address_that_is_kept_out(folder: Path) -> Iterator[Planted]:
    with Simulator(secret=SECRET) as simulator:
        simulator.refuse_logins()
        section = (f"secret = {SECRET}", "deny = 0.0.0.0/0.0.0.0", "permit = 10.0.0.0/255.0.0.0")
        yield at(simulator.port, "--manager-conf", conf_of(folder, *section))


@fault(4, "login", "a ; begins a comment", r"write \\; in the file")
def secret_with_a_semicolon(folder: Path) -> Iterator[Planted]:
    with Simulator(secret="half") as simulator:
        options = ("--manager-conf", conf_of(folder, "secret = half;of-it-planted"))
        yield Planted(f"ami://admin@127.0.0.1:{simulator.port}", options, "half;of-it-planted")


@fault(
    4, "login", "admin is logged in already, and may be only once", "manager show connected.*allowmultiplelogin = yes"
)
def logged_in_elsewhere(folder: Path) -> Iterator[Planted]:
    with Simulator(secret=SECRET) as simulator:
        simulator.on("Challenge", {"Response": "Error", "Message": "Login Already In Use"})
        yield at(simulator.port)


@fault(5, "login", "the server has stalled: no answer to Challenge", "the server's log and its load")
def stalls_at_the_login(folder: Path) -> Iterator[Planted]:
    with Simulator(secret=SECRET) as simulator:
        simulator.silence("Challenge")
        yield at(simulator.port, "--timeout", "2s")


# Rights and events


def user_with(**rights: tuple[str, ...]) -> Simulator:
    return Simulator(users={"app": User(SECRET, **rights)})


@fault(1, "rights", "app may do nothing", "read = and write =, each with the classes that are needed")
def user_without_any_class(folder: Path) -> Iterator[Planted]:
    with user_with(read=(), write=()) as simulator:
        yield at(simulator.port, user="app")


@fault(
    1, "use", "write class originate is missing for placing calls.*no Originate", "add originate to write = in .app."
)
def dialler_who_may_not_dial(folder: Path) -> Iterator[Planted]:
    with user_with(read=("call", "dialplan"), write=("call", "reporting", "command")) as simulator:
        yield at(simulator.port, "--for", "calls", user="app")


@fault(1, "use", "read class agent is missing for the wallboard.*no Agent", "add agent to read = in .app.")
def wallboard_without_agents(folder: Path) -> Iterator[Planted]:
    with user_with(read=("call", "dialplan", "system"), write=("command", "reporting")) as simulator:
        yield at(simulator.port, "--for", "wallboard", user="app")


@fault(0, "filters", "lets through only Event: Hangup", "has to pass it")
def eventfilter_of_the_user(folder: Path) -> Iterator[Planted]:
    with Simulator(secret=SECRET) as simulator:
        section = (f"secret = {SECRET}", "read = all", "eventfilter = Event: Hangup")
        yield at(simulator.port, "--manager-conf", conf_of(folder, *section))


# The server


@fault(0, "version", "AMI 1.0: Asterisk 1.4 or older", "plan an upgrade")
def ami_of_long_ago(folder: Path) -> Iterator[Planted]:
    with Simulator(secret=SECRET, banner="Asterisk Call Manager/1.0") as simulator:
        yield at(simulator.port)


@fault(5, "answers", "the server has stalled: no answer to Ping", "its log and its load")
def stalls_after_the_login(folder: Path) -> Iterator[Planted]:
    with Simulator(secret=SECRET) as simulator:
        simulator.silence("Ping")
        yield at(simulator.port, "--timeout", "2s")


@fault(0, "answers", "5 pings answered, in .* ms", "the network is slow: look at its load")
def slow_answers(folder: Path) -> Iterator[Planted]:
    with Simulator(secret=SECRET) as simulator:
        simulator.delay("Ping", 0.6)
        yield at(simulator.port, "--timeout", "20s")


@fault(0, "boot", "still loading its modules", "core waitfullybooted")
def server_that_is_still_loading(folder: Path) -> Iterator[Planted]:
    with Simulator(secret=SECRET) as simulator:
        simulator.tells_boot = False
        yield at(simulator.port)


@fault(0, "clock", "the server's clock is .* s behind", "NTP")
def wrong_clock(folder: Path) -> Iterator[Planted]:
    with Simulator(secret=SECRET) as simulator:
        simulator.on("Ping", {"Response": "Success", "Ping": "Pong", "Timestamp": "1000000000.000000"})
        yield at(simulator.port)


@pytest.mark.parametrize("name", FAULTS)
def test_names_the_fault_and_what_to_do(name: str, tmp_path: Path) -> None:
    planted = FAULTS[name]
    with planted.plant(tmp_path) as how:
        done = run(
            "doctor", "--url", how.url, "--timeout", "5s", *how.options, "--json", env={"AMI_SECRET": how.secret}
        )
    assert how.secret not in done.out + done.err
    assert done.code == planted.code, done
    *findings, summary = done.objects
    assert summary["exit"] == planted.code
    verdict = "fail" if planted.code else "warn"
    found = [each for each in findings if each["verdict"] == verdict]
    matching = [each for each in found if each["check"] == planted.check and re.search(planted.cause, each["text"])]
    assert len(matching) == 1, findings
    assert re.search(planted.advice, matching[0]["remedy"]), matching
    # Nothing else is blamed.
    assert [each for each in findings if each["verdict"] == "fail" and each not in matching] == []


# Planted on real servers: arguments, the secret, the exit code, who finds it, the cause, the advice.
REAL = {
    "wrong secret": (
        "admin",
        "not-what-it-is",
        (),
        4,
        "login",
        "unknown user, wrong secret, or an ACL",
        "manager show",
    ),
    "a deny line": ("acl", "acl-secret", ("CONF",), 4, "login", "ACL: permit and deny", "add permit = 127.0.0.1/32"),
    "no read class": ("noevents", "noevents-secret", (), 1, "rights", "read = .nothing.", "read = all"),
    "no right to dial": (
        *("limited", "limited-secret", ("--for", "calls"), 1, "use"),
        *("write class originate is missing", "add originate to write"),
    ),
    "an eventfilter": (
        *("filtered", "filtered-secret", (), 0, "filters"),
        *("lets through only Event: UserEvent, and keeps out UserEvent: Hidden", "has to pass it"),
    ),
    "an eventfilter in the file": (
        *("filtered", "filtered-secret", ("CONF",), 0, "filters"),
        *("lets through only Event: UserEvent, and keeps out UserEvent: Hidden", "has to pass it"),
    ),
}


@pytest.mark.asterisk
@pytest.mark.parametrize("name", REAL)
def test_names_the_fault_of_a_real_server(asterisk: AsteriskServer, name: str) -> None:
    user, secret, options, code, check, cause, advice = REAL[name]
    conf = ("--manager-conf", str(asterisk.run_dir / "etc" / "manager.conf"))
    given = conf if options == ("CONF",) else options
    done = run(*("doctor", "--url", f"{user}@127.0.0.1:{asterisk.port}", *given, "--json"), env={"AMI_SECRET": secret})
    assert secret not in done.out + done.err
    assert done.code == code, done
    matching = [each for each in done.objects[:-1] if each["check"] == check and re.search(cause, each["text"])]
    assert len(matching) == 1, done.objects
    assert re.search(advice, matching[0]["remedy"])


@pytest.mark.asterisk
def test_names_a_second_login_that_a_real_server_refuses(asterisk: AsteriskServer) -> None:
    url = f"ami://single@127.0.0.1:{asterisk.port}"
    with AMIClient.from_url(url, secret="single-secret"):
        done = run("doctor", "--url", url, "--json", env={"AMI_SECRET": "single-secret"})
    assert done.code == 4, done
    assert "is logged in already" in done.out
    assert "manager show connected" in done.out


@pytest.mark.asterisk
@pytest.mark.parametrize("use", ["wallboard", "operator", "exporter", "listener", "calls", "queues", "agi", "console"])
def test_a_real_server_offers_what_every_use_needs(real: Server, use: str) -> None:
    done = real.run("doctor", "--for", use, "--json")
    assert done.code == 0, done
    told = [each for each in done.objects if each.get("check") == "use"]
    assert [each["verdict"] for each in told] == ["ok"], told


def test_the_classes_of_the_live_model() -> None:
    assert set(LIVE) == set(event_mask("calls", "queues").split(",")) == set(event_mask().split(","))


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) >= 28
