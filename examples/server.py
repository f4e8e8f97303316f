"""Which server the examples talk to: that of AMI_URL, or a simulated telephone system when it is not set."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ami_url() -> Iterator[str]:
    """Give the URL; a simulated server ends with the block."""
    url = os.environ.get("AMI_URL")
    if url:
        yield url
        return
    from pyami_sync.testing import Simulator

    with Simulator() as simulator:
        yield simulator.url
