"""Log in, wait until the server is booted, list PJSIP endpoints as they come, log off; all bytes are shown.

The steps of AmiClient for .NET's quick start, with reactivex. Needs ``pip install 'pyami-sync[rx]'``.
"""

import sys
import threading

from reactivex import operators as ops
from server import ami_url

from pyami_sync import Action, AMIClient

parted = threading.Event()


def show(direction, raw):
    """Show what goes by on the wire; secrets are replaced. Runs on a thread of its own."""
    mark = "> " if direction == "sent" else "< "
    lines = raw.decode("utf-8", "replace").rstrip("\r\n").split("\r\n")
    sys.stderr.write("".join(f"{mark}{line}\n" for line in lines))
    if "Response: Goodbye" in lines:
        parted.set()


def say(text):
    """Show a step, as one piece between what goes by on the wire."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


with ami_url() as url:
    client = AMIClient.from_url(url, reconnect=False)
    client.on_wire(show)

    # Observe before the cause, so that nothing is missed.
    booted = client.observable("FullyBooted").pipe(ops.first(), ops.replay(buffer_size=1))
    booted.connect()
    with client:  # connects; logs in by challenge, so that the secret itself is never sent
        booted.pipe(ops.timeout(10.0)).run()
        say("fully booted")

        action = Action("PJSIPShowEndpoints").with_action_id("endpoints-1")
        endpoints = client.observable(where={"ActionID": action.action_id}).pipe(
            ops.take_while(lambda event: event.name != "EndpointListComplete"),
            ops.map(lambda event: f"{event['ObjectName']}: {event['DeviceState']}"),
            ops.replay(),
        )
        endpoints.connect()
        client.submit(action)
        endpoints.pipe(ops.timeout(10.0), ops.do_action(say), ops.default_if_empty()).run()
        client.send("Logoff")
        parted.wait(5.0)
        say("logged off")
