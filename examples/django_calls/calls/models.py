"""Calls and their legs."""

from django.db import models


class Call(models.Model):
    """Channels that belong together: all with the same ``Linkedid``."""

    linkedid = models.CharField(max_length=150, unique=True)
    channel = models.CharField("first channel", max_length=200, blank=True)
    caller_number = models.CharField(max_length=80, blank=True)
    caller_name = models.CharField(max_length=80, blank=True)
    exten = models.CharField("dialled", max_length=80, blank=True)
    started = models.DateTimeField()
    answered = models.DateTimeField(null=True)
    ended = models.DateTimeField(null=True, db_index=True)
    cause = models.IntegerField("hangup cause", null=True)

    class Meta:
        ordering = ["-started", "-pk"]

    def __str__(self):
        return f"{self.caller_number or self.channel} → {self.exten or '?'}"


class Leg(models.Model):
    """One channel of a call."""

    call = models.ForeignKey(Call, on_delete=models.CASCADE, related_name="legs")
    uniqueid = models.CharField(max_length=150, unique=True)
    channel = models.CharField(max_length=200)
    started = models.DateTimeField()
    ended = models.DateTimeField(null=True)
    cause = models.IntegerField("hangup cause", null=True)

    class Meta:
        ordering = ["pk"]
        indexes = [models.Index(fields=["call", "ended"])]

    def __str__(self):
        return self.channel
