"""What a real Asterisk 22.10 sent while it made 400 calls."""

from __future__ import annotations

import functools
import lzma
import pathlib

GREETING = b"Asterisk Call Manager/11.0.0\r\n"


@functools.cache
def recorded() -> bytes:
    """The bytes of one connection, from the greeting to a message's end."""
    return lzma.decompress((pathlib.Path(__file__).parent / "asterisk-22.10-400-calls.ami.xz").read_bytes())
