#!/usr/bin/env python3
"""The bench's clients, open loop: `python3 openloop.py write --at 10.96.3.4:6379 --log FILE`.

A command goes out at each slot of a fixed schedule, whether or not earlier ones were answered; what
is due while there is no connection is not sent and not made up for. 100 ms for a connect and for
each reply, 2 ms to the next try, as in the end-to-end tests' client. `write` sets unique keys and
notes each acknowledgement; `read` gets the seed's keys over several connections. With `--sentinel`
the address comes from Sentinel, else it is fixed. Times are CLOCK_MONOTONIC.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
import time
from collections import deque
from pathlib import Path
from typing import Callable, TypeVar, cast

import paths  # noqa: F401
from client import RETRY_S, TIMEOUT_S, WriteLog, outcome_of, resp
from locate import Address, Fixed, Locator, Sentinels
from replies import Refusal, Replies

SEED_KEYS = 1000
Command = Callable[[int], bytes]
Found = TypeVar("Found")


class Session(asyncio.Protocol):
    """One connection. `ended` gets the outcome that ended it."""

    def __init__(self, log: WriteLog) -> None:
        self.waiting: deque[tuple[float, int]] = deque()  # (sent, number) without a reply yet
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._log = log
        self._replies = Replies()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def send(self, number: int, command: bytes) -> None:
        if self._transport is not None and not self.ended.done():
            self.waiting.append((time.monotonic(), number))
            self._transport.write(command)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        for reply in self._replies.feed(data):
            _, number = self.waiting.popleft()
            if isinstance(reply, Refusal):
                self.end(reply.word)
                return
            if reply is None:
                self._log.failures.append((now, "missing"))
            else:
                self._log.acks.append((now, number))

    def connection_lost(self, error: Exception | None) -> None:
        self.end(outcome_of(error) if isinstance(error, OSError) else "closed")

    def end(self, what: str) -> None:
        if not self.ended.done():
            self.ended.set_result(what)
        if self._transport is not None:
            self._transport.abort()

    def overdue(self) -> bool:
        return bool(self.waiting) and time.monotonic() - self.waiting[0][0] > TIMEOUT_S


class OpenLoop:
    """One client: keeps a connection, and sends by the schedule."""

    def __init__(self, locator: Locator, rate: float, prefix: str, command: Command) -> None:
        self.log = WriteLog(prefix)
        self._locator = locator
        self._interval_s = 1.0 / rate
        self._command = command
        self._session: Session | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        self.log.started = time.monotonic()
        try:
            await asyncio.gather(self._connect_always(), self._pace())
        finally:
            self.log.stopped = time.monotonic()

    async def _connect_always(self) -> None:
        while True:
            what = await self._live()
            self.log.failures.append((time.monotonic(), what))
            if what != "moved":
                await asyncio.sleep(RETRY_S)

    async def _live(self) -> str:
        """One connection, from the search for its address to its end; gives why it ended."""
        news = self._locator.news
        try:
            session = await _or_news(asyncio.create_task(self._connect()), news)
            if session is None:
                return "moved"
        except (OSError, TimeoutError) as error:
            return outcome_of(error)
        self._session = session
        try:
            return await _or_news(session.ended, news) or "moved"
        finally:
            self._session = None
            session.end("moved")

    async def _connect(self) -> Session:
        host, port = await self._locator.find()
        async with asyncio.timeout(TIMEOUT_S):
            _, session = await asyncio.get_running_loop().create_connection(
                lambda: Session(self.log), host, port)
        return session

    async def _pace(self) -> None:
        due, number = time.monotonic(), 0
        while True:
            while due <= time.monotonic():
                number += 1
                if self._session is not None:
                    self._session.send(number, self._command(number))
                due += self._interval_s
            await self._expire()
            await asyncio.sleep(max(due - time.monotonic(), 0.0))

    async def _expire(self) -> None:
        """A reply that came while this process did not run is not late: sockets are read first."""
        session = self._session
        if session is not None and session.overdue():
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if session.overdue():
                session.end("timeout")


async def _or_news(wanted: "asyncio.Future[Found]", news: asyncio.Event) -> Found | None:
    """The result of `wanted`, or None as soon as there is news."""
    heard = asyncio.ensure_future(news.wait())
    both: set[asyncio.Future] = {wanted, heard}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        return wanted.result() if wanted.done() else None
    finally:
        heard.cancel()
        if not wanted.done():
            wanted.cancel()


def writer(locator: Locator, rate: float, prefix: str) -> OpenLoop:
    return OpenLoop(locator, rate, prefix,
                    lambda number: resp("SET", f"{prefix}:{number}", str(number)))


def reader(locator: Locator, rate: float, prefix: str) -> OpenLoop:
    return OpenLoop(locator, rate, prefix,
                    lambda number: resp("GET", f"seed:{number % SEED_KEYS}"))


def locator_of(args: argparse.Namespace) -> Locator:
    if args.sentinel:
        return Sentinels([address_of(text) for text in args.sentinel], args.name,
                         args.what == "read")
    return Fixed(address_of(args.at))


def address_of(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["write", "read"])
    parser.add_argument("--at", metavar="HOST:PORT", help="a fixed address")
    parser.add_argument("--sentinel", metavar="HOST:PORT", action="append", default=[])
    parser.add_argument("--name", default="bench", help="of the set, in Sentinel's words")
    parser.add_argument("--rate", type=float, default=500.0, help="commands a second")
    parser.add_argument("--connections", type=int, default=1, help="each with that rate")
    parser.add_argument("--log", required=True, help="file for what was seen")
    args = parser.parse_args()
    if bool(args.at) == bool(args.sentinel):
        parser.error("give --at, or --sentinel once or more")
    return args


async def run(args: argparse.Namespace) -> list[WriteLog]:
    """Until SIGTERM."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    locators = [locator_of(args) for _ in range(args.connections)]
    prefix = f"bench:{os.getpid()}:{time.time_ns()}"
    make = writer if args.what == "write" else reader
    loops = [make(one, args.rate, f"{prefix}:{number}") for number, one in enumerate(locators)]
    tasks = [asyncio.ensure_future(one.run()) for one in loops]
    tasks += [asyncio.ensure_future(one.follow()) for one in locators]
    print("started", flush=True)
    await stop.wait()
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome  # a bug of ours, not an outage
    return [one.log for one in loops]


def main() -> int:
    args = parse_args()
    gc.disable()  # a collection over a long log would look like a gap
    logs = asyncio.run(run(args))
    Path(args.log).write_text(json.dumps([log.to_json() for log in logs]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
