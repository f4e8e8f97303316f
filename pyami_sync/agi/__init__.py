"""Call scripts in blocking Python: one script, over AsyncAGI (the AMI session) or FastAGI (a server of its own).

::

    from pyami_sync.agi import FastAGIServer, Router

    scripts = Router()

    @scripts.route("ivr/{language}")
    def ivr(call, language):
        call.answer()
        match call.menu("welcome", digits=1, timeout=5, tries=3):
            case "1":
                return call.go_to("sales", "s", 1)
        call.say_digits(call.get_data("enter-number", max_digits=4))
        call.hangup()

    FastAGIServer(scripts).serve_forever()   # or: ami.agi(scripts)

"""

from __future__ import annotations

from .asynchronous import AsyncAGI
from .call import STATUS_VARIABLE, AGICall, Variables
from .commands import ChannelState
from .errors import AGIError, CallLeft, CommandFailed, CommandTimeout, HungUp, InvalidCommand, ScriptNotFound
from .fast import DEFAULT_PORT, FastAGIServer
from .media import Playback, Recording, Speech, SpeechMatch
from .router import Router
from .wire import Environment, Reply

__all__ = [
    "DEFAULT_PORT",
    "STATUS_VARIABLE",
    "AGICall",
    "AGIError",
    "AsyncAGI",
    "CallLeft",
    "ChannelState",
    "CommandFailed",
    "CommandTimeout",
    "Environment",
    "FastAGIServer",
    "HungUp",
    "InvalidCommand",
    "Playback",
    "Recording",
    "Reply",
    "Router",
    "ScriptNotFound",
    "Speech",
    "SpeechMatch",
    "Variables",
]
