"""A project of one file whose server starts itself again when that file changes: ``flask run`` and ``runserver``."""

FLASK = """
import os
from flask import Flask
from pyami_sync import ConnectionLost
from pyami_sync.integrations.flask import AMI

app = Flask(__name__)
ami = AMI()
ami.init_app(app)

@app.get("/q")
def question():
    try:
        echo = ami.client.send("UserEvent", UserEvent="Request")
        return f"{os.getpid()} {ami.client.send('Ping')['Ping']} {echo.ok}"
    except ConnectionLost:
        return f"{os.getpid()} lost"
"""

DJANGO = """
import os, sys
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.urls import path
from pyami_sync import ConnectionLost
from pyami_sync.integrations.django import get_client

DEBUG = True
SECRET_KEY = "of a test"
ALLOWED_HOSTS = ["127.0.0.1"]
ROOT_URLCONF = "site_of_test"
INSTALLED_APPS = ["pyami_sync.integrations.django"]
PYAMI = {"default": {"URL": os.environ["AMI_URL"]}}

def question(request):
    try:
        echo = get_client().send("UserEvent", UserEvent="Request")
        return HttpResponse(f"{os.getpid()} {get_client().send('Ping')['Ping']} {echo.ok}")
    except ConnectionLost:
        return HttpResponse(f"{os.getpid()} lost")

urlpatterns = [path("q", question)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
"""
