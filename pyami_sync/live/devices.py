"""Event handlers for the states of devices, extensions, endpoints and mailboxes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .draft import Draft, Headers, number, truth
from .entities import Contact, Device, Endpoint, Extension, Mailbox, Registration, evolve

__all__ = ["DEVICES", "ENDPOINTS", "EXTENSIONS", "MAILBOXES", "put_contact", "set_device", "set_extension"]


INTERNAL = tuple(f"{name}/" for name in ("Local", "CBAnn", "Announcer", "Recorder"))
"""Prefixes of channels that are not devices: servers send events of them, but keep no state."""


def set_device(d: Draft, device: str, state: str, *, seen: bool = True) -> None:
    """Set the state of a device; `seen` is true if an event has reported the change."""
    if device.startswith(INTERNAL):
        return
    old = d.devices.get(device)
    if old is None or old.state != state:
        d.put(d.devices, device, old, Device(device, state, d.when if seen else None))


def on_device(d: Draft, h: Headers) -> None:
    device = h.get("Device")
    if device and not listed(h):
        set_device(d, device, h.get("State", ""))
        if device.startswith("PJSIP/"):
            endpoint = d.endpoints.get(device.removeprefix("PJSIP/"))
            if endpoint is not None:
                set_endpoint(d, endpoint, device_state=SPELLED.get(h.get("State", ""), endpoint.device_state))


SPELLED = {
    "NOT_INUSE": "Not in use",
    "INUSE": "In use",
    "BUSY": "Busy",
    "INVALID": "Invalid",
    "UNAVAILABLE": "Unavailable",
    "RINGING": "Ringing",
    "RINGINUSE": "Ring+Inuse",
    "ONHOLD": "On Hold",
    "UNKNOWN": "Unknown",
}
"""The states of devices as lists of endpoints spell them, by the spelling in events."""


def listed(h: Headers) -> bool:
    """Return True for an item of a list that has the same name as an event."""
    return "ActionID" in h


def on_extension(d: Draft, h: Headers) -> None:
    if not listed(h):
        set_extension(d, h)


def set_extension(d: Draft, h: Headers) -> None:
    """Set the state of an extension from an event or an item of a list."""
    exten, context = h.get("Exten", ""), h.get("Context", "")
    made = Extension(exten, context, h.get("Hint", ""), number(h.get("Status")), h.get("StatusText", ""))
    key = f"{exten}@{context}"
    old = d.extensions.get(key)
    if old != made:
        d.put(d.extensions, key, old, made)


def set_endpoint(d: Draft, endpoint: Endpoint, **changes: Any) -> None:
    """Change an endpoint."""
    after = evolve(endpoint, changes)
    if after != endpoint:
        d.put(d.endpoints, endpoint.name, endpoint, after)


def put_contact(contacts: tuple[Contact, ...], contact: Contact) -> tuple[Contact, ...]:
    """Return the contacts with one replaced, or added."""
    rest = tuple(each for each in contacts if each.uri != contact.uri)
    return (*rest, contact)


def on_contact(d: Draft, h: Headers) -> None:
    endpoint = d.endpoints.get(h.get("EndpointName", ""))
    uri, status = h.get("URI", ""), h.get("ContactStatus", "")
    if endpoint is None:
        d.stale.add("endpoints")
        return
    if status == "Removed":
        set_endpoint(d, endpoint, contacts=tuple(each for each in endpoint.contacts if each.uri != uri))
        return
    usec = h.get("RoundtripUsec", "")
    contact = Contact(uri, h.get("AOR", ""), status, int(usec) if usec.isdecimal() else None)
    set_endpoint(d, endpoint, contacts=put_contact(endpoint.contacts, contact))


def on_peer(d: Draft, h: Headers) -> None:
    if h.get("ChannelType") == "PJSIP":
        endpoint = d.endpoints.get(h.get("Peer", "").removeprefix("PJSIP/"))
        if endpoint is not None:
            set_endpoint(d, endpoint, peer_status=h.get("PeerStatus", ""))


def on_registry(d: Draft, h: Headers) -> None:
    username, domain = h.get("Username", ""), h.get("Domain", "")
    key = f"{username} {domain}"
    made = Registration(key, h.get("Status", ""), username, domain, h.get("Cause", ""))
    old = d.registrations.get(key)
    if old != made:
        d.put(d.registrations, key, old, made)


def on_mailbox(d: Draft, h: Headers) -> None:
    mailbox = h.get("Mailbox")
    if not mailbox:
        return
    new, old_messages = h.get("New"), h.get("Old")
    made = Mailbox(
        mailbox,
        truth(h.get("Waiting")),
        None if new is None else number(new),
        None if old_messages is None else number(old_messages),
    )
    old = d.mailboxes.get(mailbox)
    if old != made:
        d.put(d.mailboxes, mailbox, old, made)


Handlers = dict[str, Callable[[Draft, Headers], None]]
DEVICES: Handlers = {"DeviceStateChange": on_device}
EXTENSIONS: Handlers = {"ExtensionStatus": on_extension}
ENDPOINTS: Handlers = {"ContactStatus": on_contact, "PeerStatus": on_peer, "Registry": on_registry}
MAILBOXES: Handlers = {"MessageWaiting": on_mailbox}
