"""A feed of queues as lines of JSON, right over lost connections and restarts of the server (Ctrl-C ends it)."""

import json
import sys

from server import ami_url

from pyami_sync import connect
from pyami_sync.live import Queue, to_json

count = int(sys.argv[1]) if len(sys.argv) > 1 else None

with ami_url() as url, connect(url) as ami, ami.live("queues") as live, live.changes(Queue) as changes:
    for queue in live.queues.values():  # as they are now, and then each change
        print(json.dumps(to_json(queue)), flush=True)
    ami.send("QueuePause", Interface="Local/801@members/n", Paused="true")  # something to see
    for number, change in enumerate(changes, 1):
        gone = {"name": change.before.name, "gone": True} if change.before else None
        print(json.dumps(to_json(change.after) if change.after else gone), flush=True)
        if number == count:
            break
