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
    """How to check the server, and how to show who we are.

    Without anything given the server's certificate must be signed by an authority that this machine trusts,
    for the name that is connected to. Servers' certificates are often self-made: give ``ca_file`` then (the
    certificate itself will do) rather than switch verification off.
    """

    __module__ = "pyami_sync"  # its public path

    ca_file: str | None = None
    """PEM file of the authorities to trust instead of the machine's."""
    cert_file: str | None = None
    """PEM file with the client's certificate (and its key, unless ``key_file`` is given)."""
    key_file: str | None = None
    """PEM file with the client's key."""
    server_name: str | None = None
    """The name in the server's certificate and for SNI, if it isn't the host that is connected to."""
    verify: bool = True
    """False takes any certificate: whoever sits in between can then read the login."""


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
        self._first = False  # what came along with the handshake lies in the buffer already
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
        # The end of the stream, tidy or not; what came before it is told first.
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
        """Name, protocol and bits of the cipher in use."""
        return self._tls.cipher()


def make_context(tls: TLS) -> ssl.SSLContext:
    """Make the context that a :class:`TLS` asks for.

    Raises:
        ConnectError: a file can't be read or is no certificate.

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
    """The opening of TLS over a non-blocking socket, step by step, so that nobody need wait for it.

    Args:
        sock: connected; stays the caller's until the handshake is done.
        context: how to check the server.
        server_name: for SNI and the check of the certificate.
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
        """True if the next step has to wait until the socket takes bytes, not until some arrive."""
        return bool(self._unsent)

    def step(self) -> TLSTransport | None:
        """Go on as far as possible without waiting; return the transport when it is done.

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
                self._tls.do_handshake()  # once done, doing it again is nothing
            except ssl.SSLWantReadError:
                done = False
            finally:
                # Also when it raises: an alert tells the server why.
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
        """What to say when it takes too long."""
        within = "in time" if seconds is None else f"within {seconds:g} s"
        return self._error(f"no TLS handshake {within}: is it a TLS port (usually 5039)?")

    def _error(self, reason: str) -> ConnectError:
        return ConnectError(reason, host=self._host, port=self._port)
