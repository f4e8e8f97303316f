"""The admin, and what a load balancer asks."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from pyami_sync.integrations.django.health import health

urlpatterns = [
    path("admin/", admin.site.urls),
    path("health/ami", health),
    path("", RedirectView.as_view(pattern_name="admin:calls_call_changelist")),
]
