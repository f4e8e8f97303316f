"""Handle: returned by every registration of a callback, to end it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

__all__ = ["Handle"]

F = TypeVar("F", bound=Callable[..., Any])


class Handle(Generic[F]):
    """A registered function, and the way to end its registration.

    To end the registration, call :meth:`cancel`, call the handle without arguments, or leave its ``with`` block; each
    may be repeated. Called with arguments, it calls the function, so a decorated function stays usable under its
    name.

    Subclasses that end a registration in another way override :meth:`cancel`.

    Args:
        function: the function that was registered.
        remove: ends the registration.

    """

    __module__ = "pyami_sync"  # its public path

    def __init__(self, function: F, remove: Callable[[], object] | None = None) -> None:
        functools.update_wrapper(self, function, updated=())
        self.function: F = function
        """The registered function itself."""
        self._remove = remove

    def cancel(self) -> None:
        """End the registration. Any thread may call this."""
        if self._remove is not None:
            self._remove()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if args or kwargs:
            return self.function(*args, **kwargs)
        return self.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def __repr__(self) -> str:
        return f"<Handle of {self.function!r}>"
