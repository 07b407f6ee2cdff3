"""Where a client finds the server that it wants: at a fixed address, or where Sentinel says."""

from __future__ import annotations

import asyncio
from typing import Protocol, Sequence

import paths  # noqa: F401
from client import TIMEOUT_S, resp
from replies import Refusal, Replies, Reply

Address = tuple[str, int]
AGAIN_S = 0.1  # until a lost subscription is made anew
# Replicas that a client leaves alone, by the flags that Sentinel gives them.
UNFIT = {"s_down", "o_down", "disconnected"}


class Locator(Protocol):
    """`news` is set when something better than the present address is known."""

    news: asyncio.Event

    async def find(self) -> Address: ...

    async def follow(self) -> None: ...


class Fixed:
    """A Service's address: whatever moves, moves behind it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.news = asyncio.Event()

    async def find(self) -> Address:
        return self.address

    async def follow(self) -> None:
        return


class Sentinels:
    """What the guide for Sentinel clients asks for: each connection begins with the question where
    to, put to one Sentinel after the other, and `+switch-master` of any of them ends the old
    connection at once. With `replicas` it is a replica that is wanted, or else the primary.
    """

    def __init__(self, sentinels: Sequence[Address], name: str, replicas: bool = False) -> None:
        self.news = asyncio.Event()
        self._sentinels = list(sentinels)
        self._name = name
        self._replicas = replicas
        self._present: Address | None = None
        self._switched: Address | None = None
        self._turn = 0

    async def find(self) -> Address:
        self.news.clear()
        if self._switched is not None:
            self._present, self._switched = self._switched, None
            return self._present
        for sentinel in list(self._sentinels):
            # Each question goes to another one: a Sentinel that lags costs one try, not a second.
            self._sentinels.append(self._sentinels.pop(0))
            try:
                self._present = await (self._replica(sentinel) if self._replicas else
                                       self._primary(sentinel))
                return self._present
            except (OSError, TimeoutError, Refusal, ValueError):
                continue
        raise ConnectionError("no Sentinel knows")

    async def follow(self) -> None:
        """Listens to every Sentinel until it is cancelled."""
        if not self._replicas:
            await asyncio.gather(*(self._listen(one) for one in list(self._sentinels)))

    async def _primary(self, sentinel: Address) -> Address:
        reply = await ask(sentinel, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._name)
        return _address(reply)

    async def _replica(self, sentinel: Address) -> Address:
        found = fit_replicas(await ask(sentinel, "SENTINEL", "REPLICAS", self._name))
        if not found:
            return await self._primary(sentinel)
        self._turn += 1
        return found[self._turn % len(found)]

    async def _listen(self, sentinel: Address) -> None:
        while True:
            try:
                await self._subscribe(sentinel)
            except (OSError, TimeoutError, ValueError):
                pass
            await asyncio.sleep(AGAIN_S)

    async def _subscribe(self, sentinel: Address) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(*sentinel)
        try:
            writer.write(resp("SUBSCRIBE", "+switch-master"))
            replies = Replies()
            while data := await reader.read(65536):
                for reply in replies.feed(data):
                    self._heard(reply)
        finally:
            writer.close()

    def _heard(self, reply: Reply) -> None:
        address = switched_to(reply, self._name)
        # Every Sentinel says it, and where this client is already there is no news.
        if address is not None and address != self._present:
            self._switched = address
            self.news.set()


async def ask(address: Address, *words: str) -> Reply:
    """One question on a connection of its own."""
    async with asyncio.timeout(TIMEOUT_S):
        reader, writer = await asyncio.open_connection(*address)
        try:
            writer.write(resp(*words))
            replies = Replies()
            while data := await reader.read(65536):
                for reply in replies.feed(data):
                    return reply
            raise ConnectionResetError("closed before it answered")
        finally:
            writer.close()


def _address(reply: Reply) -> Address:
    if isinstance(reply, Refusal):
        raise reply
    if not isinstance(reply, list) or len(reply) != 2:
        raise ValueError(f"no address: {reply!r}")
    host, port = reply
    assert isinstance(host, bytes) and isinstance(port, bytes)
    return host.decode(), int(port)


def switched_to(reply: Reply, name: str) -> Address | None:
    """The new address in a published "NAME OLD-IP OLD-PORT NEW-IP NEW-PORT"."""
    if not isinstance(reply, list) or len(reply) != 3 or reply[0] != b"message":
        return None
    text = reply[2]
    words = text.decode().split() if isinstance(text, bytes) else []
    if len(words) != 5 or words[0] != name:
        return None
    return words[3], int(words[4])


def fit_replicas(reply: Reply) -> list[Address]:
    """Addresses of the replicas that Sentinel holds for sound, in a steady order."""
    if isinstance(reply, Refusal):
        raise reply
    found = []
    for item in reply if isinstance(reply, list) else []:
        assert isinstance(item, list)
        words = [word.decode() if isinstance(word, bytes) else str(word) for word in item]
        fields = dict(zip(words[::2], words[1::2]))
        if not UNFIT & set(fields.get("flags", "").split(",")):
            found.append((fields["ip"], int(fields["port"])))
    return sorted(found)
