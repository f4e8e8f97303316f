"""What is given as a variable arrives as it was given; what comes back is not bent either."""

from __future__ import annotations

import pytest

from pyami_sync import Action, AMIClient, InvalidAction

from .conftest import Target

VALUES = {
    "COMMAS": "a,b,,c",
    "QUOTES": 'say "hello"',
    "SINGLE": "it's",
    "BACKSLASH": "back\\slash \\n \\\\ end\\",
    "UNICODE": "Grüße, 📞 \u2028 done",
    "EQUALS": "a=b=c",
    "BLANKS": "in  between",
    "BRACKETS": "(a,b) [c,d] )( ][",
    "EMPTY": "",
    "SEMICOLON": "a;b",
    "MIXED": '\\"a,"b\\,c",d"',
    "PIPE": "a|b&c",
}


@pytest.mark.parametrize("as_mapping", [True, False], ids=["mapping", "originate"])
def test_variables_of_a_call_arrive(target: Target, as_mapping: bool) -> None:
    with target.client(event_mask="off") as ami:
        channel_id = f"quoting-{as_mapping}"
        headers = {"Application": "Wait", "Data": "60", "ChannelId": channel_id, "Async": "yes", "Variable": VALUES}
        if as_mapping:
            ami.send(Action("Originate", {"Channel": "Local/100@default", **headers}))
        else:
            ami.originate("Local/100@default", **headers)
        channel = channel_of(ami, channel_id)
        got = {name: ami.send("Getvar", Channel=channel, Variable=name)["Value"] for name in VALUES}
        ami.send("Hangup", Channel=channel)
    assert got == VALUES


def channel_of(ami: AMIClient, unique_id: str) -> str:
    """Return the name of the channel with this id, as soon as it is answered.

    Before that it may lack the variables: the server lists a channel a moment before it sets them.
    """
    for _ in range(1000):
        for event in ami.send("CoreShowChannels").events:
            if event["Uniqueid"] == unique_id and event["ChannelStateDesc"] == "Up":
                return event["Channel"]
    raise AssertionError(f"no channel {unique_id}")


@pytest.mark.parametrize("value", [*VALUES.values(), "x" * 900], ids=[*VALUES, "LONG"])
def test_setvar_and_getvar_agree(client: AMIClient, value: str) -> None:
    client.send("Setvar", Variable="CONTRACT", Value=value)
    assert client.send("Getvar", Variable="CONTRACT")["Value"] == value


@pytest.mark.parametrize("value", ["plain", "a,b", 'q"q', "back\\slash", "ümläut 📞", "a: b", "trailing  "])
def test_database_values_agree(client: AMIClient, value: str) -> None:
    client.send("DBPut", Family="contract", Key="val", Val=value)
    (item,) = client.send("DBGet", Family="contract", Key="val").events
    client.send("DBDel", Family="contract", Key="val")
    assert item["Val"] == value


@pytest.mark.promise(15)
@pytest.mark.parametrize("bad", ["a\r\nAction: Logoff", "a\nb", "a\rb", "a\0b", "\r\n\r\n", "x" * 1100])
def test_what_would_be_misread_never_leaves(client: AMIClient, bad: str) -> None:
    sent: list[bytes] = []
    client.ping()
    stop = client.on_wire(lambda direction, raw: sent.append(raw))
    for headers in ({"Variable": bad}, {"Variable": "X", "Value": bad}, {bad: "x"}):
        with pytest.raises(InvalidAction):
            client.send("Setvar", **headers)
    with pytest.raises(InvalidAction):
        client.send(bad)
    with pytest.raises(InvalidAction):
        client.originate("Local/100@default", Application="NoOp", Variable={"X": bad})
    stop()
    assert not sent
    assert client.ping() > 0
