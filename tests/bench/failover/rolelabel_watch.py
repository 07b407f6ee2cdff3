"""What the role-label controller sees of one member, over one connection, asked once a second.

An end of the connection is known at once. Without a reply, the kernel's own word on the connection
(TCP_INFO) tells a host that acknowledges nothing from a process that does not answer.
"""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from dataclasses import replace
from typing import Callable

import paths  # noqa: F401
from client import resp
from replies import Replies
from rolelabel import GONE_S, HUNG_S, Facts

REST_S = 1.0
SUSPECT_S = 0.1
LATE_S = 0.3  # without a reply for so long, all members are asked more often
RETRY_S = 0.02
LOOK_S = 0.05
INFO = resp("INFO", "server", "replication")
_UNACKED = 24  # the offset of tcpi_unacked in struct tcp_info


def unacknowledged(link: socket.socket) -> int:
    """Segments that were sent and that the other host has not acknowledged."""
    raw = link.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
    return int(struct.unpack_from("=I", raw, _UNACKED)[0])


def fields_of(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode("utf-8", "replace").splitlines())
    return {key: value for key, colon, value in lines if colon}


class Watch(threading.Thread):
    """`facts()` is the latest; `wake` is called when something changed."""

    def __init__(self, name: str, address: str, port: int, wake: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.address = address
        self.pace_s = REST_S
        self._port = port
        self._wake = wake
        self._facts = Facts(name, address)
        self._moved_at = time.monotonic()
        self._silent_since = 0.0  # the first question that has had no reply; 0: all were answered
        self._closed = False
        self._nudge_in, self._nudge_out = socket.socketpair()

    def facts(self) -> Facts:
        return replace(self._facts, still_s=time.monotonic() - self._moved_at)

    def quiet(self) -> bool:
        """Something is wrong, or about to be."""
        since = self._silent_since
        return not self._facts.answers or bool(since and time.monotonic() - since > LATE_S)

    def hurry(self, pace_s: float) -> None:
        if pace_s < self.pace_s:
            self.ask_now()
        self.pace_s = pace_s

    def ask_now(self) -> None:
        self._nudge_out.send(b"x")

    def close(self) -> None:
        self._closed = True
        self.ask_now()

    def run(self) -> None:
        while not self._closed:
            since = self._silent_since or time.monotonic()
            try:
                # A handshake that is not answered is silence, too.
                link = socket.create_connection((self.address, self._port), timeout=GONE_S)
            except ConnectionRefusedError:
                self._silent_since = 0.0
                self._note(reach="refused")
                time.sleep(RETRY_S)
                continue
            except OSError:
                self._silent_since = since
                if time.monotonic() - since >= GONE_S - LOOK_S:
                    self._note(reach="gone")
                time.sleep(RETRY_S)
                continue
            with link:
                self._talk(link)

    def _talk(self, link: socket.socket) -> None:
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies = Replies()
        try:
            while not self._closed:
                link.sendall(INFO)
                self._silent_since = self._silent_since or time.monotonic()
                if not self._hear(link, replies) or not self._pause(link):
                    break
        except OSError:
            pass
        self._note(ended=True)

    def _hear(self, link: socket.socket, replies: Replies) -> bool:
        """Until the reply; False when the connection has ended."""
        while not self._closed:
            if select.select([link], [], [], LOOK_S)[0]:
                data = link.recv(65536)
                if not data:
                    return False
                for reply in replies.feed(data):
                    if isinstance(reply, bytes):
                        self._told(fields_of(reply))
                    self._silent_since = 0.0  # BUSY is a sign of life as well
                    return True
            silent_s = time.monotonic() - self._silent_since
            if unacknowledged(link) and silent_s >= GONE_S:
                self._note(reach="gone")
            elif not unacknowledged(link) and silent_s >= HUNG_S:
                self._note(reach="hung")
        return False

    def _pause(self, link: socket.socket) -> bool:
        """Until the next question is due; False when the connection ended meanwhile."""
        ready, _, _ = select.select([link, self._nudge_in], [], [], self.pace_s)
        if self._nudge_in in ready:
            self._nudge_in.recv(4096)
        return link not in ready

    def _told(self, fields: dict[str, str]) -> None:
        self._silent_since = 0.0
        offset = int(fields.get("slave_read_repl_offset", fields.get("master_repl_offset", "0")))
        if offset != self._facts.offset:
            self._moved_at = time.monotonic()
        self._note(reach="answering", ended=False, told_at=time.monotonic(),
                   run_id=fields.get("run_id", ""), role=fields.get("role", ""),
                   source=fields.get("master_host", ""), offset=offset,
                   link_up=fields.get("master_link_status") == "up")

    def _note(self, **changes: object) -> None:
        before, self._facts = self._facts, replace(self._facts, **changes)  # type: ignore[arg-type]
        if replace(before, offset=0, told_at=0) != replace(self._facts, offset=0, told_at=0):
            self._wake()
