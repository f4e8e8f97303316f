"""A Django app (extra ``django``).

``settings.py``::

    INSTALLED_APPS = [..., "pyami_sync.integrations.django"]
    PYAMI = {
        "default": {"URL": "ami://admin:secret@pbx", "OPTIONS": {"timeout": 5}},
        "nodes": {"paris": "ami://admin:secret@10.1.0.1", "tokyo": {"url": "ami://10.2.0.1", "tags": ["spare"]}},
    }

``default``, and any further name, is a client: its ``URL`` (the environment's ``AMI_URL`` when there is none) and
``OPTIONS`` of :class:`~pyami_sync.AMIClient`. ``nodes`` is the cluster, as :class:`~pyami_sync.ClusterPool` takes
it.

:func:`get_client` and :func:`get_pool` give them, one per process, opened on first use; workers that a server
forks open their own. ``get_client().call("PJSIP/1101", to="200@internal")`` places a call and says how it went (see
:mod:`pyami_sync.calls`). ``manage.py ami_listen`` sends events as Django signals (see
:mod:`~pyami_sync.integrations.django.signals`), ``manage.py ami`` sends one action.
:mod:`~pyami_sync.integrations.django.health` has a view for load balancers.
"""

from __future__ import annotations

from .. import missing

try:
    import django as _django  # noqa: F401
except ModuleNotFoundError:
    raise missing("Django", "django") from None

from .clients import close_clients, get_client, get_pool

__all__ = ["close_clients", "get_client", "get_pool"]
