"""Which server the examples talk to: that of AMI_URL, or a simulated telephone system when it is not set."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ami_url() -> Iterator[str]:
    """Give the URL; a simulated server ends with the block. Ctrl-C ends the script, without a traceback."""
    url = os.environ.get("AMI_URL")
    try:
        if url:
            yield url
            return
        from pyami_sync.testing import Simulator

        with Simulator() as simulator:
            yield simulator.url
    except KeyboardInterrupt:
        sys.exit(130)
