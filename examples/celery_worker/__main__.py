"""A Celery worker that talks to Asterisk: ``python examples/celery_worker``.

It runs what a real machine would run as services: the worker with two processes, and the listener; then it places a
few calls by tasks and waits until the worker has been told that they have ended. Queues are files in a folder, and
without AMI_URL a telephone system is simulated, so that nothing needs to be installed.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

from pyami_sync import connect
from pyami_sync.testing import Simulator

HERE = Path(__file__).resolve().parent
CALLS = 3


def start(stack, *args, end=subprocess.Popen.terminate):
    """Run a service until the end."""
    # What is blocked here is blocked there: Ctrl-C is for this process, which then ends its services in good order.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process = stack.enter_context(
            subprocess.Popen([sys.executable, *args], cwd=HERE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(process.wait)
        stack.callback(end, process)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    return process


def end_worker(process):
    """End the worker at once: a signal alone would wait until it looks up from its queue, every few seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is ending already
    process.terminate()
    from tasks import app

    app.control.shutdown()


def terminate(number, frame):
    """End as at Ctrl-C, services and all: a service manager sends SIGTERM to this process alone.

    Sent to the main thread, SIGINT waits there while it is blocked.
    """
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def main():
    signal.signal(signal.SIGTERM, terminate)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        os.environ.update(
            CELERY_BROKER="filesystem://", CELERY_RESULTS=f"file://{folder}", CELERY_FOLDER=folder, PYTHONUNBUFFERED="1"
        )
        if not os.environ.get("AMI_URL"):
            os.environ["AMI_URL"] = stack.enter_context(Simulator()).url
        command = ["-m", "celery", "-A", "tasks", "worker", "-c", "2", "-l", "WARNING", "--without-mingle"]
        worker = start(stack, *command, end=end_worker)
        listener = start(stack, "listener.py")
        listener.stdout.readline()  # "listening"
        import tasks

        with connect() as ami, ami.events("UserEvent", where={"UserEvent": "CallEnded"}, timeout=30) as ended:
            for number in range(CALLS):
                said = tasks.call.delay("Local/100@default", "106").get(timeout=30)
                print(f"call {number}: {said}", flush=True)
            for event in ended:
                print(f"{event['Channel']} ended, said worker {event['Worker']}", flush=True)
                if ended.delivered == 2 * CALLS:  # a Local channel has two halves
                    break
            print(tasks.add_member.delay("support", "Local/101@default").get(timeout=30))
            ami.send("QueueRemove", Queue="support", Interface="Local/101@default")
        assert worker.poll() is None


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
