"""An IVR over FastAGI: ``python ivr.py [PORT]``, and ``AGI(agi://this-host:4573/ivr/en)`` in the dialplan."""

import sys

from pyami_sync.agi import AGICall, FastAGIServer, Router

scripts = Router()


@scripts.route("ivr/{language}")
def ivr(call: AGICall, language: str) -> None:
    call.answer()
    match call.menu("basic-pbx-ivr-main", digits=1, timeout=5, tries=3):
        case "1":
            return call.go_to("sales", "s", 1)
        case "2":
            call.say_digits(call.get_data("vm-enter-num-to-call", max_digits=4))
    call.play("vm-goodbye")
    call.hangup()


FastAGIServer(scripts, port=int(sys.argv[1]) if len(sys.argv) > 1 else 4573).serve_forever()
