#!/usr/bin/env python3
"""An observer that looks for two writable members: `python3 observer.py web-cache-001=10.244.1.5:6379 …`.

It sends SET to every member's own address each 20 ms and notes each `+OK`; anything else is no
acknowledgement. `--stdin` takes more members while it runs (one `LABEL=HOST:PORT` a line). It runs
outside the cluster and, by `cluster.py exec-in NODE -- python3 observer.py …`, inside a node that is cut
off. Only the standard library; times are CLOCK_MONOTONIC, so the logs of several observers on one
machine can be laid on top of each other.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Sequence

PERIOD_S = 0.02
TIMEOUT_S = 0.1


@dataclass(frozen=True)
class Ok:
    """One `+OK`. All replies that one look at the sockets brought carry the same time."""

    sent: float
    replied: float
    label: str


@dataclass(frozen=True)
class Span:
    """A member took writes from its first to its last `+OK`, with no other outcome in between."""

    label: str
    first: Ok
    last: Ok


@dataclass
class ObserverLog:
    oks: list[Ok] = field(default_factory=list)
    others: list[tuple[float, str, str]] = field(default_factory=list)  # (when, label, outcome)

    def merged(self, *logs: "ObserverLog") -> "ObserverLog":
        out = ObserverLog(list(self.oks), list(self.others))
        for log in logs:
            out.oks += log.oks
            out.others += log.others
        out.oks.sort(key=lambda ok: ok.replied)
        out.others.sort()
        return out

    def spans(self) -> list[Span]:
        """The times in which each member took writes; any other outcome of that member ends one."""
        broken: dict[str, list[float]] = defaultdict(list)
        for when, label, _ in self.others:
            broken[label].append(when)
        by_label: dict[str, list[Ok]] = defaultdict(list)
        for ok in sorted(self.oks, key=lambda ok: ok.replied):
            by_label[ok.label].append(ok)
        spans: list[Span] = []
        for label, oks in by_label.items():
            breaks = iter(sorted(broken[label]) + [float("inf")])
            until = next(breaks)
            first = last = oks[0]
            for ok in oks:
                ended = False
                while until < ok.replied:
                    ended = ended or until > last.replied
                    until = next(breaks)
                if ended:
                    spans.append(Span(label, first, last))
                    first = ok
                last = ok
            spans.append(Span(label, first, last))
        return sorted(spans, key=lambda span: span.first.replied)

    def last_ok(self, label: str, before: float = float("inf")) -> Ok | None:
        found = [ok for ok in self.oks if ok.label == label and ok.replied <= before]
        return max(found, key=lambda ok: ok.replied, default=None)

    def first_ok(self, label: str, after: float = 0.0) -> Ok | None:
        found = [ok for ok in self.oks if ok.label == label and ok.replied >= after]
        return min(found, key=lambda ok: ok.replied, default=None)

    def writers(self) -> list[str]:
        """Labels in the order in which they took writes; repeats are folded."""
        out: list[str] = []
        for ok in sorted(self.oks, key=lambda ok: ok.replied):
            if not out or out[-1] != ok.label:
                out.append(ok.label)
        return out

    def to_json(self) -> dict[str, object]:
        return {"oks": [(ok.sent, ok.replied, ok.label) for ok in self.oks],
                "others": self.others}

    @staticmethod
    def from_json(data: dict) -> "ObserverLog":
        return ObserverLog([Ok(*row) for row in data["oks"]],
                           [(when, label, what) for when, label, what in data["others"]])


@dataclass(frozen=True)
class Overlap:
    """Two members took writes at one time: bar 6 is broken."""

    one: Span
    other: Span
    certain: bool  # one accepted a write that was sent after the other had answered

    def __str__(self) -> str:
        begin = max(self.one.first.replied, self.other.first.replied)
        end = min(self.one.last.replied, self.other.last.replied)
        return (f"{self.one.label} and {self.other.label} both took writes for "
                f"{(end - begin) * 1000:.1f} ms from {begin:.3f}"
                f"{'' if self.certain else ' (within what the observer can tell)'}")


def overlaps(spans: Iterable[Span]) -> list[Overlap]:
    """Every pair of spans of different members in which both gave `+OK` at one time."""
    found: list[Overlap] = []
    running: list[Span] = []
    for span in sorted(spans, key=lambda one: one.first.replied):
        running = [one for one in running if one.last.replied > span.first.replied]
        for one in running:
            if one.label == span.label:
                continue
            certain = one.last.sent > span.first.replied
            found.append(Overlap(one, span, certain))
        running.append(span)
    return found


def check_one_writer(log: ObserverLog, terms: int) -> list[str]:
    """What breaks "one writer at a time": overlaps, or more changes of the writer than new terms."""
    problems = [str(overlap) for overlap in overlaps(log.spans())]
    writers = log.writers()
    if len(writers) - 1 > terms:
        problems.append(f"the writer changed {len(writers) - 1} times in {terms} new terms: "
                        + " > ".join(writers))
    return problems


class Probe:
    """One member: at most one command on the way, a new connection after every failure."""

    def __init__(self, label: str, host: str, port: int) -> None:
        self.label = label
        self.address = (host, port)
        self.socket: socket.socket | None = None
        self.connected = False
        self.sent = 0.0  # 0: nothing on the way
        self.due = 0.0
        self.deadline = 0.0
        self.late = False  # past its deadline at the last look; one more look, then it is over
        key = f"regroup-observer:{label}"
        self.command = f"*3\r\n$3\r\nSET\r\n${len(key)}\r\n{key}\r\n$1\r\n1\r\n".encode()

    def done(self) -> None:
        self.sent = self.deadline = 0.0
        self.late = False


class Observer:
    def __init__(self) -> None:
        self.log = ObserverLog()
        self.stop = False
        self._selector = selectors.DefaultSelector()
        self._probes: dict[str, Probe] = {}
        self._stdin_open = False

    def add(self, text: str) -> None:
        label, _, address = text.strip().partition("=")
        host, _, port = address.rpartition(":")
        if label and host and label not in self._probes:
            self._probes[label] = Probe(label, host, int(port))

    def read_stdin(self) -> None:
        os.set_blocking(sys.stdin.fileno(), False)
        self._selector.register(sys.stdin, selectors.EVENT_READ, None)
        self._stdin_open = True

    def run(self, seconds: float) -> ObserverLog:
        end = time.monotonic() + seconds
        while not self.stop and (now := time.monotonic()) < end:
            # Time-outs are looked at only after the sockets were read: a late look loses no +OK.
            for probe in list(self._probes.values()):
                self._tick(probe, now)
            wake = min((probe.deadline or probe.due for probe in self._probes.values()),
                       default=now + PERIOD_S)
            ready = self._selector.select(max(0.0, min(wake - time.monotonic(), PERIOD_S)))
            now = time.monotonic()
            for key, _ in ready:
                if key.data is None:
                    self._take_members()
                else:
                    self._ready(key.data, now)
        return self.log

    def _take_members(self) -> None:
        text = os.read(sys.stdin.fileno(), 65536)
        if not text:  # whoever started it is gone: a stray one writes to whoever has the address next
            self.stop = True
        for line in text.decode().splitlines():
            self.add(line)

    def _tick(self, probe: Probe, now: float) -> None:
        if probe.late and now >= probe.deadline:
            self._end(probe, now, "timeout")
        probe.late = bool(probe.deadline) and now >= probe.deadline
        if probe.deadline or now < probe.due:
            return
        probe.due = max(probe.due + PERIOD_S, now)
        probe.deadline = now + TIMEOUT_S
        if probe.socket is None:
            self._connect(probe, now)
        else:
            self._send(probe, now)

    def _connect(self, probe: Probe, now: float) -> None:
        probe.connected = False
        probe.socket = socket.socket(socket.AF_INET6 if ":" in probe.address[0]
                                     else socket.AF_INET)
        probe.socket.setblocking(False)
        error = probe.socket.connect_ex(probe.address)
        if error not in (0, 115):  # EINPROGRESS
            self._end(probe, now, _errno_name(error))
            return
        self._selector.register(probe.socket, selectors.EVENT_WRITE, probe)

    def _send(self, probe: Probe, now: float) -> None:
        assert probe.socket is not None
        try:
            probe.socket.send(probe.command)
            probe.sent = now
        except OSError as error:
            self._end(probe, now, _errno_name(error.errno or 0))

    def _ready(self, probe: Probe, now: float) -> None:
        if probe.socket is None:
            return
        if not probe.connected:
            error = probe.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                self._end(probe, now, _errno_name(error))
                return
            probe.connected = True
            self._selector.modify(probe.socket, selectors.EVENT_READ, probe)
            self._send(probe, now)
            return
        try:
            reply = probe.socket.recv(512)
        except OSError as error:
            self._end(probe, now, _errno_name(error.errno or 0))
            return
        if not reply:
            self._end(probe, now, "closed")
        elif reply.startswith(b"+OK"):
            self.log.oks.append(Ok(probe.sent, now, probe.label))
            probe.done()
        else:  # an error reply: the connection stays
            what = reply[1:].split(None, 1)[0].decode("ascii", "replace")
            self.log.others.append((now, probe.label, what))
            probe.done()

    def _end(self, probe: Probe, now: float, what: str) -> None:
        self.log.others.append((now, probe.label, what))
        if probe.socket is not None:
            try:
                self._selector.unregister(probe.socket)
            except KeyError:
                pass
            probe.socket.close()
        probe.socket = None
        probe.connected = False
        probe.done()
        probe.due = max(probe.due, now + PERIOD_S)


def _errno_name(number: int) -> str:
    return {111: "refused", 104: "reset", 32: "reset", 110: "timeout"}.get(number, "unreachable")


class ObserverProcess:
    """An observer in a process of its own. `command` is put in front, for a node's network."""

    def __init__(self, members: dict[str, str], command: Sequence[str] = (),
                 python: str = sys.executable) -> None:
        handle, name = tempfile.mkstemp(prefix="regroup-observer-", suffix=".json")
        os.close(handle)
        self._file = Path(name)
        self._known = dict(members)
        self._process = subprocess.Popen(
            [*command, python, str(Path(__file__).resolve()), "--stdin", "--log", name,
             *(f"{label}={address}" for label, address in members.items())],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._log: ObserverLog | None = None
        assert self._process.stdout is not None
        first = self._process.stdout.readline().split()
        if len(first) != 2 or first[0] != "pid":
            raise RuntimeError(f"the observer did not start: {first}")
        self.pid = int(first[1])  # of the program itself, whatever stands in front

    def add(self, members: dict[str, str]) -> None:
        for label, address in members.items():
            if label not in self._known and self._process.stdin is not None:
                self._known[label] = address
                self._process.stdin.write(f"{label}={address}\n")
                self._process.stdin.flush()

    def __enter__(self) -> "ObserverProcess":
        return self

    def __exit__(self, *unused: object) -> None:
        self.log()

    def log(self) -> ObserverLog:
        """Stops the observer, once, and gives what it saw."""
        if self._log is None:
            os.kill(self.pid, signal.SIGTERM)
            self._process.communicate(timeout=30)
            self._log = ObserverLog.from_json(json.loads(self._file.read_text()))
            self._file.unlink(missing_ok=True)
        return self._log


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("members", nargs="*", metavar="LABEL=HOST:PORT")
    parser.add_argument("--seconds", type=float, default=86400.0)
    parser.add_argument("--stdin", action="store_true", help="read more members from stdin")
    parser.add_argument("--log", default="", help="file for all that was seen")
    return parser.parse_args()


def main() -> int:
    args = parse_args()
    observer = Observer()
    for text in args.members:
        observer.add(text)

    def stop(*_: object) -> None:
        observer.stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if args.stdin:
        observer.read_stdin()
    gc.disable()  # a collection over a long log would look like a silent member
    print(f"pid {os.getpid()}", flush=True)
    log = observer.run(args.seconds)
    if args.log:
        Path(args.log).write_text(json.dumps(log.to_json()))
        return 0
    for span in log.spans():
        print(f"{span.first.replied:.3f} to {span.last.replied:.3f} +OK from {span.label}")
    print("other outcomes:", dict(Counter(f"{label} {what}" for _, label, what in log.others)))
    found = overlaps(log.spans())
    for overlap in found:
        print(overlap)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
