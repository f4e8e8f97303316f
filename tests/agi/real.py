"""Extensions of a real Asterisk that hand calls to scripts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pyami_sync import AMIClient
from tests.asterisk.server import AsteriskServer

DIALPLAN = """
[agi]
exten => _1.,1,AGI(agi:async,${EXTEN:1},one,two words)
 same => n,UserEvent(ScriptEnded,Uniqueid: ${UNIQUEID},Status: ${AGISTATUS},Script: ${AGISCRIPT})
 same => n,Wait(2)
 same => n,Hangup()
exten => _2.,1,AGI(agi://127.0.0.1:@PORT@/${EXTEN:1},one,two words)
 same => n,UserEvent(ScriptEnded,Uniqueid: ${UNIQUEID},Status: ${AGISTATUS},Script: ${AGISCRIPT})
 same => n,Wait(2)
 same => n,Hangup()
exten => sub,1,Set(SUB=${ARG1})
 same => n,Return()
exten => presses,1,Answer()
 same => n,Wait(0.5)
 same => n,SendDTMF(12#)
 same => n,Wait(60)

[sales]
exten => s,1,UserEvent(Arrived,Uniqueid: ${UNIQUEID})
 same => n,Hangup()
"""


@contextmanager
def scripts_dialplan(server: AsteriskServer, port: int) -> Iterator[None]:
    """Add the extensions while a test runs; FastAGI goes to that port."""
    conf = server.run_dir / "etc" / "extensions.conf"
    before = conf.read_text("utf-8")
    conf.write_text(before + DIALPLAN.replace("@PORT@", str(port)), "utf-8")
    server.cli("dialplan reload")
    try:
        yield
    finally:
        conf.write_text(before, "utf-8")
        server.cli("dialplan reload")


def url(server: AsteriskServer) -> str:
    return f"ami://admin:{server.users['admin'].secret}@127.0.0.1:{server.port}"


def place(ami: AMIClient, transport: str, script: str, other: str = "100@default", **headers: str) -> None:
    """Place a call between an extension that stays on the line and one that hands it to a script."""
    exten = {"async": "1", "fast": "2"}[transport] + script
    ami.originate(f"Local/{other}/n", Context="agi", Exten=exten, Priority=1, **headers)
