"""A simulator on the address and port given, until its input ends."""

from __future__ import annotations

import sys

from pyami_sync.testing import Simulator

with Simulator(host=sys.argv[1], port=int(sys.argv[2])):
    print("ready", flush=True)
    sys.stdin.read()
