"""Tasks that talk to Asterisk.

The pattern: one client per worker process, opened by the first task that needs it and closed with the process. A
prefork worker imports this module before it forks, so nothing is opened here.

What may be tried again: an action that has certainly not reached the server. One that may have run is not sent
twice, since a second Originate is a second call; the task fails and says so.
"""

import os
import threading
from contextlib import contextmanager

from celery import Celery
from celery.signals import worker_process_shutdown, worker_shutdown

from pyami_sync import ActionTimeout, AMIClient, ConnectError, ConnectionLost

app = Celery("calls")
app.conf.update(
    broker_url=os.environ.get("CELERY_BROKER", "memory://"),
    result_backend=os.environ.get("CELERY_RESULTS", "cache+memory://"),
    broker_connection_retry_on_startup=True,
    worker_hijack_root_logger=False,
)
folder = os.environ.get("CELERY_FOLDER")
if folder:  # queues in a folder, for a worker without a broker
    app.conf.broker_transport_options = {
        "data_folder_in": folder,
        "data_folder_out": folder,
        "control_folder": os.path.join(folder, "control"),
        "polling_interval": 0.1,
    }

client = AMIClient.from_url(os.environ.get("AMI_URL"), name="pyami-task", event_mask="call,dialplan")
opening = threading.Lock()


def ami():
    """This process's client, open. (Opening an open one does nothing.)"""
    with opening:
        return client.open()


@worker_process_shutdown.connect
@worker_shutdown.connect
def log_off(**kwargs):
    """Leave in good order."""
    client.close()


@app.task(bind=True, max_retries=5)
def add_member(self, queue, interface):
    """Let a device answer a queue."""
    return send(self, "QueueAdd", Queue=queue, Interface=interface)


@app.task(bind=True, max_retries=5)
def call(self, channel, exten):
    """Place a call, wait until it is over, and say how it went."""
    with retrying(self):
        made = ami().call(channel, to=f"{exten}@default", hangup_on_exit=False)
    outcome = made.wait_ended()
    return {"outcome": outcome.value, "cause": made.cause, "seconds": made.talk_time}


@app.task(bind=True, max_retries=5)
def on_hangup(self, event):
    """Do something about a call that has ended (here: tell everybody); started by the listener, once per event."""
    headers = {"Channel": event["Channel"], "Cause": event["Cause"], "Worker": os.getpid()}
    return send(self, "UserEvent", UserEvent="CallEnded", **headers)


def send(task, action, **headers):
    """Send an action; try the task again later if the server has certainly not seen it."""
    with retrying(task):
        return ami().send(action, **headers).message


@contextmanager
def retrying(task):
    """Try the task again later if the block failed before the server can have seen anything of it."""
    try:
        yield
    except ConnectError as exc:
        raise task.retry(exc=exc, countdown=2**task.request.retries) from None
    except (ConnectionLost, ActionTimeout) as exc:
        if exc.sent:
            raise  # it may have run
        raise task.retry(exc=exc, countdown=2**task.request.retries) from None
