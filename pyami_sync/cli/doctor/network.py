"""The checks before the login: name resolution, TCP, TLS and certificates, and the kind of server on the port."""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from queue import Empty, Queue
from typing import Any

from ...connection.tls import TLS
from ...engine.deadline import Deadline
from ...session.options import PORT, TLS_PORT, Options
from ..exits import NO_CONNECTION, TIMEOUT
from ..output import clean
from .certificate import common_name, moment, validity
from .findings import Finding, Stop

__all__ = ["check_network"]

GREETING_WAIT = 3.0
PROBE_WAIT = 1.5
LEAST_WAIT = 0.05
HTTP_PORT = 8088
SOON = 30  # days before a certificate expires from which on there is a warning
FOREIGN = {
    b"HTTP/": "an HTTP server",
    b"SSH-": "an SSH server",
    b"220": "a mail or FTP server",
    b"* OK": "an IMAP server",
    b"+OK": "a POP3 server",
    b"RFB ": "a VNC server",
    b"Asterisk Call Manager": "a plain AMI server",
}
"""Kinds of servers by the first bytes that they send."""

RIGHT_PORT = "AMI is on port 5038, or 5039 with TLS, unless port and tlsbindaddr in manager.conf say otherwise"
SERVER_SIDE = (
    "on the server: is Asterisk running (asterisk -rx 'core show uptime')? does manager.conf say enabled = yes"
    " (it is off by default)? do port and bindaddr fit (asterisk -rx 'manager show settings')?"
    " Then: asterisk -rx 'manager reload'; some versions open the port only when Asterisk is restarted"
)


def check_network(options: Options, deadline: Deadline) -> Iterator[Finding]:
    """Run the checks before the login, within the deadline.

    Raises:
        Stop: later checks are not possible.

    """
    addresses, finding = _resolve(options, deadline)
    yield finding
    yield _connect_any(options, addresses, deadline)
    if options.tls is None:
        yield _greeting(options, deadline)
    else:
        yield _tls(options, deadline)


def seconds(deadline: Deadline, most: float) -> float:
    """Return how long a step may take; never 0, which would mean not to wait at all."""
    left = deadline.remaining()
    return most if left is None else max(LEAST_WAIT, min(most, left))


def fail(check: str, text: str, remedy: str, code: int = NO_CONNECTION) -> Stop:
    """Return the exception for a failure that ends the diagnosis."""
    return Stop(Finding(check, "fail", text, remedy, code))


# Name resolution


def _resolve(options: Options, deadline: Deadline) -> tuple[list[str], Finding]:
    host = options.host
    try:
        found = _look_up(host, options.port, deadline)
    except TimeoutError:
        raise fail(
            "name",
            f"the name server does not answer for {host!r} within {deadline.timeout:g} s",
            f"check /etc/resolv.conf and the name server (getent hosts {host}), or use the server's address",
        ) from None
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not a valid host name"
        raise fail(
            "name",
            f"the name {host!r} does not resolve: {reason}",
            f"wrong host? Check its spelling, /etc/hosts and the name server (getent hosts {host}), or use its address",
        ) from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    shown = ", ".join(addresses)
    text = f"{host} is an address" if _is_address(host) else f"{host} resolves to {shown}"
    return addresses, Finding("name", "ok", text)


def _look_up(host: str, port: int, deadline: Deadline) -> list[Any]:
    """Return the addresses of a host; raise TimeoutError when the resolver takes longer than the deadline."""
    outcome: Queue[Any] = Queue()

    def ask() -> None:
        try:
            outcome.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as exc:
            outcome.put(exc)

    # The resolver can't be interrupted; a daemon thread does not delay the end of the program.
    threading.Thread(target=ask, name="pyami-resolve", daemon=True).start()
    try:
        found = outcome.get(timeout=deadline.remaining())
    except Empty:
        raise TimeoutError from None
    if isinstance(found, BaseException):
        raise found
    return list(found)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


# The port


def _connect_any(options: Options, addresses: list[str], deadline: Deadline) -> Finding:
    port = options.port
    failures: list[tuple[str, OSError]] = []
    for number, address in enumerate(addresses):
        started = time.monotonic()
        share = (deadline.remaining() or 0.0) / (len(addresses) - number) if deadline.timeout is not None else None
        try:
            socket.create_connection((address, port), share if share is None else max(LEAST_WAIT, share)).close()
        except OSError as exc:
            failures.append((address, exc))
            continue
        took = (time.monotonic() - started) * 1000
        if failures:
            return Finding(
                "port",
                "warn",
                f"{address} answers on port {port} after {took:.1f} ms, but {failures[0][0]} does not",
                f"name the address that answers, or bind the manager to both; {SERVER_SIDE}",
            )
        return Finding("port", "ok", f"{address} accepts connections on port {port} ({took:.1f} ms)")
    raise _unreachable(options, failures[-1][1], deadline)


def _unreachable(options: Options, exc: OSError, deadline: Deadline) -> Stop:
    host, port = options.host, options.port
    if isinstance(exc, ConnectionRefusedError):
        others = _other_ports(host, port, deadline)
        return fail(
            "port",
            f"nothing listens on {host}:{port}: the connection was refused"
            " (closed port; the manager is switched off, enabled = no; or Asterisk is not running)",
            f"{others}{SERVER_SIDE}",
        )
    if isinstance(exc, TimeoutError) or exc.errno == errno.ETIMEDOUT:
        return fail(
            "port",
            f"no answer from {host}:{port} in time: a firewall drops it, or the host is wrong or down",
            f"check the address, and let TCP port {port} through every firewall between here and there"
            f" (on the server: nft list ruleset, or iptables -nL; from here: nc -vz {host} {port})",
        )
    if exc.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPERM):
        return fail(
            "port",
            f"{host} can't be reached: {exc.strerror} (no route, or a firewall that says no)",
            f"check the address and the route (ip route get {host}), a VPN that is down, and firewalls on the way",
        )
    return fail("port", f"{host}:{port}: {exc.strerror or exc}", "check the address and the network")


def _other_ports(host: str, tried: int, deadline: Deadline) -> str:
    """Return text on other ports of the host that answer, which shows whether Asterisk runs there."""
    for port in (PORT, TLS_PORT):
        if port != tried:
            heard = _hear(host, port, seconds(deadline, PROBE_WAIT))
            if heard is not None and heard.startswith(b"Asterisk Call Manager"):
                return f"port {port} of this host is an AMI server: use that one. Otherwise, "
            if port == TLS_PORT and heard == b"" and _speaks_tls(host, port, deadline):
                return f"port {port} of this host speaks TLS: try amis://{host}:{port}. Otherwise, "
    answer = _ask_http(host, HTTP_PORT, deadline)
    if b"Asterisk" in answer:
        return "Asterisk runs there (its web server answers), so the manager is off or elsewhere: "
    return ""


# The kind of server


def _hear(host: str, port: int, wait: float) -> bytes | None:
    """Return the bytes that a server sends first: empty if none, :data:`None` if it closes or can't be reached."""
    deadline = Deadline(wait)
    try:
        with closing(socket.create_connection((host, port), wait)) as sock:
            sock.settimeout(seconds(deadline, wait))
            return sock.recv(1024) or None
    except TimeoutError:
        return b""
    except OSError:
        return None


def _ask_http(host: str, port: int, deadline: Deadline) -> bytes:
    """Return a server's answer to an HTTP request."""
    heard = b""
    limit = Deadline(seconds(deadline, PROBE_WAIT))
    try:
        with closing(socket.create_connection((host, port), limit.timeout)) as sock:
            sock.settimeout(seconds(limit, PROBE_WAIT))
            sock.sendall(b"GET / HTTP/1.0\r\nHost: " + host.encode("ascii", "replace") + b"\r\n\r\n")
            while len(heard) < 4096 and (chunk := sock.recv(4096)) and not limit.expired:
                heard += chunk
                sock.settimeout(seconds(limit, PROBE_WAIT))
    except OSError:
        pass
    return heard


def _speaks_tls(host: str, port: int, deadline: Deadline) -> bool:
    """Return True if a server speaks TLS, whatever its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    limit = Deadline(seconds(deadline, PROBE_WAIT))
    try:
        with closing(socket.create_connection((host, port), limit.timeout)) as sock:
            sock.settimeout(seconds(limit, PROBE_WAIT))
            with context.wrap_socket(sock):
                return True
    except ssl.SSLError as exc:
        # An alert is an answer, too: the server wants another version, or a client certificate.
        return "ALERT" in (exc.reason or "")
    except OSError:
        return False


def _greeting(options: Options, deadline: Deadline) -> Finding:
    host, port = options.host, options.port
    # Half of the remaining time, so that the rest can be used to find out what kind of server is silent.
    heard = _hear(host, port, seconds(deadline, min(GREETING_WAIT, (deadline.remaining() or 2 * GREETING_WAIT) / 2)))
    if heard is None:
        raise fail(
            "greeting",
            f"{host}:{port} closes the connection without sending anything",
            "too many clients that have not logged in (authlimit in manager.conf), a wrapper or proxy that refuses this"
            " address, or a port forwarding that leads nowhere",
        )
    if heard.startswith(b"Asterisk Call Manager"):
        return Finding("greeting", "ok", clean(heard.split(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace")))
    what = next((name for mark, name in FOREIGN.items() if heard.startswith(mark)), None)
    if what is None and heard[:2] in (b"\x15\x03", b"\x16\x03"):
        what = "a TLS server"
    if what is not None:
        raise fail("greeting", f"{what} answers on {host}:{port}, not AMI", RIGHT_PORT)
    if heard:
        line = clean(heard[:60].decode("utf-8", "replace"))
        if b"call manager" in heard[:200].lower():
            return Finding("greeting", "warn", f"an unusual greeting: {line!r}")
        raise fail("greeting", f"something else answers on {host}:{port}: {line!r}", RIGHT_PORT)
    if _speaks_tls(host, port, deadline):
        raise fail(
            "greeting",
            f"{host}:{port} speaks TLS, and this connection is plain",
            f"use amis://{options.username}@{host}:{port}, or the plain port, usually 5038",
        )
    if _ask_http(host, port, deadline).startswith(b"HTTP/"):
        raise fail("greeting", f"an HTTP server answers on {host}:{port}, not AMI", RIGHT_PORT)
    raise fail(
        "greeting",
        f"{host}:{port} accepts the connection and then stays silent: is this the AMI port? If it is, a stalled server",
        f"{RIGHT_PORT}. If it is the right one, Asterisk hangs, or something in between holds the connection: look at"
        " its log, its load and its memory (asterisk -rx 'core show threads'), and restart it",
        TIMEOUT,
    )


# TLS


def _tls(options: Options, deadline: Deadline) -> Finding:
    host, port = options.host, options.port
    tls = options.tls
    name = (tls.server_name if isinstance(tls, TLS) else None) or host
    try:
        context = ssl.create_default_context(cafile=tls.ca_file if isinstance(tls, TLS) else None)
    except OSError as exc:
        raise fail(
            "tls", f"the file of --tls-ca can't be used: {exc}", "it has to be a PEM file that can be read"
        ) from None
    if isinstance(tls, TLS) and not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        half = seconds(deadline, (deadline.remaining() or 2 * GREETING_WAIT) / 2)
        with closing(socket.create_connection((host, port), half)) as sock:
            sock.settimeout(min(GREETING_WAIT, half))
            with context.wrap_socket(sock, server_hostname=name) as secured:
                return _secured(options, secured)
    except ssl.SSLCertVerificationError as exc:
        raise _untrusted(options, name, exc, deadline) from None
    except ssl.SSLError as exc:
        raise _no_tls(options, exc.reason or str(exc), deadline) from None
    except TimeoutError:
        raise _no_tls(options, "no answer to the handshake", deadline) from None
    except OSError as exc:
        raise _no_tls(options, exc.strerror or str(exc), deadline) from None


def _secured(options: Options, secured: ssl.SSLSocket) -> Finding:
    version, cipher = secured.version(), (secured.cipher() or ("?",))[0]
    try:
        heard = secured.recv(1024)
    except TimeoutError:
        raise fail(
            "greeting",
            f"{options.address} shakes hands for TLS and then stays silent: is this the AMI port? If it is,"
            " a stalled server",
            f"{RIGHT_PORT}; if it is the right port, Asterisk hangs: look at its log and restart it",
            TIMEOUT,
        ) from None
    if not heard.startswith(b"Asterisk Call Manager"):
        what = next((name for mark, name in FOREIGN.items() if heard.startswith(mark)), "something else")
        raise fail("greeting", f"{what} answers on {options.address} over TLS, not AMI", RIGHT_PORT)
    greeting = clean(heard.split(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace"))
    days = validity(secured.getpeercert(binary_form=True) or b"")
    until = f" until {days[1]:%Y-%m-%d}" if days is not None else ""
    left = (days[1] - datetime.now(UTC)).days if days is not None else SOON
    if isinstance(options.tls, TLS) and not options.tls.verify:
        expired = f" and expired on {moment(days[1])}" if days is not None and left < 0 else ""
        return Finding(
            "tls",
            "warn",
            f"{version} with {cipher}, but the server is not verified: the certificate is not looked at{expired};"
            f" {greeting}",
            "an attacker on the network path can read the login: give its certificate by --tls-ca instead of verify=no",
        )
    text = f"{version} with {cipher}, the certificate is trusted{until}"
    if left < SOON:
        return Finding(
            "tls",
            "warn",
            f"{text}, for {left} more day{'s' if left != 1 else ''}; {greeting}",
            "have it renewed before that day, then asterisk -rx 'manager reload'; every client fails from then on",
        )
    return Finding("tls", "ok", f"{text}; {greeting}")


def _no_tls(options: Options, reason: str, deadline: Deadline) -> Stop:
    host, port = options.host, options.port
    heard = _hear(host, port, seconds(deadline, PROBE_WAIT)) or b""
    if heard.startswith(b"Asterisk Call Manager"):
        return fail(
            "tls",
            f"{host}:{port} is the plain port, and this connection speaks TLS",
            f"use ami://{options.username}@{host}:{port}, or the TLS port, usually 5039 (tlsenable = yes)",
        )
    what = next((name for mark, name in FOREIGN.items() if heard.startswith(mark)), None)
    if what is None and _ask_http(host, port, deadline).startswith(b"HTTP/"):
        what = "an HTTP server"
    if what is not None:
        return fail("tls", f"{what} answers on {host}:{port}, not AMI over TLS", RIGHT_PORT)
    if reason == "no answer to the handshake":
        return fail(
            "tls",
            f"{host}:{port} accepts the connection and does not answer the TLS handshake: is this the AMI port?"
            " If it is, a stalled server",
            f"{RIGHT_PORT}. If it is the right one, Asterisk hangs: look at its log",
            TIMEOUT,
        )
    return fail(
        "tls",
        f"TLS with {host}:{port} failed: {reason}",
        "check tlsenable, tlscertfile and tlsprivatekey in manager.conf, and that the key can be read by Asterisk",
    )


def _untrusted(options: Options, name: str, exc: ssl.SSLCertVerificationError, deadline: Deadline) -> Stop:
    host, port = options.host, options.port
    certificate = _certificate(options, deadline)
    names = ", ".join(value for _, value in certificate.get("subjectAltName", ())) or common_name(certificate)
    fetch = f"openssl s_client -connect {host}:{port} </dev/null | openssl x509 > pbx.pem, then --tls-ca pbx.pem"
    said = exc.verify_message
    if exc.verify_code == 62 or "mismatch" in said.lower():
        return fail(
            "tls",
            f"the certificate is for another name: it is for {names or 'no name'}, not for {name}",
            "connect by a name in the certificate, or add ?server_name=NAME to the URL, or have it made for this name",
        )
    if exc.verify_code == 10:
        return fail(
            "tls",
            f"the certificate expired on {certificate.get('expired', 'a day that it does not tell')}",
            "have it renewed, then asterisk -rx 'manager reload'; if it is new, check the clock of this machine",
        )
    if exc.verify_code == 9:
        return fail(
            "tls",
            f"the certificate is not valid before {certificate.get('begins', 'a day that it does not tell')}",
            "check the clocks of both machines (timedatectl); if they are right, wait, or have it made again",
        )
    if exc.verify_code in (18, 19):
        return fail(
            "tls",
            f"the certificate is self-signed, and not trusted here (it is for {names or 'no name'})",
            f"trust it: {fetch}",
        )
    return fail(
        "tls",
        f"the certificate is signed by an authority that is not trusted here: {said}",
        f"give that authority by --tls-ca FILE; or trust the certificate itself: {fetch}",
    )


def _certificate(options: Options, deadline: Deadline) -> dict[str, Any]:
    """Return the data of the server's certificate, by trusting it temporarily; empty if that does not work.

    Python parses a certificate only if it is trusted, which an expired one can't be: of that one only the date is
    returned.
    """
    try:
        limit = seconds(deadline, PROBE_WAIT)
        pem = ssl.get_server_certificate((options.host, options.port), timeout=limit)
    except (OSError, ValueError):
        return {}
    found: dict[str, Any] = {}
    days = validity(ssl.PEM_cert_to_DER_cert(pem))
    if days is not None:
        found["begins"], found["expired"] = map(moment, days)
    try:
        context = ssl.create_default_context(cadata=pem)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        limit = seconds(deadline, PROBE_WAIT)
        with closing(socket.create_connection((options.host, options.port), limit)) as sock:
            sock.settimeout(limit)
            with context.wrap_socket(sock) as secured:
                return {**(secured.getpeercert() or {}), **found}
    except (OSError, ValueError):
        return found
