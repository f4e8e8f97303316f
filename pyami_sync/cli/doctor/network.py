"""From a name to a greeting: name resolution, TCP, TLS, and what answers on the port."""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from ...options import PORT, TLS_PORT, Options
from ...transport import TLS
from ..exits import NO_CONNECTION, TIMEOUT
from ..output import clean
from .findings import Finding, Stop

__all__ = ["check_network"]

GREETING_WAIT = 3.0
PROBE_WAIT = 1.5
HTTP_PORT = 8088
FOREIGN = {
    b"HTTP/": "an HTTP server",
    b"SSH-": "an SSH server",
    b"220": "a mail or FTP server",
    b"* OK": "an IMAP server",
    b"+OK": "a POP3 server",
    b"RFB ": "a VNC server",
    b"Asterisk Call Manager": "a plain AMI server",
}
"""What a server is by the bytes that it says first."""

RIGHT_PORT = "AMI is on port 5038, or 5039 with TLS, unless port and tlsbindaddr in manager.conf say otherwise"
SERVER_SIDE = (
    "on the server: is Asterisk running (asterisk -rx 'core show uptime')? does manager.conf say enabled = yes"
    " (it is off by default)? do port and bindaddr fit (asterisk -rx 'manager show settings')?"
    " Then: asterisk -rx 'manager reload'; some versions open the port only when Asterisk is restarted"
)


def check_network(options: Options) -> Iterator[Finding]:
    """Check all that comes before the login.

    Raises:
        Stop: what follows can't be checked.

    """
    addresses, finding = _resolve(options)
    yield finding
    yield _connect_any(options, addresses)
    if options.tls is None:
        yield _greeting(options)
    else:
        yield _tls(options)


def fail(check: str, text: str, remedy: str, code: int = NO_CONNECTION) -> Stop:
    """Make a failure that ends the diagnosis."""
    return Stop(Finding(check, "fail", text, remedy, code))


# The name


def _resolve(options: Options) -> tuple[list[str], Finding]:
    host = options.host
    try:
        found = socket.getaddrinfo(host, options.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is no name of a host"
        raise fail(
            "name",
            f"the name {host!r} does not resolve: {reason}",
            f"wrong host? Check its spelling, /etc/hosts and the name server (getent hosts {host}), or use its address",
        ) from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    shown = ", ".join(addresses)
    text = f"{host} is an address" if _is_address(host) else f"{host} resolves to {shown}"
    return addresses, Finding("name", "ok", text)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


# The port


def _connect_any(options: Options, addresses: list[str]) -> Finding:
    port = options.port
    failures: list[tuple[str, OSError]] = []
    for address in addresses:
        started = time.monotonic()
        try:
            socket.create_connection((address, port), options.connect_timeout).close()
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
    raise _unreachable(options, failures[-1][1])


def _unreachable(options: Options, exc: OSError) -> Stop:
    host, port = options.host, options.port
    if isinstance(exc, ConnectionRefusedError):
        others = _other_ports(host, port)
        return fail(
            "port",
            f"nothing listens on {host}:{port}: the connection was refused"
            " (closed port; the manager is switched off, enabled = no; or Asterisk is not running)",
            f"{others}{SERVER_SIDE}",
        )
    if isinstance(exc, TimeoutError) or exc.errno == errno.ETIMEDOUT:
        return fail(
            "port",
            f"no answer from {host}:{port} within {options.connect_timeout:g} s: a firewall drops it,"
            " or the host is wrong or down",
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


def _other_ports(host: str, tried: int) -> str:
    """Tell of other ports of the host that do answer, which shows whether Asterisk runs there."""
    for port in (PORT, TLS_PORT):
        if port != tried:
            heard = _hear(host, port, PROBE_WAIT)
            if heard is not None and heard.startswith(b"Asterisk Call Manager"):
                return f"port {port} of this host is an AMI server: use that one. Otherwise, "
            if port == TLS_PORT and heard == b"" and _speaks_tls(host, port):
                return f"port {port} of this host speaks TLS: try amis://{host}:{port}. Otherwise, "
    answer = _ask_http(host, HTTP_PORT)
    if b"Asterisk" in answer:
        return "Asterisk runs there (its web server answers), so the manager is off or elsewhere: "
    return ""


# What answers


def _hear(host: str, port: int, seconds: float) -> bytes | None:
    """What a server says by itself: empty when it says nothing, :data:`None` when it closes or can't be reached."""
    try:
        with closing(socket.create_connection((host, port), seconds)) as sock:
            sock.settimeout(seconds)
            return sock.recv(1024) or None
    except TimeoutError:
        return b""
    except OSError:
        return None


def _ask_http(host: str, port: int) -> bytes:
    """What a server answers to a request of HTTP."""
    heard = b""
    try:
        with closing(socket.create_connection((host, port), PROBE_WAIT)) as sock:
            sock.settimeout(PROBE_WAIT)
            sock.sendall(b"GET / HTTP/1.0\r\nHost: " + host.encode("ascii", "replace") + b"\r\n\r\n")
            while len(heard) < 4096 and (chunk := sock.recv(4096)):
                heard += chunk
    except OSError:
        pass
    return heard


def _speaks_tls(host: str, port: int) -> bool:
    """Whether a server answers to TLS, whatever its certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with closing(socket.create_connection((host, port), PROBE_WAIT)) as sock:
            sock.settimeout(PROBE_WAIT)
            with context.wrap_socket(sock):
                return True
    except ssl.SSLError as exc:
        # An alert is an answer, too: it wants another version, or a certificate of ours.
        return "ALERT" in (exc.reason or "")
    except OSError:
        return False


def _greeting(options: Options) -> Finding:
    host, port = options.host, options.port
    heard = _hear(host, port, min(GREETING_WAIT, options.connect_timeout))
    if heard is None:
        raise fail(
            "greeting",
            f"{host}:{port} closes the connection without a word",
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
    if _speaks_tls(host, port):
        raise fail(
            "greeting",
            f"{host}:{port} speaks TLS, and this connection is plain",
            f"use amis://{options.username}@{host}:{port}, or the plain port, usually 5038",
        )
    if _ask_http(host, port).startswith(b"HTTP/"):
        raise fail("greeting", f"an HTTP server answers on {host}:{port}, not AMI", RIGHT_PORT)
    raise fail(
        "greeting",
        f"{host}:{port} accepts the connection and then stays silent: a stalled server",
        "Asterisk hangs, or something in between holds the connection. On the server: asterisk -rx 'core show threads',"
        " the log, the load and the memory; then restart it. Nothing helps from here",
        TIMEOUT,
    )


# TLS


def _tls(options: Options) -> Finding:
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
        with closing(socket.create_connection((host, port), options.connect_timeout)) as sock:
            sock.settimeout(min(GREETING_WAIT, options.connect_timeout))
            with context.wrap_socket(sock, server_hostname=name) as secured:
                return _secured(options, secured)
    except ssl.SSLCertVerificationError as exc:
        raise _untrusted(options, name, exc) from None
    except ssl.SSLError as exc:
        raise _no_tls(options, exc.reason or str(exc)) from None
    except TimeoutError:
        raise _no_tls(options, "no answer to the handshake") from None
    except OSError as exc:
        raise _no_tls(options, exc.strerror or str(exc)) from None


def _secured(options: Options, secured: ssl.SSLSocket) -> Finding:
    version, cipher = secured.version(), (secured.cipher() or ("?",))[0]
    try:
        heard = secured.recv(1024)
    except TimeoutError:
        raise fail(
            "greeting",
            f"{options.address} shakes hands for TLS and then stays silent: a stalled server, or another service",
            f"{RIGHT_PORT}; if it is the right port, Asterisk hangs: look at its log and restart it",
            TIMEOUT,
        ) from None
    if not heard.startswith(b"Asterisk Call Manager"):
        what = next((name for mark, name in FOREIGN.items() if heard.startswith(mark)), "something else")
        raise fail("greeting", f"{what} answers on {options.address} over TLS, not AMI", RIGHT_PORT)
    greeting = clean(heard.split(b"\n")[0].rstrip(b"\r").decode("utf-8", "replace"))
    if isinstance(options.tls, TLS) and not options.tls.verify:
        return Finding(
            "tls",
            "warn",
            f"{version} with {cipher}, but the server is not verified; {greeting}",
            "whoever sits in between can read the login: give its certificate by --tls-ca instead of verify=no",
        )
    return Finding("tls", "ok", f"{version} with {cipher}, the certificate is trusted; {greeting}")


def _no_tls(options: Options, reason: str) -> Stop:
    host, port = options.host, options.port
    heard = _hear(host, port, PROBE_WAIT) or b""
    if heard.startswith(b"Asterisk Call Manager"):
        return fail(
            "tls",
            f"{host}:{port} is the plain port, and this connection speaks TLS",
            f"use ami://{options.username}@{host}:{port}, or the TLS port, usually 5039 (tlsenable = yes)",
        )
    what = next((name for mark, name in FOREIGN.items() if heard.startswith(mark)), None)
    if what is None and _ask_http(host, port).startswith(b"HTTP/"):
        what = "an HTTP server"
    if what is not None:
        return fail("tls", f"{what} answers on {host}:{port}, not AMI over TLS", RIGHT_PORT)
    if reason == "no answer to the handshake":
        return fail(
            "tls",
            f"{host}:{port} accepts the connection and does not answer the TLS handshake: a stalled server",
            "Asterisk hangs, or this is no TLS port; look at its log, and at tlsbindaddr in manager.conf",
            TIMEOUT,
        )
    return fail(
        "tls",
        f"TLS with {host}:{port} failed: {reason}",
        "check tlsenable, tlscertfile and tlsprivatekey in manager.conf, and that the key can be read by Asterisk",
    )


def _untrusted(options: Options, name: str, exc: ssl.SSLCertVerificationError) -> Stop:
    host, port = options.host, options.port
    certificate = _certificate(options)
    names = ", ".join(value for _, value in certificate.get("subjectAltName", ())) or _common_name(certificate)
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
            f"the certificate expired on {certificate.get('notAfter', 'an unknown day')}",
            "have it renewed, then asterisk -rx 'manager reload'; if it is new, check the clock of this machine",
        )
    if exc.verify_code == 9:
        return fail("tls", "the certificate is not valid yet", "check the clocks of both machines")
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


def _certificate(options: Options) -> dict[str, Any]:
    """What the server's certificate says, by trusting it for a moment; empty when that does not work."""
    try:
        pem = ssl.get_server_certificate((options.host, options.port), timeout=PROBE_WAIT)
        context = ssl.create_default_context(cadata=pem)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        with closing(socket.create_connection((options.host, options.port), PROBE_WAIT)) as sock:
            sock.settimeout(PROBE_WAIT)
            with context.wrap_socket(sock) as secured:
                return dict(secured.getpeercert() or {})
    except (OSError, ValueError):
        return {}


def _common_name(certificate: dict[str, Any]) -> str:
    subject = certificate.get("subject", ())
    return next((str(value) for part in subject for key, value in part if key == "commonName"), "")
