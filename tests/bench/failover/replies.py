"""Replies of the engine's protocol, taken apart as they come in: what the clients here need."""

from __future__ import annotations

from typing import Iterator, Union


class Refusal(Exception):
    """An error reply: a value among the others, raised by whoever cannot go on with it."""

    @property
    def word(self) -> str:
        """READONLY, LOADING, NOREPLICAS, …: the same name in every log."""
        return str(self).split(None, 1)[0] if str(self) else "ERR"


Reply = Union[bytes, int, None, Refusal, "list[Reply]"]


class _Incomplete(Exception):
    pass


class Replies:
    """Bytes in, replies out; what is not whole yet waits for the next bytes."""

    def __init__(self) -> None:
        self._data = b""

    def feed(self, data: bytes) -> Iterator[Reply]:
        self._data += data
        at = 0
        try:
            while at < len(self._data):
                reply, at = _parse(self._data, at)
                yield reply
        except _Incomplete:
            pass
        finally:
            self._data = self._data[at:]


def _parse(data: bytes, at: int) -> tuple[Reply, int]:
    end = data.find(b"\r\n", at)
    if end < 0:
        raise _Incomplete
    kind, text, after = data[at:at + 1], data[at + 1:end], end + 2
    if kind == b"+":
        return text, after
    if kind == b"-":
        return Refusal(text.decode("utf-8", "replace")), after
    if kind == b":":
        return int(text), after
    if kind == b"$":
        return _bulk(data, after, int(text))
    if kind == b"*":
        items: list[Reply] = []
        for _ in range(int(text)):
            item, after = _parse(data, after)
            items.append(item)
        return items, after
    raise ValueError(f"no reply begins with {kind!r}")


def _bulk(data: bytes, at: int, size: int) -> tuple[Reply, int]:
    if size < 0:
        return None, at
    if len(data) < at + size + 2:
        raise _Incomplete
    return data[at:at + size], at + size + 2
