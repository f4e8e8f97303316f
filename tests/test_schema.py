"""Schemas of messages, and web frameworks that use them."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
import lzma
import subprocess
import sys
from datetime import datetime
from typing import Annotated, Any

import flask
import jsonschema
import pytest
from fastapi import Body, FastAPI
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import BaseModel, TypeAdapter, ValidationError

from pyami_sync import Event, actions, events, schema
from pyami_sync.vocabulary.model import ListResponse
from tests.support.samples import HANGUP, LIST, TRAFFIC
from tests.support.vocabulary import typed_events


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """The OpenAPI document of everything."""
    return schema.openapi()


def test_document_is_valid(document: dict[str, Any]) -> None:
    errors = list(OpenAPIV31SpecValidator(document).iter_errors())
    assert not errors
    json.dumps(document, allow_nan=False)


def test_document_has_every_type(document: dict[str, Any]) -> None:
    names = set(document["components"]["schemas"])
    assert {"Message", "Event", "Response", "Action"} <= names
    assert {f"actions.{name}" for name in actions.__all__} <= names
    assert {f"events.{name}" for name in events.__all__ if isinstance(getattr(events, name), type)} <= names
    assert {"responses.QueueStatus", "responses.PJSIPShowEndpoint"} <= names
    items = document["components"]["schemas"]["responses.QueueStatus"]["properties"]["events"]["items"]
    assert sorted(each["$ref"].rpartition("/")[2] for each in items["anyOf"]) == [
        "events.QueueEntry",
        "events.QueueMember",
        "events.QueueParams",
    ]


def test_schemas_say_what_is_required(document: dict[str, Any]) -> None:
    found = document["components"]["schemas"]["actions.QueueAdd"]
    assert found["required"] == ["queue", "interface"]
    assert found["properties"]["penalty"] == {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    control = document["components"]["schemas"]["actions.ControlPlayback"]["properties"]["control"]
    assert control == {"enum": ["stop", "forward", "reverse", "pause", "restart"]}


def test_json_fits_its_schema(document: dict[str, Any]) -> None:
    components = {"components": document["components"]}
    samples = typed_events(lzma.decompress(TRAFFIC.read_bytes()))[:2000:20]
    for message in (HANGUP, *samples):
        reference = {"$ref": f"#/components/schemas/events.{type(message).__name__}"}
        jsonschema.Draft202012Validator({**reference, **components}).validate(schema.to_json(message))
    reference = {"$ref": "#/components/schemas/responses.QueueStatus"}
    jsonschema.Draft202012Validator({**reference, **components}).validate(schema.to_json(LIST))
    reference = {"$ref": "#/components/schemas/actions.Originate"}
    made = schema.to_json(actions.Originate(channel="x", variable={"A": "1"}, timeout=5))
    jsonschema.Draft202012Validator({**reference, **components}).validate(made)


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Health:
    """A dataclass of one's own."""

    name: str
    seen: datetime | None
    last: events.Hangup | None
    colours: tuple[Colour, ...]
    by_name: dict[str, float]
    other: complex = 0j


def test_types_of_ones_own() -> None:
    document = schema.openapi(
        {"/x": {"get": {"responses": {"200": {"description": "ok"}}}}}, more=[Health], title="Mine"
    )
    assert document["info"]["title"] == "Mine"
    found = document["components"]["schemas"]["Health"]
    assert found["properties"] == {
        "name": {"type": "string"},
        "seen": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        "last": {"anyOf": [{"$ref": "#/components/schemas/events.Hangup"}, {"type": "null"}]},
        "colours": {"type": "array", "items": {"enum": ["red"]}},
        "by_name": {"type": "object", "additionalProperties": {"type": "number"}},
        "other": {},
    }
    assert not list(OpenAPIV31SpecValidator(document).iter_errors())


# Frameworks


class Report(BaseModel):
    hangup: events.Hangup
    others: list[Event] = []
    answer: ListResponse[events.QueueMember] | None = None
    action: actions.QueueAdd | None = None


def test_pydantic_fields() -> None:
    report = Report(hangup=HANGUP, others=[HANGUP], answer=LIST, action=actions.QueueAdd(queue="a", interface="b"))
    assert report.hangup is HANGUP
    text = report.model_dump_json()
    assert json.loads(text)["hangup"]["cause"] == 16
    again = Report.model_validate_json(text)
    assert again.hangup == HANGUP
    assert type(again.others[0]) is events.Hangup
    assert again.answer is not None
    assert again.answer.events == LIST.events
    assert again.action == report.action
    made = Report.model_json_schema()
    assert made["properties"]["hangup"]["properties"]["cause"] == {"type": ["integer", "null"]}
    with pytest.raises(ValidationError, match="not of a Hangup"):
        Report(hangup={"headers": {"Event": "Newchannel"}})  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="neither a Hangup nor the JSON of one"):
        Report(hangup="Hangup")  # type: ignore[arg-type]


def test_pydantic_schema_of_every_event() -> None:
    for name in events.__all__:
        cls = getattr(events, name)
        if isinstance(cls, type):
            jsonschema.Draft202012Validator.check_schema(TypeAdapter(cls).json_schema())


def ask(app: FastAPI, method: str, path: str, data: Any = None) -> tuple[int, Any]:
    """Call a route as an ASGI server does; give the status and the JSON of the answer."""
    sent: list[dict[str, Any]] = []
    body = b"" if data is None else json.dumps(data).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
    }
    scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "headers": headers}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    answer = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], json.loads(answer)


def test_fastapi_routes() -> None:
    app = FastAPI()

    @app.get("/hangups")
    def hangups() -> list[events.Hangup]:
        return [HANGUP]

    @app.get("/queue")
    def queue() -> ListResponse[events.QueueMember]:
        return LIST

    @app.post("/members")
    def add(action: Annotated[actions.QueueAdd, Body()]) -> dict[str, Any]:
        return {"queue": action.queue, "penalty": action.penalty}

    status, (found,) = ask(app, "GET", "/hangups")
    assert (status, found["cause"], found["headers"]["X-New"]) == (200, 16, "1")
    assert schema.from_json(found) == HANGUP
    assert ask(app, "GET", "/queue")[1]["events"][0]["paused"] is True
    posted = {"queue": "a", "interface": "b", "penalty": 2}
    assert ask(app, "POST", "/members", posted) == (200, {"queue": "a", "penalty": 2})
    assert ask(app, "POST", "/members", {"queue": "a\r\nAction: Originate", "interface": "b"})[0] == 422
    document = ask(app, "GET", "/openapi.json")[1]
    assert not list(OpenAPIV31SpecValidator(document).iter_errors())
    answer = document["paths"]["/hangups"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer["items"]["properties"]["cause"] == {"type": ["integer", "null"]}
    jsonschema.Draft202012Validator(answer).validate([found])


def test_flask_routes() -> None:
    app = flask.Flask(__name__)

    @app.get("/hangups")
    def hangups() -> flask.Response:
        return flask.jsonify([schema.to_json(HANGUP)])

    @app.get("/openapi.json")
    def document() -> flask.Response:
        content = {
            "application/json": {"schema": {"type": "array", "items": {"$ref": f"{schema.REFERENCE}events.Hangup"}}}
        }
        answers = {"200": {"description": "calls that ended", "content": content}}
        return flask.jsonify(schema.openapi({"/hangups": {"get": {"responses": answers}}}))

    client = app.test_client()
    found = client.get("/hangups").get_json()
    served = client.get("/openapi.json").get_json()
    assert not list(OpenAPIV31SpecValidator(served).iter_errors())
    answer = served["paths"]["/hangups"]["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**answer, "components": served["components"]}).validate(found)
    assert schema.from_json(found[0]) == HANGUP


def test_core_needs_no_pydantic() -> None:
    code = (
        "import sys; import pyami_sync.schema as s; s.openapi(); s.to_json(s.Event([('Event', 'X')]));"
        "print([m for m in ('pydantic', 'pydantic_core', 'typing_extensions') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, encoding="utf-8")
    assert done.stdout.strip() == "[]"
