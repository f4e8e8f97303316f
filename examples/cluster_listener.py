"""Watch many servers: print every hangup with its node, and every change of a node.

::

    python cluster_listener.py nodes.toml

with a file such as::

    [defaults]
    username = "listener"
    secret_env = "AMI_SECRET"

    [nodes.paris]
    url = "ami://10.1.0.1"
    tags = ["eu"]

    [nodes.tokyo]
    url = "amis://10.2.0.1"

Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from typing import Any

from pyami_sync import ClusterPool, NodeHealth

log = logging.getLogger("listener")


def main() -> None:
    """Listen until Ctrl-C."""
    parser = argparse.ArgumentParser(description="Watch many Asterisk servers.")
    parser.add_argument("config", help="TOML file that names the nodes")
    # Callbacks of different subscriptions run at the same time: print() would mix up their lines.
    logging.basicConfig(format="%(message)s", level=logging.INFO, stream=sys.stdout)
    logging.getLogger("pyami_sync").setLevel(logging.ERROR)  # health() below tells the same
    pool = ClusterPool(parser.parse_args().config)

    # Callbacks run one at a time and may block: no node waits for them.
    @pool.on("Hangup")
    def hangup(event: Any) -> None:
        log.info("%s: %s hung up: %s", event.node, event["Channel"], event.get("Cause-txt", "no cause given"))

    @pool.on("ConnectionLost", "Reconnected")
    def gap(event: Any) -> None:
        # Events between the two are missing: here one would read the node's state again.
        log.info("%s: %s", event.node, event.name)

    @pool.on_health
    def health(node: NodeHealth) -> None:
        log.info("%s: %s, %s", node.node, node.state.value, node.last_error or "well")

    try:
        with pool:
            ready = pool.probe()
            log.info("%d of %d nodes are there", ready.up, ready.total)
            pool.wait_closed()
    except KeyboardInterrupt:
        log.info("bye")


if __name__ == "__main__":
    main()
