"""What the steps of a login are made of."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias

from ..wire.action import Action
from ..wire.response import Response

__all__ = ["Ask", "AwaitBoot", "Steps"]


class Ask(NamedTuple):
    """An action whose answer decides how the login goes on."""

    action: Action[Any]
    within: float | None = None
    """Most seconds for the answer, if that is less than what the attempt has left."""


class AwaitBoot(NamedTuple):
    """Go on when FullyBooted has come, or after some seconds; they are not counted as connecting."""

    within: float


Steps: TypeAlias = Generator[Ask | AwaitBoot, Response | None, None]
"""The steps of a login. It is sent each answer, or thrown what came instead, and :data:`None` after a wait."""
