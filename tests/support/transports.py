"""What tests of transports share: reading one to a size or to its end."""

from __future__ import annotations

import select


def readable(channel):
    assert select.select([channel], [], [], 10)[0]


def receive(channel, size):
    """Read until so many bytes are there."""
    found = b""
    while len(found) < size:
        chunk = channel.receive()
        if chunk is None:
            readable(channel)
        else:
            assert chunk, "ended early"
            found += chunk
    return found


def end(channel):
    """Read up to the end of the stream."""
    while (chunk := channel.receive()) != b"":
        if chunk is None:
            readable(channel)
