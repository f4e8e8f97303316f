"""Click to call, as a web service of one process: ``python click_to_call.py [PORT]``.

POST /calls/AGENT/CUSTOMER  calls the agent's telephone, then the customer
GET /calls/ID               how it went, or how far it is
"""

import sys

from flask import Flask, abort
from server import ami_url

from pyami_sync import connect


def create_app(ami):
    app, calls = Flask(__name__), {}

    @app.post("/calls/<agent>/<customer>")
    def place(agent, customer):
        if not (agent.isalnum() and customer.isdecimal()):
            abort(400)  # what comes from outside is part of a device's name and of the dialplan
        call = ami.call(f"PJSIP/{agent}", to=f"{customer}@default", ring=30, caller_id=f"Click to call <{customer}>")
        calls[call.id] = call
        return {"id": call.id}, 202

    @app.get("/calls/<call_id>")
    def status(call_id):
        call = calls.get(call_id) or abort(404)
        return {"agent": call.outcome, "customer": call.connected, "cause": call.cause_text, "seconds": call.talk_time}

    return app


if __name__ == "__main__":
    with ami_url() as url, connect(url) as ami:
        create_app(ami).run("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8000, threaded=True)
