"""A wallboard of a call centre: ``python examples/wallboard``, then look at http://127.0.0.1:8000/.

Without AMI_URL (or AMI_NODES) in the environment a telephone system is simulated, with somebody calling the queue all
the time. ``?queue=support,sales`` and ``?server=paris`` choose what a screen shows. The operator's page, which acts, is
there when WALLBOARD_PASSWORD is set.
"""

import os
import random
import sys
import threading
from contextlib import ExitStack

from app import close, create_app

from pyami_sync import AMIError, connect


def keep_calling(url, stop):
    """Call the queue, and one another, every few seconds."""
    with connect(url, event_mask="off") as ami:
        while not stop.wait(random.uniform(1.0, 4.0)):
            number = random.randrange(20000, 99999)
            exten = random.choice(["500", "500", "106", "101", "501"])
            try:
                channels = ami.send("CoreShowChannels").events
                if len(channels) > 10:
                    ami.send("Hangup", Channel=random.choice(channels).channel, check=False)
                where = {"Context": "default", "Exten": exten, "Priority": 1}
                ami.originate("Local/100@default/n", CallerID=f'"Caller {number}" <{number}>', **where)
            except AMIError as exc:
                print(exc, file=sys.stderr)


def main():
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    with ExitStack() as stack:
        if not os.environ.get("AMI_URL") and not os.environ.get("AMI_NODES"):
            from pyami_sync.testing import Simulator

            simulator = stack.enter_context(Simulator())
            os.environ["AMI_URL"] = simulator.url
            stop = threading.Event()
            caller = threading.Thread(target=keep_calling, args=(simulator.url, stop))
            caller.start()
            stack.callback(caller.join)
            stack.callback(stop.set)
        app = create_app()
        stack.callback(close, app)
        app.run("127.0.0.1", port, threaded=True)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass  # Ctrl-C, before it served
