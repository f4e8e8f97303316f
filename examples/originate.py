"""Place a call and say how it went: ``python originate.py [CHANNEL [EXTENSION]]``."""

import sys

from server import ami_url

from pyami_sync import connect

channel = sys.argv[1] if len(sys.argv) > 1 else "Local/100@default"
exten = sys.argv[2] if len(sys.argv) > 2 else "106"

with ami_url() as url, connect(url) as ami, ami.call(channel, to=f"{exten}@default", ring=15) as call:
    outcome = call.wait_ended()
    print(f"{channel}: {outcome}, cause {call.cause} ({call.cause_text}), {call.talk_time or 0:.1f} s")
    sys.exit(0 if outcome == "answered" else 1)
