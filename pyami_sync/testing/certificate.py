"""A certificate for tests: for ``localhost`` and 127.0.0.1, signed by itself.

Its key is published here, so it proves nothing: never trust it outside of tests.
"""

from __future__ import annotations

import os
import ssl
import tempfile

__all__ = ["CERTIFICATE", "client_context", "server_context"]

CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBdTCCARugAwIBAgIBATAKBggqhkjOPQQDAjAbMRkwFwYDVQQDDBBweWFtaV9z
eW5jIHRlc3RzMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAxMDAwMDAwWjAbMRkw
FwYDVQQDDBBweWFtaV9zeW5jIHRlc3RzMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcD
QgAEndDrB/K689nSNlIFBfIJCRo5wn0qUQ7YR4Wj/mkZajpFoq0st2/WAKfRsXvH
XdfAYKI8zsrNymfATZMZ8U8zmKNOMEwwGgYDVR0RBBMwEYIJbG9jYWxob3N0hwR/
AAABMA8GA1UdEwEB/wQFMAMBAf8wHQYDVR0OBBYEFLLDAXNM7OScXFEOZygktXNP
ZMc3MAoGCCqGSM49BAMCA0gAMEUCIQCt63S4yrsC3AubrdCVUEEcuTmXk/OYtGRt
SCW9wKtTJgIgYDDWy00UgzOFrhRvUHyqpdQIVoeP9aoBG8QABmESvX0=
-----END CERTIFICATE-----
"""
"""The certificate in PEM form: what a client has to trust (``cadata`` or a CA file)."""

_KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgz2jXrD2CrFSCteCz
uLhLe5FnGbJ3lpikF9AZZnIWcF2hRANCAASd0OsH8rrz2dI2UgUF8gkJGjnCfSpR
DthHhaP+aRlqOkWirSy3b9YAp9Gxe8dd18BgojzOys3KZ8BNkxnxTzOY
-----END PRIVATE KEY-----
"""


def server_context() -> ssl.SSLContext:
    """Return a server's TLS context with the certificate for tests."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # OpenSSL reads a key from a file only.
    with tempfile.TemporaryDirectory(prefix="pyami-") as folder:
        path = os.path.join(folder, "localhost.pem")
        with open(path, "w", encoding="ascii") as file:
            file.write(_KEY + CERTIFICATE)
        context.load_cert_chain(path)
    return context


def client_context() -> ssl.SSLContext:
    """Return a client's TLS context that trusts only the certificate for tests."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=CERTIFICATE)
    return context
