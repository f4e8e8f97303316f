"""The app that stores calls."""

from django.apps import AppConfig
from django.db.backends.signals import connection_created


class CallsConfig(AppConfig):
    """Connects the receivers of events."""

    name = "calls"

    def ready(self):
        from . import receivers  # noqa: F401 (they connect themselves)

        connection_created.connect(write_ahead, dispatch_uid="calls")


def write_ahead(sender, connection, **kwargs):
    """Let SQLite append to a log instead of rewriting pages: many small writes a second, readers not blocked."""
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA journal_mode = wal")
            cursor.execute("PRAGMA synchronous = normal")
