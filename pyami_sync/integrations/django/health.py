"""A health check of the server, as a function and as a view for monitoring and load balancers.

``urls.py``::

    path("health/ami", health)
"""

from __future__ import annotations

from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from ...exceptions import AMIError
from .clients import get_client

__all__ = ["check_health", "health"]

TIMEOUT = 2.0


def check_health(alias: str = "default", *, timeout: float = TIMEOUT) -> dict[str, Any]:
    """Send a Ping and return ``{"ok": …, "state": …}`` and ``round_trip`` in seconds, or ``error``.

    Blocks for ``timeout`` seconds at most, and for ``connect_timeout`` if there is no session yet.
    """
    try:
        trip = get_client(alias).ping(timeout=timeout)
        return {"ok": True, "state": get_client(alias, opened=False).state.value, "round_trip": round(trip, 6)}
    except AMIError as exc:
        return {"ok": False, "state": get_client(alias, opened=False).state.value, "error": str(exc)}
    except ImproperlyConfigured as exc:
        return {"ok": False, "state": "closed", "error": str(exc)}


@never_cache
@require_safe
def health(request: HttpRequest, alias: str = "default") -> JsonResponse:
    """Respond with 200 if the server answers, otherwise with 503."""
    found = check_health(alias)
    return JsonResponse(found, status=200 if found["ok"] else 503)
