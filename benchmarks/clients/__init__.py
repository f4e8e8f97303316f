"""The clients that are compared, behind one small interface each."""

from __future__ import annotations

from importlib import import_module

from .base import Client, Tally, Unsupported

__all__ = ["CLIENTS", "IN_PYTHON", "LIMITS", "OWN", "PEERS", "Client", "Tally", "Unsupported", "client_class"]

OWN = "pyami_sync"
PEERS = ("asterisk-ami", "panoramisk", "pystrix", "basicami", "pyami_asterisk", "astami")
LIMITS = ("raw-socket", "reader-lock", "split", "batches", "eager")
IN_PYTHON = "in-python"
CLIENTS = (OWN, IN_PYTHON, *PEERS, *LIMITS)

_classes = {
    OWN: "own.PyamiSync",
    IN_PYTHON: "in_python.InPython",
    "asterisk-ami": "threaded.AsteriskAMI",
    "pystrix": "threaded.Pystrix",
    "astami": "threaded.Astami",
    "panoramisk": "asynchronous.Panoramisk",
    "basicami": "asynchronous.BasicAMI",
    "pyami_asterisk": "asynchronous.PyamiAsterisk",
    "raw-socket": "limits.RawSocket",
    "reader-lock": "limits.ReaderAndLock",
    "split": "limits.Split",
    "batches": "limits.Batches",
    "eager": "limits.Eager",
}


def client_class(name: str) -> type[Client]:
    """Import a client by its name; what is not used is not loaded, so that memory can be compared."""
    module, _, attribute = _classes[name].partition(".")
    found: type[Client] = getattr(import_module(f"{__name__}.{module}"), attribute)
    return found
