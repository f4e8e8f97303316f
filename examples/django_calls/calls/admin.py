"""Calls in the admin: to be looked at, not to be changed."""

from django.contrib import admin

from .models import Call, Leg


class ReadOnly:
    """Nobody adds, changes or deletes what the telephone system did."""

    def has_add_permission(self, request, obj=None):
        return False

    def has_change_permission(self, request, obj=None):
        return False

    def has_delete_permission(self, request, obj=None):
        return False


class LegInline(ReadOnly, admin.TabularInline):
    """The channels of a call."""

    model = Leg
    extra = 0


@admin.register(Call)
class CallAdmin(ReadOnly, admin.ModelAdmin):
    """All calls, the latest first."""

    list_display = ["started", "caller_number", "caller_name", "exten", "answered", "ended", "duration", "cause"]
    list_display_links = ["started"]
    list_filter = ["started", "cause"]
    search_fields = ["caller_number", "caller_name", "exten", "channel", "linkedid"]
    inlines = [LegInline]

    @admin.display(description="duration")
    def duration(self, call):
        return str(call.ended - call.started).partition(".")[0] if call.ended else "under way"
