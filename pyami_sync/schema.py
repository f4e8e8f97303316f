"""JSON, JSON Schema and OpenAPI 3.1 components of messages, and their support for pydantic.

The JSON form keeps all headers in order, repeated ones included.

This module does not import pydantic; pydantic calls its hooks on :class:`~pyami_sync.Message`, which are implemented
here. With pydantic installed, message types can be used as fields and models::

    @app.get("/hangups")
    def hangups() -> list[events.Hangup]: ...

    @app.post("/members")
    def add(member: Annotated[actions.QueueAdd, Body()]) -> None: ...
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from . import actions
from .version import version
from .vocabulary.catalogue.answers import ANSWERS
from .vocabulary.fields import Numbered
from .vocabulary.jsonform import from_json, to_json, typed_actions, typed_events
from .vocabulary.model import ListAction, ListResponse, TypedAction, TypedEvent, event_class, fields_of
from .wire.action import Action
from .wire.message import Event, Message
from .wire.response import Response

__all__ = ["components", "from_json", "json_schema", "openapi", "to_json"]

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/"
HEADERS: Schema = {
    "type": "object",
    "description": "All headers as they were sent; a repeated one is a list.",
    "additionalProperties": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]},
}
COMMON: Schema = {
    "headers": HEADERS,
    "order": {"type": "array", "items": {"type": "string"}, "description": "Names of headers in wire order."},
    "raw": {"type": "string", "contentEncoding": "base64", "description": "The bytes, where headers can't tell them."},
    "encoding": {"type": "string", "description": "The encoding of text, if not UTF-8."},
    "received_at": {"type": "string", "format": "date-time", "description": "When it was read."},
    "node": {"type": "string", "description": "The cluster's node that it came from."},
}
TEXT: Schema = {"type": ["string", "null"]}


# Schemas


def json_schema(cls: Any, reference: Callable[[Any], Schema] | None = None) -> Schema:
    """Return the JSON Schema of a type: of messages and dataclasses, and of lists, unions and dicts of them.

    Args:
        cls: the type.
        reference: returns the schema to use for a message or dataclass within another; by default its whole schema.

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
    """Return the schemas of an action's arguments, and the names of the required ones."""
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
    """Return the JSON Schema of a type in an annotation; an empty one, which allows everything, for an unknown type."""
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
    """Return the JSON Schema of a dataclass."""
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
    """Return the name of a type among the components."""
    if issubclass(cls, TypedEvent) and cls is not TypedEvent:
        return f"events.{cls.__name__}"
    if issubclass(cls, TypedAction) and cls.__module__ == actions.__name__:
        return f"actions.{cls.__name__}"
    return str(cls.__name__)


def reference_to(cls: Any) -> Schema:
    """Return a reference to a component."""
    return {"$ref": REFERENCE + component_name(get_origin(cls) or cls)}


def answer_of(cls: type[TypedAction[Any]]) -> Any:
    """Return the type of an action's answer, with the types of a list's items."""
    items = sorted(ANSWERS[cls.action_name.lower()].items)
    classes = tuple(event_class(name.encode()) for name in items)
    # Type checkers do not accept computed arguments of generics.
    generic: Any = ListResponse
    return generic[reduce(or_, classes)] if classes else generic


def components(*more: type) -> dict[str, Schema]:
    """Return the OpenAPI 3.1 ``components`` of every public type of the library.

    Typed events and actions are named ``events.…`` and ``actions.…``; the answers of list actions, with their items,
    ``responses.…``.

    Args:
        more: further types to include: dataclasses, or your own message classes.

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
    """Return an OpenAPI 3.1 document with the components of every public type.

    Args:
        paths: your routes; they refer to types as ``#/components/schemas/events.Hangup``.
        title: of your interface.
        description: of your interface.
        document_version: of your interface.
        more: further types, as for :func:`components`.

    """
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "description": description, "version": document_version},
        "paths": dict(paths or {}),
        "components": components(*more),
    }


# pydantic


class PydanticType:
    """Represents a message class within pydantic.

    Args:
        cls: the class, or a generic alias of it such as ``ListResponse[events.QueueMember]``.

    """

    def __init__(self, cls: Any) -> None:
        self.cls = cls

    def validate(self, value: Any) -> Message:
        """Return a message as it is, or the message with a JSON form."""
        cls: type[Message] = get_origin(self.cls) or self.cls
        if isinstance(value, cls):
            return value
        if not isinstance(value, Mapping):
            raise ValueError(f"this is neither a {cls.__name__} nor the JSON of one")
        return from_json(value, cls)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        """Return the schema with which pydantic validates and serialises a value."""
        from pydantic_core import core_schema

        return core_schema.no_info_plain_validator_function(
            self.validate,
            serialization=core_schema.plain_serializer_function_ser_schema(to_json, when_used="json"),
        )

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> Schema:
        """Return the JSON Schema for pydantic."""
        return json_schema(self.cls)
