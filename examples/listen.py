"""Print hangups, with their causes, as long as it runs (Ctrl-C ends it); losses of the link are shown, too."""

import sys

from server import ami_url

from pyami_sync import connect, events

count = int(sys.argv[1]) if len(sys.argv) > 1 else None

with ami_url() as url, connect(url) as ami:
    with ami.events(events.Hangup, events.ConnectionLost, events.Reconnected) as stream:
        ami.originate("Local/106@default", Application="Wait", Data="1")  # something to see
        print("listening", flush=True)
        for event in stream:
            match event:
                case events.Hangup(cause=16):
                    print(f"{event.channel}: hung up")
                case events.Hangup():
                    print(f"{event.channel}: {event.cause_txt} ({event.cause})")
                case events.ConnectionLost():
                    print(f"the link is lost: {event.reason}")
                case events.Reconnected():
                    print(f"the link is back after {event.gap} s")
            sys.stdout.flush()
            if stream.delivered == count:
                break
