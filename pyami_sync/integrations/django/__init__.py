"""A Django app (extra ``django``).

``settings.py``::

    INSTALLED_APPS = [..., "pyami_sync.integrations.django"]
    PYAMI = {
        "default": {"URL": "ami://admin:secret@pbx", "OPTIONS": {"timeout": 5}},
        "nodes": {"paris": "ami://admin:secret@10.1.0.1", "tokyo": {"url": "ami://10.2.0.1", "tags": ["spare"]}},
    }

``default``, and any further name, is a client: its ``URL`` (by default the environment variable ``AMI_URL``) and
``OPTIONS`` of :class:`~pyami_sync.AMIClient`. ``nodes`` has the nodes of the cluster, as for
:class:`~pyami_sync.ClusterPool`.

:func:`get_client` and :func:`get_pool` return them, one per process, opened on first use; forked workers open their
own. ``get_client().call("PJSIP/1101", to="200@internal")`` places a call (see :mod:`pyami_sync.calls`). ``manage.py
ami_listen`` sends events as Django signals (see :mod:`~pyami_sync.integrations.django.signals`), ``manage.py ami``
sends one action. :mod:`~pyami_sync.integrations.django.health` has a view for load balancers.
"""

from __future__ import annotations

from .. import missing

try:
    import django as _django  # noqa: F401
except ModuleNotFoundError:
    raise missing("Django", "django") from None

from .clients import close_clients, get_client, get_pool

__all__ = ["close_clients", "get_client", "get_pool"]
