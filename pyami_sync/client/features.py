"""The methods of a client that belong to the packages live, calls, agi and integrations, imported on first use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from ..session.sender import Sender
from ..subscriptions.selectors import Selector, Where
from ..wire.action import HeaderValue

if TYPE_CHECKING:
    from ..agi import AsyncAGI, Router
    from ..calls import Call, Calls, Channel
    from ..calls.channel import HasUniqueid
    from ..calls.server import Server
    from ..live import Live
    from .client import AMIClient

__all__ = ["Features"]


class Features(Sender):
    """Mixin with the methods of the packages ``live``, ``calls``, ``agi`` and ``integrations``."""

    _node_id: str | None = None  # in a cluster: the node id of its events
    _services: list[AsyncAGI]
    """What runs on this client and ends before it."""
    _calls: Calls | None = None
    """Made with the first call."""

    def observable(self, *selectors: Selector, where: Where = None, **buffer: Any) -> Any:
        """Return the events as a reactivex ``Observable`` (needs the extra ``rx``); see
        :mod:`pyami_sync.integrations.rx`.

        ``maxsize`` and ``overflow`` are as for :meth:`events`, since Rx has no back-pressure.
        """
        from ..integrations.rx import observable

        return observable(_client(self), *selectors, where=where, **buffer)

    # Calls

    def call(
        self,
        device: str,
        *,
        to: str,
        ring: float = 30.0,
        caller_id: str | None = None,
        variables: Mapping[str, str] | None = None,
        account: str | None = None,
        hangup_on_exit: bool = True,
        **headers: HeaderValue,
    ) -> Call:
        """Place a call and return a handle for it as soon as the server has accepted it; see :mod:`pyami_sync.calls`.

        ::

            with ami.call("PJSIP/1101", to="200@internal", ring=30) as call:
                print(call.wait_answered(), call.cause_text)

        Args:
            device: the device to call, such as ``"PJSIP/1101"``.
            to: what to connect it with when it answers: an extension (``"200@internal"``), an application
                (``"Playback(hello-world)"``), or an AGI script (``"agi:async"``, ``"agi://host/script"``).
            ring: seconds that it may ring.
            caller_id: the caller ID to show, such as ``"Shop <5550>"``.
            variables: channel variables; those whose names begin with ``__`` are inherited by the channels that it
                dials.
            account: the account code.
            hangup_on_exit: whether leaving its ``with`` block hangs up.
            headers: more headers of Originate, such as ``Codecs``.

        Raises:
            ActionError: the server refused, for example because there is no such extension.
            ValueError: ``to`` or ``ring`` is not valid.
            ConnectionClosed: the session is not open. :exc:`ConnectionLost`, a subclass, has the same meaning as for
                :meth:`send`: if the action had been sent, the call may have been placed, and continues without a
                handle.

        The user needs the write class ``originate``, the read classes ``call`` and ``dialplan``, and
        ``system`` or ``reporting`` to find calls again after a gap.
        """
        return self._call_server().place(
            device,
            to,
            ring=ring,
            caller_id=caller_id,
            variables=None if variables is None else dict(variables),
            account=account,
            hangup_on_exit=hangup_on_exit,
            **headers,
        )

    def channel(self, channel: str | HasUniqueid) -> Channel:
        """Return a handle for any channel, with the methods of a call; sends nothing, and does not block.

        Args:
            channel: its name or unique id, a channel of the live model, or an event about it.

        """
        from ..calls import Channel

        return Channel(self._call_server(), channel)

    def _call_server(self) -> Server:
        from ..calls.hub import Calls

        if self._calls is None:
            # One step, not a lock: a signal handler may place a call, too, and several threads agree on one.
            self.__dict__.setdefault("_calls", Calls(_client(self)))
            assert self._calls is not None
        return self._calls.server(_client(self), self._node_id)

    def live(
        self,
        *areas: str,
        audit: float | None = None,
        history: int = 20_000,
        records: int = 1_000,
        timeout: float | None = 30.0,
    ) -> Live:
        """Start the live model of the server: its channels, calls, queues and so on, kept up to date by events.

        Blocks until the server's lists have been loaded. Close the model (``with``) when done; it ends with the client.

        Args:
            areas: what the model contains: ``calls`` (with channels and bridges), ``queues``, ``conferences``,
                ``parking``, ``devices``, ``extensions``, ``endpoints``, ``mailboxes``; all of them when none is
                named. Only what is named is looked up and listened to; see also :func:`pyami_sync.live.event_mask`.
            audit: seconds between two comparisons with fresh lists; :data:`None` for no comparisons.
            history: how many events are kept for :meth:`~pyami_sync.live.Live.explain`.
            records: how many records of ended calls are kept.
            timeout: seconds that loading may take.

        Raises:
            ValueError: there is no area of that name.
            WaitTimeout: the lists were not complete in time.

        """
        from ..live import Live

        return Live(_client(self), areas, audit=audit, history=history, records=records, timeout=timeout)

    def agi(
        self,
        scripts: Router,
        *,
        threads: int = 100,
        timeout: float | None = 10.0,
        media_timeout: float | None = 300.0,
        unknown: Literal["refuse", "ignore"] = "refuse",
        adopt: bool = True,
    ) -> AsyncAGI:
        """Run scripts for the calls that the dialplan passes to ``AGI(agi:async,ivr/en)``; does not block.

        Args:
            scripts: a :class:`~pyami_sync.agi.Router`.
            threads: most scripts at a time.
            timeout: seconds that an AGI command may take; :data:`None` for no limit.
            media_timeout: seconds for one that plays, listens or records, in addition to the time that the command
                itself asks for.
            unknown: what to do with a call whose path no route has: ``"refuse"``, or ``"ignore"`` when another
                process serves it.
            adopt: whether to run scripts for calls that were already waiting for one.

        Returns:
            An :class:`~pyami_sync.agi.AsyncAGI`; its ``close()``, or this client's, ends it.

        """
        from ..agi import AsyncAGI

        service = AsyncAGI(
            _client(self),
            scripts,
            threads=threads,
            timeout=timeout,
            media_timeout=media_timeout,
            unknown=unknown,
            adopt=adopt,
        )
        self._services.append(service)
        return service


def _client(features: Features) -> AMIClient:
    """Return the client that has these features: :class:`AMIClient` is the only subclass."""
    return cast("AMIClient", features)
