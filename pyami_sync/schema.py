"""Messages as JSON, their JSON Schema and OpenAPI 3.1 components, and what pydantic asks of them.

The JSON form of a message has its typed attributes, converted, and under ``headers`` all that came over the
wire as text, a repeated header as a list. Where that can't give back the very bytes (interleaved repeats,
unusual blanks, text that no encoding fits), ``raw`` holds them in base64. So :func:`from_json` gives back the
same message, always. A value that does not convert is null as an attribute, and in ``headers`` as it came.

Nothing here needs pydantic: its hooks on :class:`~pyami_sync.Message` lead here, and only pydantic calls
them. With it installed, message types are fields and models like any other::

    @app.get("/hangups")
    def hangups() -> list[events.Hangup]: ...

Nothing is hidden: a login or a list of authentication objects has its secrets in its JSON too.
"""

from __future__ import annotations

import base64
import dataclasses
import enum
import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import reduce
from operator import or_
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from . import actions, events, markers
from .action import Action
from .catalogue.answers import ANSWERS
from .fields import Numbered
from .message import LOCAL, Event, Message, Origin, Response, kind_of
from .model import ListAction, ListResponse, TypedAction, TypedEvent, event_class, fields_of
from .version import version

__all__ = ["components", "from_json", "json_schema", "openapi", "to_json"]

M = TypeVar("M", bound=Message)
Schema = dict[str, Any]

REFERENCE = "#/components/schemas/"
HEADERS: Schema = {
    "type": "object",
    "description": "All headers as they were sent; a repeated one is a list.",
    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}
COMMON: Schema = {
    "headers": HEADERS,
    "raw": {"type": "string", "contentEncoding": "base64", "description": "The bytes, where headers can't tell them."},
    "encoding": {"type": "string", "description": "The encoding of text, if not UTF-8."},
    "received_at": {"type": "string", "format": "date-time", "description": "When it was read."},
    "node": {"type": "string", "description": "The cluster's node that it came from."},
}
TEXT: Schema = {"type": ["string", "null"]}


# Messages to JSON


def to_json(message: Message) -> dict[str, Any]:
    """Give the JSON form of a message: a dict of what :mod:`json` can write."""
    made: dict[str, Any] = {}
    if isinstance(message, Event):
        made["event"] = message.name
        made["action_id"] = message.action_id
        made["timestamp"] = plain(usable(lambda: message.timestamp))
    elif isinstance(message, Response):
        made["response"] = message.status
        made["ok"] = message.ok
        made["message"] = message.message
        made["action_id"] = message.action_id
        made["output"] = message.output
        made["events"] = [to_json(event) for event in message.events]
        made["complete"] = None if message.complete is None else to_json(message.complete)
    elif isinstance(message, Action):
        made["action"] = message.name
        made["action_id"] = message.action_id
    for name, field in fields_of(type(message)).items():
        made[name] = plain(usable(lambda field=field: field.__get__(message)))  # type: ignore[misc]
    made["headers"] = headers = message.to_dict()
    origin = message._origin
    if message.to_bytes() != rebuilt(headers, origin.encoding) or not clean(message.to_bytes(), origin.encoding):
        made["raw"] = base64.b64encode(message.to_bytes()).decode("ascii")
        made = printable(made)
    if origin.encoding != LOCAL.encoding:
        made["encoding"] = origin.encoding
    if origin.received:
        made["received_at"] = datetime.fromtimestamp(origin.received, UTC).isoformat()
    if origin.node is not None:
        made["node"] = origin.node
    return made


def usable(read: Callable[[], Any]) -> Any:
    """Read an attribute; None when its text does not convert."""
    try:
        return read()
    except ValueError:
        return None


def plain(value: Any) -> Any:
    """Give what JSON has for a value of an attribute."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {str(name): each for name, each in value.items()}
    return value


def rebuilt(headers: Mapping[str, str | list[str]], encoding: str) -> bytes | None:
    """Give the bytes that headers in their JSON form tell; None when they tell none."""
    try:
        return Message(headers, encoding=encoding).to_bytes()
    except (ValueError, LookupError):
        return None


def clean(raw: bytes, encoding: str) -> bool:
    """Whether all of the bytes are text in that encoding."""
    try:
        raw.decode(encoding)
    except ValueError:
        return False
    return True


def printable(value: Any) -> Any:
    """Replace what is no text, so that any writer of JSON takes it; the bytes are in ``raw``."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [printable(each) for each in value]
    if isinstance(value, dict):
        return {printable(name): printable(each) for name, each in value.items()}
    return value


# JSON to messages


def from_json(data: Mapping[str, Any], cls: type[M] = Message) -> M:  # type: ignore[assignment]
    """Give the message of a JSON form.

    An action may also be given by its arguments alone: ``{"action": "QueueAdd", "queue": "support", …}``,
    without ``"action"`` when ``cls`` is its class. It is checked as any other before it can be sent.

    Args:
        data: what :func:`to_json` gave, read back from JSON.
        cls: the class that it has to be of.

    Raises:
        ValueError: it is no message of that class.

    """
    if not isinstance(data, Mapping):
        raise ValueError(f"the JSON of a {cls.__name__} is an object")
    encoding = data.get("encoding", LOCAL.encoding)
    received = data.get("received_at")
    origin = Origin(encoding, datetime.fromisoformat(received).timestamp() if received else 0.0, data.get("node"))
    if "raw" in data:
        raw = base64.b64decode(data["raw"], validate=True)
    elif isinstance(data.get("headers"), Mapping):
        raw = Message(data["headers"], encoding=encoding).to_bytes()
    elif issubclass(cls, Action) or (cls is Message and "action" in data):
        return of_class(action_of_arguments(data, cls), cls)
    else:
        raise ValueError(f"the JSON of a {cls.__name__} needs its headers")
    return of_class(of_bytes(raw, origin, data), cls)


def of_class(message: Message, cls: type[M]) -> M:
    """Give the message if it is of that class.

    Raises:
        ValueError: it is not.

    """
    if not isinstance(message, cls):
        raise ValueError(f"this is the JSON of a {type(message).__name__}, not of a {cls.__name__}")
    return message


def of_bytes(raw: bytes, origin: Origin, data: Mapping[str, Any]) -> Message:
    """Make a message of bytes: of the class that they are, with what the JSON form says besides."""
    kind: type[Message] = kind_of(raw)
    if kind is Message and "response" in data:
        kind = Response  # an answer of mere text has no header to tell it
    if kind is Message:
        return Message._wire(Message.from_bytes(raw)._raw if raw.strip() else b"", origin)
    if kind is Action:
        # Checked as if it were written here: it may come from anywhere.
        pairs = Message._wire(raw.removesuffix(b"\r\n\r\n"), origin).items()
        checked = Action(pairs[0][1], pairs[1:], encoding=origin.encoding)
        return action_class(checked.name)._wire(checked._raw, origin)
    if kind is Response:
        return response_of(raw, origin, data)
    body = Event.from_bytes(raw)._raw
    name = Event._wire(body, origin).name
    marker = next((cls for cls in (markers.ConnectionLost, markers.Reconnected) if cls.event_name == name), None)
    return (marker or event_class(name.encode(origin.encoding, "surrogateescape")))._wire(body, origin)


def response_of(raw: bytes, origin: Origin, data: Mapping[str, Any]) -> Response:
    """Make a response of bytes, with the events of its list."""
    items = data.get("events") or ()
    cls: type[Response] = ListResponse if items or data.get("complete") else Response
    body = raw.removesuffix(b"\r\n\r\n")
    made = cls._wire(body, origin) if kind_of(body) is Response else cls._text(body, origin)
    made.events = [from_json(item, Event) for item in items]
    complete = data.get("complete")
    made.complete = None if complete is None else from_json(complete, Event)
    made._empty = bool(data.get("ok")) and not made.ok
    return made


def action_of_arguments(data: Mapping[str, Any], cls: type[Message]) -> Action[Any]:
    """Make an action of its arguments."""
    arguments = {name: value for name, value in data.items() if name not in ("action", "encoding")}
    name = data.get("action")
    if name is not None and not isinstance(name, str):
        raise ValueError("the name of an action is text")
    found = action_class(name) if name else cls
    if not issubclass(found, TypedAction):
        if not name:
            raise ValueError("an action needs its name")
        return Action(name, arguments)
    make: Callable[..., Action[Any]] = found
    try:
        for key, field in fields_of(found).items():
            if isinstance(field, Numbered) and isinstance(arguments.get(key), Mapping):
                arguments[key] = list(arguments[key].values())
        return make(**arguments)
    except TypeError as exc:
        raise ValueError(str(exc).replace(f"{found.__name__}.__init__()", found.__name__)) from None


def action_class(name: str) -> type[Action[Any]]:
    """The class of actions of that name."""
    if not _actions:
        _actions.update((cls.action_name.lower(), cls) for cls in typed_actions())
    return _actions.get(name.lower(), Action)


_actions: dict[str, type[Action[Any]]] = {}


def typed_actions() -> Iterator[type[TypedAction[Any]]]:
    """Every class of actions."""
    for cls in vars(actions).values():
        if isinstance(cls, type) and issubclass(cls, TypedAction) and "action_name" in vars(cls) and cls.action_name:
            yield cls


def typed_events() -> Iterator[type[TypedEvent]]:
    """Every class of events and of groups of events, markers included."""
    for name in events.__all__:
        cls = getattr(events, name)
        if isinstance(cls, type):
            yield cls


# Schemas


def json_schema(cls: Any, reference: Callable[[Any], Schema] | None = None) -> Schema:
    """Give the JSON Schema of a type: of messages and dataclasses, and of lists, unions and dicts of them.

    Args:
        cls: the type.
        reference: gives what stands for a message or dataclass within another; by default its whole schema.

    """
    origin = get_origin(cls) or cls
    if not isinstance(origin, type) or not issubclass(origin, Message):
        return type_schema(cls, reference or json_schema)
    refer = reference or json_schema
    doc = (inspect.getdoc(origin) or "").partition("\n")[0]
    properties: Schema = {}
    required: list[str] = []
    if issubclass(origin, Event):
        name = getattr(origin, "event_name", "")
        properties["event"] = {"const": name} if name else {"type": "string"}
        properties["action_id"] = TEXT
        properties["timestamp"] = {"type": ["string", "null"], "format": "date-time"}
        required = ["event", "headers"]
    elif issubclass(origin, Response):
        items = get_args(cls)[0] if get_args(cls) else Event
        properties |= {
            "response": {"type": "string"},
            "ok": {"type": "boolean"},
            "message": {"type": "string"},
            "action_id": TEXT,
            "output": {"type": "array", "items": {"type": "string"}},
            "events": {"type": "array", "items": type_schema(items, refer)},
            "complete": {"anyOf": [refer(Event), {"type": "null"}]},
        }
        required = ["response", "headers"]
    elif issubclass(origin, Action):
        name = getattr(origin, "action_name", "")
        properties["action"] = {"const": name} if name else {"type": "string"}
        properties["action_id"] = TEXT
        if not name:
            required = ["action"]
    properties |= {name: dict(field.kind) for name, field in fields_of(origin).items()}
    if issubclass(origin, TypedAction) and origin.action_name:
        arguments, required = argument_schemas(origin, properties)
        properties |= arguments
    properties |= COMMON
    made: Schema = {"title": origin.__name__, "type": "object", "properties": properties}
    if doc:
        made["description"] = doc
    if required:
        made["required"] = required
    return made


def argument_schemas(cls: type[TypedAction[Any]], fields: Schema) -> tuple[Schema, list[str]]:
    """Give the schemas of an action's arguments, and the names of the required ones."""
    hints = get_type_hints(cls.__init__)
    properties: Schema = {}
    required: list[str] = []
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        if name in ("self", "action_id", "headers"):
            continue
        if parameter.default is inspect.Parameter.empty:
            required.append(name)
        properties[name] = type_schema(hints[name], json_schema)
        if isinstance(getattr(cls, name, None), Numbered):
            properties[name] = {"anyOf": [properties[name], fields[name]]}
    return properties, required


SIMPLE: dict[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    datetime: {"type": "string", "format": "date-time"},
    Any: {},
}


def type_schema(hint: Any, refer: Callable[[Any], Schema]) -> Schema:
    """Give the JSON Schema of a type in an annotation; an empty one, which allows all, for what it knows not."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in SIMPLE:
        return dict(SIMPLE[hint])
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [type_schema(each, refer) for each in args]}
    if isinstance(origin, type) and not issubclass(origin, Message):
        if issubclass(origin, Mapping):
            return {"type": "object", "additionalProperties": type_schema(args[-1], refer)}
        if issubclass(origin, Iterable):
            return {"type": "array", "items": type_schema(args[0], refer)}
    if isinstance(origin or hint, type):
        if issubclass(origin or hint, Message):
            return refer(hint)
        if issubclass(hint, enum.Enum):
            return {"enum": [each.value for each in hint]}
        if dataclasses.is_dataclass(hint):
            return dataclass_schema(hint, refer)
    return {}


def dataclass_schema(cls: Any, refer: Callable[[Any], Schema]) -> Schema:
    """Give the JSON Schema of a dataclass."""
    hints = get_type_hints(cls)
    fields = [field for field in dataclasses.fields(cls) if not field.name.startswith("_")]
    return {
        "title": cls.__name__,
        "type": "object",
        "description": (inspect.getdoc(cls) or "").partition("\n")[0],
        "properties": {field.name: type_schema(hints[field.name], refer) for field in fields},
        "required": [field.name for field in fields],
    }


# OpenAPI


def component_name(cls: Any) -> str:
    """The name of a type among the components."""
    if issubclass(cls, TypedEvent) and cls is not TypedEvent:
        return f"events.{cls.__name__}"
    if issubclass(cls, TypedAction) and cls.__module__ == actions.__name__:
        return f"actions.{cls.__name__}"
    return str(cls.__name__)


def reference_to(cls: Any) -> Schema:
    """Refer to a component."""
    return {"$ref": REFERENCE + component_name(get_origin(cls) or cls)}


def answer_of(cls: type[TypedAction[Any]]) -> Any:
    """The type of a list action's answer, its items told."""
    items = sorted(ANSWERS[cls.action_name.lower()].items)
    classes = tuple(event_class(name.encode()) for name in items)
    # Generics take what is computed just as well, type checkers do not.
    generic: Any = ListResponse
    return generic[reduce(or_, classes)] if classes else generic


def components(*more: type) -> dict[str, Schema]:
    """Give the OpenAPI 3.1 ``components`` of every public type of the library.

    Typed events and actions stand under ``events.…`` and ``actions.…``, the answers of list actions with
    their items under ``responses.…``.

    Args:
        more: further types to include: dataclasses, or message classes of your own.

    """
    schemas: Schema = {cls.__name__: json_schema(cls, reference_to) for cls in (Message, Event, Action, Response)}
    for event in typed_events():
        schemas[component_name(event)] = json_schema(event, reference_to)
    for action in typed_actions():
        schemas[component_name(action)] = json_schema(action, reference_to)
        if issubclass(action, ListAction):
            schemas[f"responses.{action.__name__}"] = json_schema(answer_of(action), reference_to)
    for cls in more:
        schemas[cls.__name__] = json_schema(cls, reference_to)
    return {"schemas": schemas}


def openapi(
    paths: Mapping[str, Any] | None = None,
    *,
    title: str = "Asterisk Manager Interface",
    description: str = "Messages of the Asterisk Manager Interface as JSON.",
    document_version: str = version,
    more: Sequence[type] = (),
) -> dict[str, Any]:
    """Give an OpenAPI 3.1 document with the components of every public type.

    Args:
        paths: the routes of your own; they refer to types as ``#/components/schemas/events.Hangup``.
        title: of your interface.
        description: of your interface.
        document_version: of your interface.
        more: further types, as :func:`components` takes them.

    """
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "description": description, "version": document_version},
        "paths": dict(paths or {}),
        "components": components(*more),
    }


# pydantic


class PydanticType:
    """Stands for a message class within pydantic, which asks it what to do.

    Args:
        cls: the class, or a generic alias of it such as ``ListResponse[events.QueueMember]``.

    """

    def __init__(self, cls: Any) -> None:
        self.cls = cls

    def validate(self, value: Any) -> Message:
        """Take a message as it is, or make one of its JSON form."""
        cls: type[Message] = get_origin(self.cls) or self.cls
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"this is neither a {cls.__name__} nor the JSON of one")
        return from_json(value, cls)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Tell pydantic how to check and to write a value."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(to_json, when_used="json"),
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> Schema:
        """Tell pydantic the JSON Schema."""
        return json_schema(self.cls)
