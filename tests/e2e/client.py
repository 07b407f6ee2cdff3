#!/usr/bin/env python3
"""A writing client that measures what a failover costs: `python3 client.py HOST PORT --seconds 10 --json`.

It writes unique keys at a steady pace over a plain socket, with 100 ms time-outs for connect and
reply, and tries again 2 ms after any failure on a new connection. The *gap* is the time from one
acknowledgement to the next; a failover's cost is the longest gap around it. Afterwards it reads every
acknowledged key back and counts the lost ones.

Only the standard library: the same file runs beside the cluster, inside a node's network
(`cluster.py exec-in NODE -- python3 client.py …`) and in any pod that has Python.

As a library: `ClientProcess` runs it in a process of its own, so that the tests' own work (JSON,
kubectl) cannot widen a gap. Times are CLOCK_MONOTONIC, which all processes of one machine share.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterator, Sequence

TIMEOUT_S = 0.1  # connect, and reply
RETRY_S = 0.002
READ_BACK_BATCH = 500


def resp(*words: str | bytes) -> bytes:
    """One command in RESP."""
    out = [b"*%d\r\n" % len(words)]
    for word in words:
        raw = word.encode() if isinstance(word, str) else word
        out.append(b"$%d\r\n%s\r\n" % (len(raw), raw))
    return b"".join(out)


def outcome_of(error: OSError) -> str:
    """A stable name for what went wrong with a connection."""
    if isinstance(error, (socket.timeout, TimeoutError)):
        return "timeout"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, (ConnectionResetError, BrokenPipeError)):
        return "reset"
    return "unreachable"


@dataclass
class WriteLog:
    """What a client did: acknowledgements in order, and failures in order."""

    prefix: str
    acks: list[tuple[float, int]] = field(default_factory=list)  # (when, key number)
    failures: list[tuple[float, str]] = field(default_factory=list)  # (when, outcome)
    started: float = 0.0
    stopped: float = 0.0

    def gaps(self, since: float = 0.0, until: float = float("inf")) -> Iterator[tuple[float, float]]:
        """(last acknowledgement before, next one) for each gap that touches the window.

        If nothing was acknowledged any more up to the end, the open gap counts, too.
        """
        previous = self.started
        for when, _ in self.acks:
            if previous <= until and when >= since:
                yield previous, when
            previous = when
        if previous <= until and self.stopped > previous:
            yield previous, self.stopped

    def longest_gap(self, since: float = 0.0, until: float = float("inf")) -> tuple[float, float]:
        return max(self.gaps(since, until), key=lambda gap: gap[1] - gap[0], default=(0.0, 0.0))

    def longest_gap_ms(self, since: float = 0.0, until: float = float("inf")) -> float:
        begin, end = self.longest_gap(since, until)
        return (end - begin) * 1000

    def failures_in(self, since: float, until: float = float("inf")) -> dict[str, int]:
        return dict(Counter(what for when, what in self.failures if since <= when <= until))

    def key(self, number: int) -> str:
        return f"{self.prefix}:{number}"

    def rate(self) -> float:
        return len(self.acks) / max(self.stopped - self.started, 1e-9)

    def summary(self) -> dict[str, object]:
        begin, end = self.longest_gap()
        return {
            "acknowledged": len(self.acks),
            "rate_per_second": round(self.rate(), 1),
            "failures": self.failures_in(0.0),
            "longest_gap_ms": round((end - begin) * 1000, 1),
            "longest_gap_begin": begin,
            "longest_gap_end": end,
            "started": self.started,
            "stopped": self.stopped,
            "wall_minus_monotonic": time.time() - time.monotonic(),
            "prefix": self.prefix,
        }

    def to_json(self) -> dict[str, object]:
        return {"summary": self.summary(), "acks": self.acks, "failures": self.failures}

    @staticmethod
    def from_json(data: dict) -> "WriteLog":
        summary = data["summary"]
        return WriteLog(summary["prefix"], [(when, number) for when, number in data["acks"]],
                        [(when, what) for when, what in data["failures"]],
                        summary["started"], summary["stopped"])


class Writer:
    """The writing loop. One thread, one connection, one command on the way at a time."""

    def __init__(self, host: str, port: int, rate: float, prefix: str) -> None:
        self.address = (host, port)
        self.interval_s = 1.0 / rate if rate > 0 else 0.0
        self.log = WriteLog(prefix)
        self.stop = False
        self._socket: socket.socket | None = None
        self._number = 0

    def run(self, seconds: float) -> WriteLog:
        self.log.started = time.monotonic()
        end = self.log.started + seconds
        due = self.log.started
        parent = os.getppid()  # with it the client ends: a stray one writes to later groups
        while not self.stop and time.monotonic() < end and os.getppid() == parent:
            ok = self.write_once()
            now = time.monotonic()
            if not ok:
                time.sleep(RETRY_S)
                continue
            # A late slot is dropped, never made up for: the pace stays even after a gap.
            due = max(due + self.interval_s, now)
            if due > now:
                time.sleep(due - now)
        self.log.stopped = time.monotonic()
        self._close()
        return self.log

    def write_once(self) -> bool:
        self._number += 1
        number = self._number
        try:
            if self._socket is None:
                self._socket = socket.create_connection(self.address, TIMEOUT_S)
                self._socket.settimeout(TIMEOUT_S)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(resp("SET", self.log.key(number), str(number)))
            reply = self._socket.recv(256)
        except OSError as error:
            return self._failed(outcome_of(error))
        if reply.startswith(b"+OK"):
            self.log.acks.append((time.monotonic(), number))
            return True
        if not reply:
            return self._failed("closed")
        return self._failed(reply[1:].split(None, 1)[0].decode("ascii", "replace"))

    def _failed(self, what: str) -> bool:
        self.log.failures.append((time.monotonic(), what))
        self._close()
        return False

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Reader:
    """Just enough of a client to read keys back: MGET replies and nothing else."""

    def __init__(self, host: str, port: int, timeout_s: float = 5.0) -> None:
        self._socket = socket.create_connection((host, port), timeout_s)
        self._stream = self._socket.makefile("rb")

    def mget(self, keys: Sequence[str]) -> list[bytes | None]:
        self._socket.sendall(resp("MGET", *keys))
        head = self._stream.readline()
        if not head.startswith(b"*"):
            raise RuntimeError(f"MGET answered {head!r}")
        values: list[bytes | None] = []
        for _ in range(int(head[1:])):
            size = int(self._stream.readline()[1:])
            values.append(None if size < 0 else self._stream.read(size + 2)[:-2])
        return values

    def close(self) -> None:
        self._stream.close()
        self._socket.close()


def lost_writes(log: WriteLog, host: str, port: int) -> list[tuple[float, int]]:
    """The acknowledged writes that HOST:PORT does not hold: [(when acknowledged, key number)]."""
    reader = Reader(host, port)
    lost: list[tuple[float, int]] = []
    try:
        for at in range(0, len(log.acks), READ_BACK_BATCH):
            batch = log.acks[at:at + READ_BACK_BATCH]
            values = reader.mget([log.key(number) for _, number in batch])
            lost += [ack for ack, value in zip(batch, values) if value != str(ack[1]).encode()]
    finally:
        reader.close()
    return lost


class ClientProcess:
    """A client in a process of its own: `with ClientProcess(host, port) as client: …; client.log()`."""

    def __init__(self, host: str, port: int, rate: float = 1000, prefix: str = "",
                 command: Sequence[str] = ()) -> None:
        self.host, self.port = host, port
        handle, name = tempfile.mkstemp(prefix="regroup-client-", suffix=".json")
        os.close(handle)
        self._file = Path(name)
        argv = [*command, sys.executable, str(Path(__file__).resolve()), host, str(port),
                "--rate", str(rate), "--log", name, "--seconds", "86400"]
        self._process = subprocess.Popen(argv + (["--prefix", prefix] if prefix else []),
                                         stdout=subprocess.PIPE, text=True)
        self._log: WriteLog | None = None
        # The first line tells that the first write was acknowledged.
        assert self._process.stdout is not None
        self.first_line = self._process.stdout.readline().strip()

    def __enter__(self) -> "ClientProcess":
        return self

    def __exit__(self, *unused: object) -> None:
        self.log()

    def log(self) -> WriteLog:
        """Stops the client, once, and gives what it did."""
        if self._log is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.communicate(timeout=60)
            self._log = WriteLog.from_json(json.loads(self._file.read_text()))
            self._file.unlink(missing_ok=True)
        return self._log

    def lost(self) -> list[tuple[float, int]]:
        return lost_writes(self.log(), self.host, self.port)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=1000.0, help="writes a second; 0: no pause")
    parser.add_argument("--prefix", default="", help="of the keys; default: unique to this run")
    parser.add_argument("--log", default="", help="file for every acknowledgement and failure")
    parser.add_argument("--verify", action="store_true", help="read all acknowledged keys back")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    prefix = args.prefix or f"client:{os.getpid()}:{time.time_ns()}"
    writer = Writer(args.host, args.port, args.rate, prefix)

    def stop(*_: object) -> None:
        writer.stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    gc.disable()  # a collection over a long log would look like a gap
    if args.log:
        writer.write_once()
        print(f"started {time.monotonic():.6f}", flush=True)
    log = writer.run(args.seconds)
    if args.log:
        Path(args.log).write_text(json.dumps(log.to_json()))
    summary = log.summary()
    if args.verify:
        summary["lost"] = len(lost_writes(log, args.host, args.port))
    if args.json:
        print(json.dumps(summary))
    elif not args.log:
        for name, value in summary.items():
            print(f"{name}: {value}")
    return 0 if log.acks else 1


if __name__ == "__main__":
    sys.exit(main())
