"""A Celery application that asks Asterisk: the session is opened in the worker's main process, its children fork."""

from __future__ import annotations

import os

from celery import Celery

from pyami_sync import connect

folder = os.environ["PYAMI_TEST_BROKER"]
app = Celery("tasks", broker="filesystem://", backend=f"file://{folder}/results")
app.conf.update(
    broker_transport_options={
        "data_folder_in": f"{folder}/queue",
        "data_folder_out": f"{folder}/queue",
        "control_folder": f"{folder}/control",
        "polling_interval": 0.01,
    },
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=8,
)
# The tests that send tasks import this module, too, and need no session.
ami = connect(event_mask="off", keepalive=0.2, keepalive_timeout=5.0, timeout=20.0) if "AMI_URL" in os.environ else None


@app.task
def ask(unique: str) -> tuple[int, str]:
    """Answer with the process id and what the server says."""
    assert ami is not None
    ami.send("DBPut", Family="tasks", Key=unique, Val=unique)
    (item,) = ami.send("DBGet", Family="tasks", Key=unique).events
    return os.getpid(), item["Val"]
