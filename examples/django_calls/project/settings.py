"""Settings of a project that stores calls; what differs between machines comes from the environment."""

import os
from pathlib import Path

import django

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = os.environ.get("DJANGO_DEBUG") == "1"
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or "only-for-this-example-and-never-in-production-" + "x" * 20
ALLOWED_HOSTS = os.environ.get("DJANGO_HOSTS", "127.0.0.1,localhost").split(",")

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "pyami_sync.integrations.django",
    "calls",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
ROOT_URLCONF = "project.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("CALLS_DATABASE", str(BASE_DIR / "calls.sqlite3")),
        # Readers of the admin and the one that stores don't block each other. A transaction that reads first and then
        # writes takes the lock at its beginning: SQLite refuses to take it later while another process has it.
        "OPTIONS": {"timeout": 20, **({"transaction_mode": "IMMEDIATE"} if django.VERSION >= (5, 1) else {})},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
STATIC_URL = "static/"
USE_TZ = True
# Stored in UTC; this is the zone that the admin shows, and Django's own default is Chicago's.
TIME_ZONE = os.environ.get("DJANGO_TIME_ZONE", "UTC")

PYAMI = {"default": {"URL": os.environ.get("AMI_URL"), "OPTIONS": {"event_mask": "call", "name": "pyami-calls"}}}
