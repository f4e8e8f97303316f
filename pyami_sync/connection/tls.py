"""TLS: its options, the contexts made of them, the non-blocking handshake, and the transport it gives.

OpenSSL objects are not safe for a read and a write at the same time from two threads (cpython #151508). So the engine
thread alone reads and writes a connection that uses TLS, and no lock is needed. TLS runs over memory buffers, which is
much faster than an ``SSLSocket`` for AMI, whose server writes a record for every header: one read of the socket takes
hundreds of records.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from ..exceptions import ConnectError
from ..wire.protocol import tls_records
from .transport import READ_SIZE, WANTS, Transport

__all__ = ["TLS", "TLSHandshake", "TLSTransport", "make_context"]


@dataclass(frozen=True, slots=True)
class TLS:
    """How to verify the server, and which client certificate to present.

    By default the server's certificate must be signed by an authority that this machine trusts, for the host name of
    the connection. For a self-signed certificate, pass that certificate, or its authority, as ``ca_file`` instead of
    switching verification off.
    """

    __module__ = "pyami_sync"  # its public path

    ca_file: str | None = None
    """PEM file of the authorities to trust instead of the machine's."""
    cert_file: str | None = None
    """PEM file with the client's certificate (and its key, unless ``key_file`` is given)."""
    key_file: str | None = None
    """PEM file with the client's key."""
    server_name: str | None = None
    """The name in the server's certificate and for SNI, if it is not the host name of the connection."""
    verify: bool = True
    """False accepts any certificate: an attacker on the network path can then read the login."""


class TLSTransport(Transport):
    """TLS over a socket, after the handshake."""

    direct = False

    def __init__(self, sock: socket.socket, tls: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO):
        super().__init__(sock)
        self._tls = tls
        self._incoming = incoming
        self._outgoing = outgoing
        self._first = True

    def receive(self) -> bytes | None:
        cipher = super().receive()
        if cipher is None and not self._first:
            return None
        self._first = False  # bytes that arrived with the handshake are in the buffer already
        if cipher:
            self._incoming.write(cipher)
        elif cipher is not None:
            self._incoming.write_eof()
        plain = []
        try:
            while piece := self._tls.read(READ_SIZE):
                plain.append(piece)
        except WANTS:
            if cipher is None or cipher:
                return b"".join(plain) if plain else None
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            pass
        # The end of the stream, with or without close_notify; return the bytes before it first.
        return b"".join(plain)

    def encode(self, data: bytes) -> bytes:
        for record in tls_records(data):
            self._tls.write(record)
        return self._outgoing.read()

    @property
    def owes(self) -> bool:  # type: ignore[override]
        return self._outgoing.pending > 0

    @property
    def cipher(self) -> tuple[str, str, int] | None:
        """Name, protocol and bits of the cipher."""
        return self._tls.cipher()


def make_context(tls: TLS) -> ssl.SSLContext:
    """Return the context for the options in a :class:`TLS`.

    Raises:
        ConnectError: a file can't be read or is not a certificate.

    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
        if not tls.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if tls.cert_file:
            context.load_cert_chain(tls.cert_file, tls.key_file)
    except OSError as exc:
        raise ConnectError(f"a TLS file can't be used: {exc} (ca_file, cert_file, key_file)") from exc
    return context


class TLSHandshake:
    """The TLS handshake over a non-blocking socket, in steps that do not block.

    Args:
        sock: a connected socket; it belongs to the caller until the handshake is complete.
        context: how to verify the server.
        server_name: name for SNI and for the verification of the certificate.
        host, port: for messages.

    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_name: str, *, host: str, port: int) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._host = host
        self._port = port
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._unsent = b""
        check_name = server_name if (context.check_hostname or server_name) else None
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=check_name)

    @property
    def wants_write(self) -> bool:
        """True if the next step has to wait until the socket is writable, not until it is readable."""
        return bool(self._unsent)

    def step(self) -> TLSTransport | None:
        """Advance as far as possible without blocking; return the transport once the handshake is complete.

        Raises:
            ConnectError: the certificate is not trusted, or the other side does not speak TLS.

        """
        try:
            return self._step()
        except ssl.SSLCertVerificationError as exc:
            raise self._error(
                f"the server's certificate is not trusted: {exc.verify_message}"
                " (give the authority, or the certificate itself, as TLS(ca_file=…))"
            ) from exc
        except ssl.SSLError as exc:
            plain = "WRONG_VERSION" in (exc.reason or "") or "UNKNOWN_PROTOCOL" in (exc.reason or "")
            advice = "the server does not speak TLS on this port: use ami:// or the TLS port, usually 5039"
            raise self._error(advice if plain else f"TLS failed: {exc.reason or exc}") from exc
        except OSError as exc:
            raise self._error(f"the TLS handshake broke off: {exc.strerror or exc}") from exc

    def _step(self) -> TLSTransport | None:
        while True:
            done = True
            try:
                self._tls.do_handshake()  # does nothing once it is complete
            except ssl.SSLWantReadError:
                done = False
            finally:
                # Also when it raises, so that an alert reports the reason to the server.
                self._unsent += self._outgoing.read()
                if self._unsent:
                    self._unsent = self._unsent[self._send() :]
            if self._unsent:
                return None
            if done:
                return TLSTransport(self._sock, self._tls, self._incoming, self._outgoing)
            try:
                chunk = self._sock.recv(65536)
            except (BlockingIOError, InterruptedError):
                return None
            if not chunk:
                raise self._error("the server closed during the TLS handshake: is it a TLS port?")
            self._incoming.write(chunk)

    def _send(self) -> int:
        try:
            return self._sock.send(self._unsent)
        except (BlockingIOError, InterruptedError):
            return 0

    def timed_out(self, seconds: float | None) -> ConnectError:
        """Return the exception for a handshake that takes too long."""
        within = "in time" if seconds is None else f"within {seconds:g} s"
        return self._error(f"no TLS handshake {within}: is it a TLS port (usually 5039)?")

    def _error(self, reason: str) -> ConnectError:
        return ConnectError(reason, host=self._host, port=self._port)
