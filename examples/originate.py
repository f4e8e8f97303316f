"""Place a call and wait for its outcome: ``python originate.py [CHANNEL [EXTENSION]]``."""

import sys

from server import ami_url

from pyami_sync import connect

channel = sys.argv[1] if len(sys.argv) > 1 else "Local/100@default"
exten = sys.argv[2] if len(sys.argv) > 2 else "106"

with ami_url() as url, connect(url) as ami:
    outcome = ami.originate(channel, wait=True, Context="default", Exten=exten, Priority=1, ring=15.0)
    print(f"{channel}: {outcome['Response']}")
    sys.exit(0 if outcome["Response"] == "Success" else 1)
