"""The simulator's answers to actions about endpoints of PJSIP and states of devices."""

from __future__ import annotations

from ..state import DEVICE_STATES, Endpoint, Pair
from .registry import Call, Item, handler

__all__: list[str] = []


def _contacts(endpoint: Endpoint) -> str:
    return "".join(f"{endpoint.name}/{uri}," for uri in endpoint.contacts)


def _state(call: Call, endpoint: Endpoint) -> str:
    return DEVICE_STATES[call.simulator.pbx.devices.state(endpoint.device)][1]


@handler("PJSIPShowEndpoints", "system", about="list endpoints", since=13)
def show_endpoints(call: Call) -> bytes:
    pbx = call.simulator.pbx
    if not pbx.endpoints:
        return call.error("No endpoints found\n")
    items: list[Item] = []
    for endpoint in pbx.endpoints.values():
        active = sum(channel.endpoint is endpoint for channel in pbx.channels.values())
        items.append(
            (
                "EndpointList",
                [
                    ("ObjectType", "endpoint"),
                    ("ObjectName", endpoint.name),
                    ("Transport", endpoint.transport),
                    ("Aor", endpoint.name),
                    ("Auths", endpoint.name),
                    ("OutboundAuths", ""),
                    ("Contacts", _contacts(endpoint)),
                    ("DeviceState", _state(call, endpoint)),
                    ("ActiveChannels", active if call.simulator.major >= 18 or active else ""),
                ],
            )
        )
    message = "A listing of Endpoints follows, presented as EndpointList events"
    return call.listing(message, items, "EndpointListComplete")


def _aor(endpoint: Endpoint, name: str = "Contacts") -> list[Pair]:
    return [
        ("ObjectType", "aor"),
        ("ObjectName", endpoint.name),
        ("MinimumExpiration", 60),
        ("DefaultExpiration", 3600),
        ("QualifyTimeout", "3.000000"),
        ("Mailboxes", ""),
        ("SupportPath", "false"),
        ("RemoveUnavailable", "false"),
        ("VoicemailExtension", ""),
        ("MaxContacts", 5),
        ("AuthenticateQualify", "false"),
        (name, _contacts(endpoint).removesuffix(",")),
        ("MaximumExpiration", 7200),
        ("QualifyFrequency", 0),
        ("RemoveExisting", "false"),
        ("OutboundProxy", ""),
    ]


def _auth(endpoint: Endpoint) -> list[Pair]:
    return [
        ("ObjectType", "auth"),
        ("ObjectName", endpoint.name),
        ("Username", endpoint.name),
        ("Md5Cred", ""),
        ("Realm", ""),
        ("AuthType", "userpass"),
        ("Password", f"{endpoint.name}-secret"),
        ("NonceLifetime", 32),
    ]


@handler("PJSIPShowEndpoint", "system", about="list what belongs to an endpoint", since=13)
def show_endpoint(call: Call) -> bytes:
    name = call.get("Endpoint")
    if not name:
        return call.error("PJSIPShowEndpoint requires an endpoint name\n")
    endpoint = call.simulator.pbx.endpoints.get(name)
    if endpoint is None:
        return call.error(f"Unable to retrieve endpoint {name}\n")
    detail: list[Pair] = [
        ("ObjectType", "endpoint"),
        ("ObjectName", endpoint.name),
        ("Context", endpoint.context),
        ("Transport", endpoint.transport),
        ("Aors", endpoint.name),
        ("Auth", endpoint.name),
        ("Allow", "(ulaw)"),
        ("Callerid", "<unknown>"),
        ("DeviceState", _state(call, endpoint)),
        ("ActiveChannels", ""),
    ]
    items: list[Item] = [
        ("EndpointDetail", detail),
        ("AuthDetail", [*_auth(endpoint), ("EndpointName", endpoint.name)]),
        ("AorDetail", [*_aor(endpoint), ("EndpointName", endpoint.name)]),
    ]
    items += [
        (
            "ContactStatusDetail",
            [
                ("AOR", endpoint.name),
                ("URI", uri),
                ("UserAgent", ""),
                ("RegExpire", 0),
                ("Status", "NonQualified"),
                ("RoundtripUsec", "N/A"),
                ("EndpointName", endpoint.name),
            ],
        )
        for uri in endpoint.contacts
    ]
    message = "Following are Events for each object associated with the Endpoint"
    return call.listing(message, items, "EndpointDetailComplete")


@handler("PJSIPShowAors", "system", about="list addresses of record", since=16)
def show_aors(call: Call) -> bytes:
    endpoints = call.simulator.pbx.endpoints.values()
    if not endpoints:
        return call.error("No AORs found\n")
    items: list[Item] = [("AorList", _aor(endpoint)) for endpoint in endpoints]
    return call.listing("A listing of AORs follows, presented as AorList events", items, "AorListComplete")


@handler("PJSIPShowAuths", "system", about="list credentials", since=16)
def show_auths(call: Call) -> bytes:
    endpoints = call.simulator.pbx.endpoints.values()
    if not endpoints:
        return call.error("No Auths found\n")
    items: list[Item] = [("AuthList", _auth(endpoint)) for endpoint in endpoints]
    return call.listing("A listing of Auths follows, presented as AuthList events", items, "AuthListComplete")


@handler("PJSIPShowContacts", "system", about="list dynamic contacts", since=16)
def show_contacts(call: Call) -> bytes:
    return call.error("No Contacts found\n")


@handler("PJSIPShowRegistrationsInbound", "system", about="list inbound registrations", since=13)
def show_registrations_inbound(call: Call) -> bytes:
    items: list[Item] = [
        ("InboundRegistrationDetail", [*_aor(endpoint, "Contact"), ("Contacts", _contacts(endpoint))])
        for endpoint in call.simulator.pbx.endpoints.values()
    ]
    message = "Following are Events for each Inbound registration"
    return call.listing(message, items, "InboundRegistrationDetailComplete")


@handler("PJSIPShowRegistrationsOutbound", "system,reporting", about="list outbound registrations", since=13)
def show_registrations_outbound(call: Call) -> bytes:
    message = "Following are Events for each Outbound registration"
    extra = [("Registered", 0), ("NotRegistered", 0)]
    return call.listing(message, [], "OutboundRegistrationDetailComplete", extra=extra)


@handler("PJSIPQualify", "system,reporting", about="ask an endpoint whether it is there", since=13)
def qualify(call: Call) -> bytes:
    name = call.get("Endpoint")
    if not name:
        return call.error("Endpoint parameter missing.")
    if name not in call.simulator.pbx.endpoints:
        return call.error("Unable to retrieve endpoint\n")
    return call.success("Endpoint found, will qualify")


def _devices(call: Call) -> list[str]:
    pbx = call.simulator.pbx
    return [endpoint.device for endpoint in pbx.endpoints.values()]


@handler("DeviceStateList", "call,reporting", about="list the states of devices", since=13)
def device_state_list(call: Call) -> bytes:
    state = call.simulator.pbx.devices.state
    items: list[Item] = [
        ("DeviceStateChange", [("Device", device), ("State", state(device))]) for device in _devices(call)
    ]
    return call.listing("Device State Changes will follow", items, "DeviceStateListComplete")


@handler("PresenceStateList", "call,reporting", about="list states of presence", since=13)
def presence_state_list(call: Call) -> bytes:
    return call.listing("Presence State Changes will follow", [], "PresenceStateListComplete")


@handler("PresenceState", "call,reporting", about="tell a state of presence", since=11)
def presence_state(call: Call) -> bytes:
    if not call.get("Provider"):
        return call.error("No provider specified")
    return call.success("Presence State", ("State", "not_set"))


_HINTS = {"UNAVAILABLE": (4, "Unavailable"), "INUSE": (1, "InUse"), "RINGING": (8, "Ringing"), "BUSY": (2, "Busy")}


def _hint(call: Call, exten: str, context: str) -> list[Pair]:
    endpoint = call.simulator.pbx.endpoints.get(exten)
    number, text = -1, "Unknown"
    if endpoint is not None:
        number, text = _HINTS.get(call.simulator.pbx.devices.state(endpoint.device), (0, "Idle"))
    return [
        ("Exten", exten),
        ("Context", context),
        ("Hint", endpoint.device if endpoint is not None else ""),
        ("Status", number),
        ("StatusText", text),
    ]


@handler("ExtensionState", "call,reporting", about="tell the state of an extension")
def extension_state(call: Call) -> bytes:
    if not call.get("Exten"):
        return call.error("Extension not specified")
    return call.success("Extension Status", *_hint(call, call.get("Exten"), call.get("Context") or "default"))


@handler("ExtensionStateList", "call,reporting", about="list the states of extensions", since=13)
def extension_state_list(call: Call) -> bytes:
    endpoints = call.simulator.pbx.endpoints.values()
    if not endpoints:
        return call.error("No dialplan hints are available")
    items: list[Item] = [("ExtensionStatus", _hint(call, each.name, each.context)) for each in endpoints]
    return call.listing("Extension Statuses will follow", items, "ExtensionStateListComplete")


@handler("MailboxStatus", "call,reporting", about="tell whether messages wait")
def mailbox_status(call: Call) -> bytes:
    mailbox = call.get("Mailbox")
    if not mailbox:
        return call.error("Mailbox not specified")
    return call.success("Mailbox Status", ("Mailbox", mailbox), ("Waiting", 0))


@handler("MailboxCount", "call,reporting", about="count the messages of a mailbox")
def mailbox_count(call: Call) -> bytes:
    mailbox = call.get("Mailbox")
    if not mailbox:
        return call.error("Mailbox not specified")
    counts = [("UrgMessages", 0), ("NewMessages", 0), ("OldMessages", 0)]
    return call.success("Mailbox Message Count", ("Mailbox", mailbox), *counts)
