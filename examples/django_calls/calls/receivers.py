"""Events of the server become rows.

Each receiver can be given the same event twice, and in a gap some are never given: rows are found by the ids that
the server gave them, and after each login what is stored is compared with the channels that there really are.
"""

from django.db import transaction
from django.dispatch import receiver
from django.utils import timezone

from pyami_sync import events
from pyami_sync.integrations.django.signals import ami_connected, ami_event, ami_events_lost

from .models import Call, Leg


@receiver(ami_event, sender=events.Newchannel)
@transaction.atomic
def begin(event, **kwargs):
    """A channel was made: a call, or one leg more."""
    store(event, event.received_at)


@receiver(ami_event, sender=events.Newstate)
def answer(event, **kwargs):
    """A channel was answered."""
    if event.channel_state_desc == "Up":
        Call.objects.filter(legs__uniqueid=event.uniqueid, answered=None).update(answered=event.received_at)


@receiver(ami_event, sender=events.NewCallerid)
def identify(event, **kwargs):
    """The caller of a call is known now."""
    if event.uniqueid == event.linkedid:
        Call.objects.filter(linkedid=event.linkedid).update(
            caller_number=event.caller_id_num or "", caller_name=event.caller_id_name or ""
        )


@receiver(ami_event, sender=events.Hangup)
@transaction.atomic
def end(event, **kwargs):
    """A channel is gone; with its last one the call is."""
    leg = store(event, event.received_at)
    if leg.ended is None:
        finish(leg, event.received_at, event.cause)


@receiver(ami_connected)
def compare(client, **kwargs):
    """Store calls that began while nobody listened, and end those that ended then."""
    now = timezone.now()
    channels = client.send("CoreShowChannels").events
    with transaction.atomic():
        for channel in channels:
            store(channel, now)
        there = {channel["Uniqueid"] for channel in channels}
        for leg in Leg.objects.filter(ended=None).select_related("call"):
            if leg.uniqueid not in there:
                finish(leg, now, None)  # nobody saw why


@receiver(ami_events_lost)
def compare_after_loss(client, **kwargs):
    """Events are missing: look what there is."""
    compare(client)


def store(event, moment):
    """Find or make the leg of a channel, and its call."""
    leg = Leg.objects.select_related("call").filter(uniqueid=event["Uniqueid"]).first()
    if leg is not None:
        return leg
    first = event["Uniqueid"] == event["Linkedid"]
    call, made = Call.objects.get_or_create(linkedid=event["Linkedid"], defaults={"started": moment})
    if first or made:
        call.channel = event["Channel"]
        call.exten = event.get("Exten", "")
        call.caller_number, call.caller_name = event.caller_id_num or "", event.caller_id_name or ""
    if event.get("ChannelStateDesc") == "Up" and call.answered is None:
        call.answered = moment
    call.ended = call.cause = None  # there is a channel of it
    call.save()
    return Leg.objects.create(call=call, uniqueid=event["Uniqueid"], channel=event["Channel"], started=moment)


def finish(leg, moment, cause):
    """End a leg, and the call with its last leg."""
    leg.ended, leg.cause = moment, cause
    leg.save(update_fields=["ended", "cause"])
    if not leg.call.legs.filter(ended=None).exists():
        Call.objects.filter(pk=leg.call_id).update(ended=moment, cause=cause)
