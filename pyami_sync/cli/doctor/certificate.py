"""Parses certificates that are not trusted, which Python's ssl module does not parse."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

__all__ = ["common_name", "moment", "validity"]


def moment(when: datetime) -> str:
    """Return a time as readable text."""
    return f"{when:%Y-%m-%d %H:%M} UTC"


def validity(der: bytes) -> tuple[datetime, datetime] | None:
    """Return the beginning and end of a certificate's validity; None if its DER can't be parsed."""
    try:
        body = _elements(_elements(_elements(der)[0][1])[0][1])
        if body[0][0] == 0xA0:  # the version, which the oldest certificates lack
            del body[0]
        begin, end = _elements(body[3][1])  # serial number, algorithm, issuer, validity
        return _time(*begin), _time(*end)
    except (IndexError, ValueError):
        return None


def _time(tag: int, text: bytes) -> datetime:
    form = "%y%m%d%H%M%SZ" if tag == 0x17 else "%Y%m%d%H%M%SZ"
    return datetime.strptime(text.decode("ascii"), form).replace(tzinfo=UTC)


def _elements(der: bytes) -> list[tuple[int, bytes]]:
    """Return the tags and contents of a sequence of DER elements."""
    found = []
    at = 0
    while at < len(der):
        tag, size, at = der[at], der[at + 1], at + 2
        if size >= 0x80:
            count = size & 0x7F
            size, at = int.from_bytes(der[at : at + count], "big"), at + count
        found.append((tag, der[at : at + size]))
        at += size
    return found


def common_name(certificate: dict[str, Any]) -> str:
    """Return the name of the certificate's subject; empty if it has none."""
    subject = certificate.get("subject", ())
    return next((str(value) for part in subject for key, value in part if key == "commonName"), "")
