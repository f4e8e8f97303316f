"""Let a device answer a queue, and see the server tell everybody: ``python queue_member.py [QUEUE [INTERFACE]]``."""

import sys

from server import ami_url

from pyami_sync import ActionError, connect

queue = sys.argv[1] if len(sys.argv) > 1 else "support"
interface = sys.argv[2] if len(sys.argv) > 2 else "Local/101@default"

with ami_url() as url, connect(url) as ami:
    with ami.expect("QueueMemberAdded", where={"Queue": queue, "Interface": interface}) as added:
        try:
            ami.send("QueueAdd", Queue=queue, Interface=interface, MemberName="Example")
        except ActionError as exc:
            sys.exit(str(exc))
        print(f"{added.result(timeout=5).member_name} answers queue {queue}")
    ami.send("QueueRemove", Queue=queue, Interface=interface)
    print("and no more")
