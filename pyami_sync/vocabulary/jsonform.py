"""Conversion of messages to JSON and back: :func:`to_json` and :func:`from_json`.

The JSON form of a message has its typed attributes, converted, and under ``headers`` all that came over the
wire as text, a repeated header as a list; ``order`` has the names in wire order, since some writers of JSON
sort. Where that can't give back the very bytes (unusual blanks, text that no encoding fits), ``raw`` holds
them in base64. So :func:`from_json` gives back the same message, always. A value that does not convert is
null as an attribute, and in ``headers`` as it came.

Nothing is redacted: the JSON of a login, or of a list of authentication objects, contains the secrets.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, overload

from ..wire.action import Action
from ..wire.message import Event, Message, kind_of
from ..wire.origin import LOCAL, Origin, local_origin
from ..wire.response import Response
from . import markers
from .fields import Numbered
from .model import ListResponse, TypedAction, TypedEvent, event_class, fields_of

__all__ = ["action_class", "from_json", "to_json", "typed_actions", "typed_events"]

M = TypeVar("M", bound=Message)

ENVELOPE = frozenset({"action", "encoding", "node", "order", "received_at"})
"""Names of the JSON form that are no arguments of an action."""


# Messages to JSON


def to_json(message: Message) -> dict[str, Any]:
    """Return the JSON form of a message: a dict that :mod:`json` can write."""
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
    made["headers"] = message.to_dict()
    made["order"] = message.keys()
    origin = message._origin
    if message.to_bytes() != rebuilt(made, origin.encoding) or not clean(message.to_bytes(), origin.encoding):
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
    """Return what JSON has for a value of an attribute."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    if isinstance(value, dict):
        return {str(name): each for name, each in value.items()}
    return value


def rebuilt(data: Mapping[str, Any], encoding: str) -> bytes | None:
    """Return the bytes of headers in their JSON form; None if these are not valid headers."""
    headers, order = data["headers"], data.get("order")
    try:
        if order is None:
            # Written by hand, or by a writer that sorts: the header that says what it is comes first.
            kinds = ("event", "response", "action")
            order = sorted(headers, key=lambda name: name.lower() not in kinds)
            order = [name for name in order for _ in values_of(headers[name])]
        left = {name.lower(): iter(values_of(value)) for name, value in headers.items()}
        pairs = [(name, next(left[name.lower()])) for name in order]
        if any(True for values in left.values() for _ in values):
            return None
        return Message(pairs, encoding=encoding).to_bytes()
    except (AttributeError, KeyError, LookupError, StopIteration, TypeError, ValueError):
        return None


def values_of(value: Any) -> list[str]:
    """Return the values of a header in its JSON form."""
    return [value] if isinstance(value, str) else list(value)


def clean(raw: bytes, encoding: str) -> bool:
    """Return True if all of the bytes are text in that encoding."""
    try:
        raw.decode(encoding)
    except ValueError:
        return False
    return True


def printable(value: Any) -> Any:
    """Replace what is not text, so that any writer of JSON accepts it; the bytes are in ``raw``."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, list):
        return [printable(each) for each in value]
    if isinstance(value, dict):
        return {printable(name): printable(each) for name, each in value.items()}
    return value


# JSON to messages


@overload
def from_json(data: Mapping[str, Any]) -> Message: ...
@overload
def from_json(data: Mapping[str, Any], cls: type[M]) -> M: ...
def from_json(data: Mapping[str, Any], cls: type[Message] = Message) -> Message:
    """Return the message with a JSON form.

    An action may also be given by its arguments alone: ``{"action": "QueueAdd", "queue": "support", …}``,
    without ``"action"`` when ``cls`` is its class. It is checked as any other before it can be sent.

    Args:
        data: the result of :func:`to_json`, read back from JSON.
        cls: the expected class.

    Raises:
        ValueError: it is not a message of that class.

    """
    if not isinstance(data, Mapping):
        raise ValueError(f"the JSON of a {cls.__name__} is an object")
    encoding = data.get("encoding", LOCAL.encoding)
    received = data.get("received_at")
    local_origin(encoding)  # refuses what is no usable encoding
    origin = Origin(encoding, datetime.fromisoformat(received).timestamp() if received else 0.0, data.get("node"))
    if "raw" in data:
        raw = base64.b64decode(data["raw"], validate=True)
    elif isinstance(data.get("headers"), Mapping):
        told = rebuilt(data, encoding)
        if told is None:
            raise ValueError("headers and order do not describe a message")
        raw = told
    elif issubclass(cls, Action) or (cls is Message and "action" in data):
        return of_class(action_of_arguments(data, cls), cls)
    else:
        raise ValueError(f"the JSON of a {cls.__name__} needs its headers")
    return of_class(of_bytes(raw, origin, data), cls)


def of_class(message: Message, cls: type[M]) -> M:
    """Return the message if it is of that class.

    Raises:
        ValueError: it is not.

    """
    if not isinstance(message, cls):
        raise ValueError(f"this is the JSON of a {type(message).__name__}, not of a {cls.__name__}")
    return message


def of_bytes(raw: bytes, origin: Origin, data: Mapping[str, Any]) -> Message:
    """Return the message with these bytes, in the class that they belong to, with the other values of the JSON form."""
    kind: type[Message] = kind_of(raw)
    if kind is Message and "response" in data:
        kind = Response  # an answer of plain text has no header that shows its kind
    if kind is Message:
        return Message._wire(Message.from_bytes(raw)._raw if raw.strip() else b"", origin)
    if kind is Action:
        # Checked like an action made here: the JSON may come from anywhere.
        pairs = Message._wire(raw.removesuffix(b"\r\n\r\n"), origin).items()
        checked = Action(pairs[0][1], pairs[1:], encoding=origin.encoding)
        return action_class(checked.name)._wire(checked._raw, origin)
    if kind is Response:
        return response_of(raw, origin, data)
    body = Event.from_bytes(raw)._raw
    name = Event._wire(body, origin).name
    marker = next((cls for cls in markers.MARKERS if cls.event_name == name), None)
    return (marker or event_class(name.encode(origin.encoding, "surrogateescape")))._wire(body, origin)


def response_of(raw: bytes, origin: Origin, data: Mapping[str, Any]) -> Response:
    """Return the response with these bytes, and the events of its list."""
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
    """Return the action with these arguments."""
    arguments = {name: value for name, value in data.items() if name not in ENVELOPE}
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
    """Yield every class of actions."""
    from .. import actions  # 200 classes, loaded when they are first asked for

    for cls in vars(actions).values():
        if isinstance(cls, type) and issubclass(cls, TypedAction) and "action_name" in vars(cls) and cls.action_name:
            yield cls


def typed_events() -> Iterator[type[TypedEvent]]:
    """Yield every class of events and of groups of events, markers included."""
    from .. import events

    for name in events.__all__:
        cls = getattr(events, name)
        if isinstance(cls, type):
            yield cls
