"""Self-made certificates for the TLS port of the servers, and wrong ones to be refused."""

from __future__ import annotations

import dataclasses
import pathlib
import subprocess


@dataclasses.dataclass(frozen=True)
class Certificates:
    """Where the PEM files are; the keys carry no passphrase."""

    ca: pathlib.Path
    """Signed the server's and the client's certificate."""
    server_cert: pathlib.Path
    """For localhost and 127.0.0.1."""
    server_key: pathlib.Path
    client_cert: pathlib.Path
    client_key: pathlib.Path
    other_ca: pathlib.Path
    """Signed none of them: a client that trusts only this one must refuse the server."""


def make_certificates(directory: pathlib.Path) -> Certificates:
    """Make both authorities and the certificates in `directory`, which must exist."""
    ca, ca_key = _authority(directory, "ca", "pyami_sync test CA")
    other_ca, _ = _authority(directory, "other-ca", "unrelated test CA")
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth"
    server_cert, server_key = _leaf(directory, "server", "localhost", names, ca, ca_key)
    client_cert, client_key = _leaf(directory, "client", "client", "extendedKeyUsage=clientAuth", ca, ca_key)
    return Certificates(ca, server_cert, server_key, client_cert, client_key, other_ca)


def _authority(directory: pathlib.Path, name: str, subject: str) -> tuple[pathlib.Path, pathlib.Path]:
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
    _openssl("req", "-x509", *_new_key(key), "-out", str(cert), "-days", "3650", "-subj", f"/CN={subject}", *usage)
    return cert, key


def _leaf(
    directory: pathlib.Path, name: str, subject: str, extensions: str, ca: pathlib.Path, ca_key: pathlib.Path
) -> tuple[pathlib.Path, pathlib.Path]:
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    request, extension_file = directory / f"{name}.csr", directory / f"{name}.ext"
    extension_file.write_text(
        f"{extensions}\nbasicConstraints=CA:FALSE\nauthorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n",
        "ascii",
    )
    _openssl("req", *_new_key(key), "-out", str(request), "-subj", f"/CN={subject}")
    signed_by = ("-CA", str(ca), "-CAkey", str(ca_key), "-CAcreateserial")
    extended = ("-extfile", str(extension_file), "-days", "3650")
    _openssl("x509", "-req", "-in", str(request), *signed_by, *extended, "-out", str(cert))
    return cert, key


def _new_key(key: pathlib.Path) -> tuple[str, ...]:
    return ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(key))


def _openssl(*arguments: str) -> None:
    done = subprocess.run(("openssl", *arguments), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"openssl {arguments[0]} failed:\n{done.stderr}")
