"""A program with thirty actions and thirty events, and planted mistakes: what a type checker must find.

Never run; ``tests/test_actions.py`` gives it to mypy. A line that ends in ``# wrong: code`` has a mistake.
"""

# ruff: noqa: B018

from __future__ import annotations

from datetime import datetime

from pyami_sync import AMIClient, ClusterPool, Event, EventStream, Response, actions, events
from pyami_sync.vocabulary.model import ListResponse


def thirty_actions(client: AMIClient) -> None:
    status = client.send(actions.QueueStatus(queue="support"))
    for item in status.events:
        if isinstance(item, events.QueueMember):
            paused: bool | None = item.paused
            print(paused, item.calls_taken)
        elif isinstance(item, events.QueueEntry):
            wait: int | None = item.wait
            print(wait)
        else:
            weight: int | None = item.weight
            print(weight)
    for channel in client.send(actions.CoreShowChannels()).events:
        text: str | None = channel.application
        print(text, channel.caller_id_num)
    summary: ListResponse[events.QueueSummary] = client.send(actions.QueueSummary())
    print(summary.events[0].longest_hold_time)
    for detail in client.send(actions.PJSIPShowEndpoint(endpoint="alice")).events:
        if isinstance(detail, events.EndpointDetail):
            print(detail.rtp_symmetric, detail.max_audio_streams)
    done: Response = client.send(
        actions.Originate(channel="PJSIP/alice", exten="100", context="default", priority=1, async_=True)
    )
    print(done.ok)
    client.send(actions.QueueAdd(queue="support", interface="PJSIP/alice", penalty=1, paused=False))
    client.send(actions.QueuePause(interface="PJSIP/alice", paused=True, reason="lunch"))
    client.send(actions.QueuePenalty(interface="PJSIP/alice", penalty=3))
    client.send(actions.QueueRemove(queue="support", interface="PJSIP/alice"))
    client.send(actions.QueueMemberRingInUse(interface="PJSIP/alice", ring_in_use=True))
    client.send(actions.Hangup(channel="/^PJSIP/", cause=16)).events[0].channel
    client.send(actions.Redirect(channel="x", exten="100", context="default", priority="start"))
    client.send(actions.Setvar(channel="x", variable="A", value="1"))
    client.send(actions.Getvar(variable="A"))
    client.send(actions.Ping(), timeout=1.0)
    client.send(actions.Command(command="core show uptime")).output
    client.send(actions.MixMonitor(channel="x", file="a.wav"))
    client.send(actions.MixMonitorMute(channel="x", direction="both", state=True))
    client.send(actions.StopMixMonitor(channel="x"))
    client.send(actions.Park(channel="x", timeout=45000))
    client.send(actions.ParkedCalls()).events[0].parking_space
    client.send(actions.ConfbridgeMute(conference="1", channel="x"))
    client.send(actions.ConfbridgeList(conference="1")).events[0].talking
    client.send(actions.BlindTransfer(channel="x", exten="100"))
    client.send(actions.Atxfer(channel="x", exten="100"))
    client.send(actions.DBPut(family="a", key="b", val="c"))
    client.send(actions.DBGet(family="a", key="b")).events[0].val
    client.send(actions.UserEvent(user_event="Mine", headers={"A": "1"}))
    client.send(actions.PlayDTMF(channel="x", digit="5", duration=100))
    client.send(actions.MailboxCount(mailbox="100@default"))
    client.send(actions.FAXStats()).events[0].failed_faxes
    client.submit(actions.Reload(module="cdr")).result().ok


def thirty_events(event: Event) -> object:
    match event:
        case events.Hangup(cause=16, channel=channel):
            return channel
        case events.Newchannel(uniqueid=uniqueid) | events.Newstate(uniqueid=uniqueid):
            return uniqueid
        case events.DialBegin(dest_channel=name) | events.DialEnd(dest_channel=name):
            return name
        case events.BridgeEnter():
            number: int | None = event.bridge_num_channels
            return number
        case events.BridgeLeave() | events.BridgeCreate() | events.BridgeDestroy():
            return event.bridge_uniqueid
        case events.QueueCallerJoin() | events.QueueCallerAbandon() | events.QueueCallerLeave():
            return event.position
        case events.AgentConnect() | events.AgentComplete():
            held: int | None = event.hold_time
            return held
        case events.AgentCalled() | events.AgentLogin():
            return event.channel
        case events.QueueMemberPause() | events.QueueMemberStatus() | events.QueueMemberAdded():
            last: datetime | None = event.last_call
            return last
        case events.ConfbridgeJoin() | events.ConfbridgeLeave() | events.ConfbridgeTalking():
            admin: bool | None = event.admin
            return admin
        case events.ParkedCall() | events.UnParkedCall():
            return event.parkee_caller_id_name
        case events.BlindTransfer():
            return event.transferer_channel, event.transferee_channel
        case events.AttendedTransfer():
            return event.orig_transferer_channel, event.dest_type
        case events.VarSet():
            return event.variable, event.value
        case events.UserEvent():
            return event.user_event, event["Anything"]
        case events.Cdr():
            began: datetime | None = event.start_time
            return began, event.billable_seconds
        case events.PeerStatus() | events.ContactStatus():
            return event.name
        case events.MessageWaiting(new=new):
            return new
        case events.InvalidPassword():
            return event.remote_address, event.event_tv
        case events.RTCPReceived():
            jitter: dict[int, str] = event.report_ia_jitter
            return event.rtt, jitter
        case events.ChannelEvent():
            return event.exten
        case events.ConnectionLost() | events.Reconnected():
            return event.received_at
        case _:
            return None


def subscriptions(client: AMIClient) -> None:
    def ended(event: Event) -> None:
        print(event.name)

    client.on(events.Hangup, events.QueueEvent, ended)
    cause: int | None = client.wait_for(events.Hangup, where={"Cause": "16"}, timeout=5).cause
    print(cause, client.wait_for("Hangup", events.QueueEvent).cause)
    with client.events("Queue*", events.ChannelEvent) as stream:
        for event in stream:
            print(event.timestamp)


def exact_streams(client: AMIClient, pool: ClusterPool) -> None:
    for hangup in client.events(events.Hangup, timeout=5):
        text: str | None = hangup.cause_txt
        print(text)
    with pool.events(events.Newchannel, events.Hangup, where={"Context": "default"}, maxsize=10) as stream:
        either: events.Newchannel | events.Hangup = stream.get(5)
        match next(stream):
            case events.Hangup(cause=cause):
                print(cause)
            case newchannel:
                began: events.Newchannel = newchannel
                print(began, either)
    all_four = client.events(events.Newchannel, events.Hangup, events.QueueEvent, events.Cdr)
    wider: EventStream[Event] = all_four
    unnamed: EventStream = wider
    for event in unnamed:
        print(event.channel)
    for event in client.events():
        print(event.channel, event["Channel"])


def names_give_any_attribute(client: AMIClient, names: list[str], mixed: list[str | type[Event]]) -> None:
    print(client.wait_for("Hangup").cause, client.wait_for().cause, client.wait_for(*mixed).cause)
    print(next(client.events(*names)).cause, next(client.events(events.Newchannel, "Hangup")).cause)
    with client.expect("Hangup") as expected:
        print(expected.result(1).cause)
    client.on("Hangup", lambda event: print(event.cause))
    client.on(lambda event: print(event.cause))
    client.on(*names, lambda event: print(event.cause))


def exact_expectations(client: AMIClient, pool: ClusterPool) -> None:
    with client.expect(events.Hangup) as hangup, pool.expect(events.DialBegin, events.DialEnd) as dial:
        cause: int | None = hangup.result(timeout=1).cause
        ended: events.DialBegin | events.DialEnd = dial.result()
        print(cause, ended)
    bridge: events.BridgeEnter | events.BridgeLeave = client.wait_for(events.BridgeEnter, events.BridgeLeave)
    print(bridge.channel)


def exact_callbacks(client: AMIClient, pool: ClusterPool, seen: list[Event]) -> None:
    @client.on(events.Hangup, overflow="drop_oldest")
    def ended(event: events.Hangup) -> None:
        print(event.cause)

    @pool.on(events.Newchannel, events.Hangup)
    def either(event: events.Newchannel | events.Hangup) -> None:
        print(event.channel)

    @client.on("Hangup", events.Newchannel)
    def chosen(event: events.Hangup) -> None:
        print(event.cause)

    @client.on()
    def every(event: Event) -> None:
        print(event.name)

    client.on(events.Hangup, lambda event: print(event.cause))
    client.on(events.Newchannel, events.Hangup, lambda event: print(event.uniqueid), maxsize=10)
    client.on(events.Newchannel, events.Hangup, "Queue*", seen.append)
    client.on(events.Newchannel, "Hangup", seen.append)
    client.on(events.Newchannel, events.Hangup, events.DialBegin, events.DialEnd, events.Cdr, seen.append)
    client.on(events.ChannelEvent, seen.append).cancel()


def placed_calls(client: AMIClient, pool: ClusterPool, wait: bool) -> None:
    queued: Response = client.originate("PJSIP/1101", Application="Wait", Data="1")
    outcome: events.OriginateResponse = client.originate("PJSIP/1101", wait=True, Context="default", Exten="100")
    reason: int | None = pool["paris"].originate("PJSIP/1101", wait=True).reason
    either: Response | events.OriginateResponse = client.originate("PJSIP/1101", wait=wait, timeout=40)
    print(queued.ok, outcome.reason, reason, either["Response"])


def wrong_subscriptions(client: AMIClient, pool: ClusterPool, dialed: EventStream[events.DialBegin]) -> None:
    def new(event: events.Newchannel) -> None:
        print(event.channel)

    client.on(events.Hangup)(new)  # wrong: arg-type
    pool.on(events.Hangup, events.Newchannel)(new)  # wrong: arg-type
    client.on(events.Hangup, new)  # wrong: arg-type
    client.on(events.Hangup, events.Newchannel, events.Cdr, new)  # wrong: arg-type
    client.on(events.Hangup, lambda event: print(event.causes))  # wrong: attr-defined
    for hangup in client.events(events.Hangup):
        hangup.causes  # wrong: attr-defined
    for either in pool.events(events.Hangup, events.Newchannel):
        either.cause  # wrong: union-attr
    dialed.get().dialstatus  # wrong: attr-defined
    other = client.events(events.DialEnd)
    dialed = other  # wrong: assignment
    with client.expect(events.Hangup) as expected:
        expected.result(1).causes  # wrong: attr-defined
    client.wait_for(events.Hangup, events.Newchannel).cause  # wrong: union-attr
    client.events(events.Hangup, overflow="drop_newest")  # wrong: call-overload
    client.originate("PJSIP/1101").reason  # wrong: attr-defined
    client.originate("PJSIP/1101", wait=True).ok  # wrong: attr-defined


def mistakes(client: AMIClient, hangup: events.Hangup, user: events.UserEvent) -> None:
    user.get("Queue", 3)  # wrong: call-overload
    user.get("Queue").lower()  # wrong: union-attr
    print(user.get("Queue", "").lower())
    actions.QueueAdd(queue="support")  # wrong: call-arg
    actions.QueueAdd(queue="support", interface="PJSIP/a", penalty="high")  # wrong: arg-type
    actions.QueueAdd(queue="support", interfaces="PJSIP/a", interface="x")  # wrong: call-arg
    actions.Originate("PJSIP/alice")  # wrong: call-arg
    actions.MixMonitorMute(channel="x", direction="sideways", state=True)  # wrong: arg-type
    actions.UpdateConfig(src_filename="a", dst_filename="b", changes=[{"action": "Nonsense"}])  # wrong: typeddict-item
    client.send(actions.QueueStaus())  # wrong: attr-defined
    client.send(actions.QueueAdd(queue="a", interface="b")).events.first  # wrong: attr-defined
    client.send(actions.QueueSummary()).events[0].longest  # wrong: attr-defined
    member: events.QueueMember = client.send(actions.QueueStatus()).events[0]  # wrong: assignment
    cause: str = hangup.cause_txt  # wrong: assignment
    number: int = hangup.caller_id_num  # wrong: assignment
    hangup.causes  # wrong: attr-defined
    client.wait_for(events.Hangup).causes  # wrong: attr-defined
    hangup.cause = 17  # wrong: assignment
    print(hangup.cause + 1)  # wrong: operator
    print(member, cause, number)
