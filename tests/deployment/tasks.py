"""A Celery application whose client is connected when the module is imported; its queue and its answers are files.

Messages are written beside the queue and moved there: the worker would read one that is half written.
"""

from __future__ import annotations

import os
from pathlib import Path

from celery import Celery

from pyami_sync import ConnectionLost, connect

FOLDER = Path(os.environ["PYAMI_TEST_BROKER"])
app = Celery("tasks", broker="filesystem://")
app.conf.update(
    broker_transport_options={
        "data_folder_in": str(FOLDER / "queue"),
        "data_folder_out": str(FOLDER / "queue"),
        "control_folder": str(FOLDER / "control"),
        "polling_interval": 0.01,
    },
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
)
ami = connect(keepalive=None, timeout=8.0, event_mask="off")
ami.ping()


@app.task(name="ask")
def ask(number: str) -> None:
    """Write down the process id and what the server said."""
    try:
        echo = ami.send("UserEvent", UserEvent="Request", Number=number)
        said = f"{ami.send('Ping')['Ping']} {echo.ok}"
    except ConnectionLost:
        said = "lost"
    draft = FOLDER / f"{number}.draft"
    draft.write_text(f"{os.getpid()} {said}", "ascii")
    draft.rename(FOLDER / "answers" / number)
