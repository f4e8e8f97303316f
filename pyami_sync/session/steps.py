"""The types of the steps of a login, which login.py yields and attempt.py runs."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias

from ..wire.action import Action
from ..wire.response import Response

__all__ = ["Ask", "AwaitBoot", "Steps"]


class Ask(NamedTuple):
    """An action to send; the answer is sent into the generator."""

    action: Action[Any]
    within: float | None = None
    """Most seconds for the answer, if less than the attempt has left."""


class AwaitBoot(NamedTuple):
    """Wait for FullyBooted, at most some seconds, which do not count towards ``connect_timeout``."""

    within: float


Steps: TypeAlias = Generator[Ask | AwaitBoot, Response | None, None]
"""The steps of a login. Each answer is sent in, :data:`None` after a wait, and exceptions are thrown in."""
