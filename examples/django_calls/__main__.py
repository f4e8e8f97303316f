"""Calls stored by Django: ``python examples/django_calls``, then look at http://127.0.0.1:8000/ (demo, demo).

Without AMI_URL in the environment a telephone system is simulated, with somebody calling all the time. It runs what
a real machine would run as two services: ``manage.py ami_listen`` and a web server.
"""

import os
import secrets
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

HERE = Path(__file__).resolve().parent
MANAGE = [sys.executable, str(HERE / "manage.py")]


def keep_calling(url, stop):
    """Place a call every second or two."""
    from pyami_sync import AMIError, connect

    chosen = secrets.SystemRandom()
    with connect(url, event_mask="off") as ami:
        while not stop.wait(chosen.uniform(0.5, 2.0)):
            number = chosen.randrange(20000, 99999)
            where = {"Context": "default", "Exten": chosen.choice(["106", "107", "101"]), "Priority": 1}
            try:
                ami.originate("Local/100@default/n", CallerID=f'"Caller {number}" <{number}>', **where)
                channels = ami.send("CoreShowChannels").events
                if len(channels) > 12:
                    ami.send("Hangup", Channel=channels[0].channel, check=False)
            except AMIError as exc:
                print(exc, file=sys.stderr)


def terminate(number, frame):
    """End as at Ctrl-C, services and all: a service manager sends SIGTERM to this process alone.

    Sent to the main thread, SIGINT waits there while it is blocked.
    """
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def main():
    signal.signal(signal.SIGTERM, terminate)
    port = sys.argv[1] if len(sys.argv) > 1 else "8000"
    with ExitStack() as stack:
        if not os.environ.get("AMI_URL"):
            from pyami_sync.testing import Simulator

            simulator = stack.enter_context(Simulator())
            os.environ["AMI_URL"] = simulator.url
            stop = threading.Event()
            caller = threading.Thread(target=keep_calling, args=(simulator.url, stop))
            caller.start()
            stack.callback(caller.join)
            stack.callback(stop.set)
        os.environ["DJANGO_DEBUG"] = "1"
        services = []
        # What is blocked here is blocked there: Ctrl-C is for this process, which then ends its services in good order.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            subprocess.run([*MANAGE, "migrate", "--verbosity", "0"], check=True)
            user = ["createsuperuser", "--noinput", "--username", "demo", "--email", "demo@example.org"]
            password = {"DJANGO_SUPERUSER_PASSWORD": "demo"}
            subprocess.run([*MANAGE, *user], env={**os.environ, **password}, capture_output=True)
            for command in (["ami_listen"], ["runserver", "--noreload", port]):
                services.append(subprocess.Popen([*MANAGE, *command]))
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            services[1].wait()
        except KeyboardInterrupt:
            pass
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # once is enough
            for service in services:
                service.terminate()
            for service in services:
                service.wait()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass  # Ctrl-C, before it served
