"""The app's configuration."""

from __future__ import annotations

from django.apps import AppConfig
from django.core.checks import register

from .checks import check_deployment, check_settings


class PyAMIConfig(AppConfig):
    """Registers the system checks; opens nothing."""

    name = "pyami_sync.integrations.django"
    label = "pyami"
    verbose_name = "Asterisk Manager Interface"

    def ready(self) -> None:
        register(check_settings, "pyami")
        register(check_deployment, "pyami", deploy=True)
