"""Libraries for asyncio: everything happens on the loop's thread."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ..traffic import END
from .base import ENDLESS, Client, Tally, Unsupported

__all__ = ["BasicAMI", "Panoramisk", "PyamiAsterisk"]


class AsyncClient(Client):
    """A library for asyncio; its loop runs while something is waited for. Tasks take the place of threads."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)

    def run(self, job: Awaitable[Any]) -> Any:
        """Run the loop until something is done."""
        return self.loop.run_until_complete(asyncio.wait_for(job, ENDLESS))

    def wait(self, tally: Tally) -> bool:
        self.run(tally.done.wait())
        return True

    async def ping_async(self) -> None:
        """Send a Ping and wait for the answer."""
        raise Unsupported

    async def _ping_often(self, count: int) -> list[float]:
        times = []
        for _ in range(count):
            begun = time.perf_counter()
            await self.ping_async()
            times.append(time.perf_counter() - begun)
        return times

    def ping(self) -> None:
        self.run(self.ping_async())

    def ping_often(self, count: int) -> list[float]:
        found: list[float] = self.run(self._ping_often(count))
        return found

    def ping_during(self, tally: Tally, pause: float) -> list[float]:
        async def go_on() -> list[float]:
            times = []
            while not tally.done.is_set():
                times += await self._ping_often(1)
                await asyncio.sleep(pause)
            return times

        found: list[float] = self.run(go_on())
        return found

    def ping_side_by_side(self, workers: int, each: int) -> None:
        async def gather() -> None:
            await asyncio.gather(*(self._ping_often(each) for _ in range(workers)))

        self.run(gather())

    def counter(self, tally: Tally, read: Callable[[Any], tuple[Any, Any]]) -> Callable[..., None]:
        """A callback whose last argument is an event."""

        def callback(*args: Any) -> None:
            name, _ = read(args[-1])
            tally.count += 1
            if name == END:
                tally.done.set()

        return callback

    def start(self, job: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something beside."""
        return self.loop.create_task(job)


class Panoramisk(AsyncClient):
    distribution = "panoramisk==1.4"
    shown = "panoramisk"
    module = "panoramisk"
    pace = 0.08

    def open(self) -> None:
        from panoramisk import Manager

        logging.getLogger("panoramisk").setLevel(logging.CRITICAL)
        booted = asyncio.Event()
        self.ami = Manager(
            loop=self.loop,
            host="127.0.0.1",
            port=self.port,
            username="admin",
            secret="amp111",
            on_disconnect=lambda *args: None,
        )
        self.ami.register_event("FullyBooted", lambda manager, event: booted.set())
        self.ami.connect()
        self.run(booted.wait())

    def close(self) -> None:
        self.ami.reconnect_timeout = 1_000_000
        self.ami.close()

    def listen(self, names: tuple[str, ...] | None) -> Tally:
        tally = Tally(asyncio.Event())
        count = self.counter(tally, lambda event: (event.event, event.channel))
        for name in names or ("*",):
            self.ami.register_event(name, count)
        return tally

    async def ping_async(self) -> None:
        await self.ami.send_action({"Action": "Ping"})

    def fetch_list(self) -> int:
        return len(self.run(self.ami.send_action({"Action": "CoreShowChannels"}))) - 2

    def fetch_output(self) -> int:
        return len(self.run(self.ami.send_command("core show channels concise")).output)


class BasicAMI(AsyncClient):
    """Events only pile up in a queue that is emptied now and then."""

    distribution = "basicami==0.1.0"
    shown = "basicami"
    module = "basicami"
    pace = 0.2

    def open(self) -> None:
        from basicami import BasicAMI

        self.ami = self.run(BasicAMI.connect("127.0.0.1", self.port, "admin", "amp111"))

    def close(self) -> None:
        self.run(self.ami.close())

    def stream(self) -> Tally:
        tally = Tally(asyncio.Event())
        count = self.counter(tally, lambda event: (event["Event"], event.get("Channel")))

        async def drain() -> None:
            while True:
                for event in await self.ami.get_events(timeout=1.0):
                    count(event)

        self._drain = self.start(drain())
        return tally

    async def ping_async(self) -> None:
        await self.ami.send_action({"Action": "Ping"})


class PyamiAsterisk(AsyncClient):
    """Actions are only sent when it connects or calls back, so its round trips are left out."""

    distribution = "pyami-asterisk==1.5.2"
    shown = "pyami_asterisk"
    module = "pyami_asterisk"
    pace = 0.08

    def open(self) -> None:
        from loguru import logger
        from pyami_asterisk import AMIClient

        logger.remove()
        booted = asyncio.Event()
        self.ami = AMIClient(host="127.0.0.1", port=self.port, username="admin", secret="amp111", ping_delay=0)
        self.ami.register_event(["FullyBooted"], lambda event: booted.set())
        self._task = self.start(self.ami.connect_ami())
        self.run(booted.wait())

    def close(self) -> None:
        self._task.cancel()

    def listen(self, names: tuple[str, ...] | None) -> Tally:
        if names is not None and END not in names:
            raise Unsupported
        tally = Tally(asyncio.Event())
        count = self.counter(tally, lambda event: (event["Event"], event.get("Channel")))
        self.ami.register_event(list(names or ["*"]), count)
        return tally
