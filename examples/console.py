"""Run a command of the server's console: ``python console.py core show uptime``."""

import sys

from server import ami_url

from pyami_sync import connect

with ami_url() as url, connect(url) as ami:
    print("\n".join(ami.command(" ".join(sys.argv[1:]) or "core show version")))
