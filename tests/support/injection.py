"""Interrupts a call on the main thread at a random moment, as Ctrl-C, SIGALRM or a soft time limit does.

The handler of a real timer signal runs wherever the interpreter happens to be: in the library's Python code,
or in a system call or lock that it waits in. It can raise, run a function, or both::

    injector = Injector(seed=1)
    for _ in range(injections(2000)):
        outcome = injector.strike(lambda: ami.ping(timeout=5))
        assert outcome.interrupted or outcome.value < 5
    assert ami.ping() < 5                # and everything still works

``PYAMI_INJECTIONS`` in the environment replaces the number of injections, for long runs, and ``PYAMI_SEED`` chooses
other moments.
"""

from __future__ import annotations

import dis
import os
import random
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

__all__ = ["Hang", "Injected", "Injector", "Outcome", "Stepper", "injections", "run_elsewhere"]

PACKAGE = f"{os.sep}pyami_sync{os.sep}"


def run_elsewhere(job: Callable[[], object], seconds: float) -> None:
    """Run a job on another thread, wait for its end, and check that it raised nothing."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            job()
        except BaseException as exc:
            errors.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(seconds)
    assert not thread.is_alive()
    assert not errors, errors


def injections(usual: int) -> int:
    """Return how many injections a test makes: ``usual``, or what ``PYAMI_INJECTIONS`` says."""
    return int(os.environ.get("PYAMI_INJECTIONS", usual))


class Injected(Exception):
    """Raised by the signal handler in the midst of the call."""


class Hang(BaseException):
    """The call did not end long after the injection; the text holds the stacks of all threads."""


@dataclass
class Outcome:
    """What became of one call."""

    value: Any = None
    """What it returned."""
    error: BaseException | None = None
    """What it raised, the injected exception included."""
    struck: bool = False
    """Whether the handler ran before the call had ended."""

    @property
    def interrupted(self) -> bool:
        """Whether the injected exception ended it, directly or as the cause or context of another one."""
        exc, seen = self.error, set()
        while exc is not None and id(exc) not in seen:
            if isinstance(exc, Injected):
                return True
            seen.add(id(exc))
            exc = exc.__cause__ or exc.__context__
        return False


class Injector:
    """Makes calls on the main thread and interrupts each of them once.

    Args:
        seed: of the random moments.
        soonest: seconds after the call began, at least.
        latest: seconds, at most; the moments are spread evenly over the orders of magnitude between.
        limit: seconds after the injection by which the call must have ended, or :exc:`Hang` is raised in it.

    """

    def __init__(self, *, seed: int = 0, soonest: float = 2e-6, latest: float = 5e-3, limit: float = 30.0) -> None:
        assert threading.current_thread() is threading.main_thread(), "signals are handled on the main thread"
        self.random = random.Random(seed + 1000 * int(os.environ.get("PYAMI_SEED", "0")))
        self.soonest = soonest
        self.latest = latest
        self.limit = limit
        self.strikes = 0
        """Injections that met a call before it had ended."""
        self._act: Callable[[], object] | None = None
        self._raises = True
        self._armed = False
        self._struck = False

    def moment(self) -> float:
        """Return a random delay in seconds."""
        return float(self.soonest * (self.latest / self.soonest) ** self.random.random())

    def strike(
        self,
        call: Callable[[], Any],
        act: Callable[[], object] | None = None,
        *,
        raises: bool | None = None,
        delay: float | None = None,
    ) -> Outcome:
        """Run a call and interrupt it once.

        Args:
            call: the call.
            act: run by the handler, such as ``ami.close``.
            raises: whether the handler raises :exc:`Injected`; by default if there is no ``act``.
            delay: seconds until the handler runs; random unless given.

        """
        self._act = act
        self._raises = act is None if raises is None else raises
        self._struck, self._armed = False, True
        outcome = Outcome()
        with self._handled():
            try:
                try:
                    signal.setitimer(signal.ITIMER_REAL, self.moment() if delay is None else delay)
                    outcome.value = call()
                finally:
                    struck = self._struck
                    self._armed = False
                    signal.setitimer(signal.ITIMER_REAL, 0)
            except Exception as exc:
                outcome.error = exc
                struck = self._struck
        outcome.struck = struck
        self.strikes += struck
        return outcome

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._armed:
            return
        if self._struck:
            raise Hang(f"no end {self.limit:g} s after the injection\n{stacks()}")
        self._struck = True
        signal.setitimer(signal.ITIMER_REAL, self.limit)  # the watch over what comes now
        if self._act is not None:
            self._act()
        if self._raises:
            raise Injected

    @contextmanager
    def _handled(self) -> Iterator[None]:
        before = signal.signal(signal.SIGALRM, self._handle)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def stacks() -> str:
    """Return the stacks of all threads as text."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found = []
    for ident, frame in sys._current_frames().items():
        found.append(f"--- {names.get(ident, ident)}\n{''.join(traceback.format_stack(frame))}")
    return "\n".join(found)


class Stepper:
    """Interrupts a call at each point, one after the other, at which the interpreter may run a signal handler.

    Handlers run behind a call, at the beginning of a function and at a jump back. Where a real signal meets these by
    chance, this counts them in the package's own code, on the calling thread, with a trace function::

        for point in Stepper(lambda: ami.ping(timeout=5)):
            ...  # the call has been interrupted there; is everything as it should be?

    Args:
        call: the call; it must take the same way each time, as far as possible.
        act: run at the point; by default :exc:`Injected` is raised there.
        longest: no more points than this, spread evenly.
        before: run before each call, uninterrupted: makes what the call uses.

    """

    def __init__(
        self,
        call: Callable[[], Any],
        act: Callable[[], object] | None = None,
        longest: int = 2000,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        self.call = call
        self.before = before
        self.act = act
        self.longest = longest
        self.points = 0
        """How many points the call had when it was not interrupted."""
        self._count = 0
        self._target = 0
        self._opcodes: dict[CodeType, dict[int, bool]] = {}

    def __iter__(self) -> Iterator[tuple[str, Outcome]]:
        for _ in range(2):  # Python 3.12 traces the instructions of a function from its second call on
            self._run(0)
        self.points = self._count
        step = max(1, self.points // self.longest)
        for target in range(1, self.points + 1, step):
            outcome = self._run(target)
            yield self._place, outcome

    def _run(self, target: int) -> Outcome:
        self._count, self._target, self._place = 0, target, ""
        outcome = Outcome()
        self.before()
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            outcome.value = self.call()
        except Exception as exc:
            outcome.error = exc
        finally:
            sys.settrace(before)
        outcome.struck = bool(self._place)
        return outcome

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:
        if PACKAGE not in frame.f_code.co_filename:
            return None
        frame.f_trace = self._step  # before the next line, which has no effect otherwise from Python 3.12 on
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._step

    def _step(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "opcode" and self._is_point(frame.f_code, frame.f_lasti):
            self._count += 1
            if self._count == self._target:
                self._place = f"{frame.f_code.co_qualname}:{frame.f_lineno}"
                sys.settrace(None)
                frame.f_trace = None
                if self.act is None:
                    raise Injected
                self.act()
                return None
        return self._step

    def _is_point(self, code: CodeType, offset: int) -> bool:
        """Return True if the instruction before this one lets handlers run."""
        found = self._opcodes.get(code)
        if found is None:
            found, before = {}, ""
            for each in dis.get_instructions(code):
                found[each.offset] = before.startswith(("CALL", "RESUME", "JUMP_BACKWARD")) and before != "RESUME_CHECK"
                before = each.opname
            self._opcodes[code] = found
        return found.get(offset, False)
