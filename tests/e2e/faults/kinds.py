#!/usr/bin/env python3
"""Clients of every kind at once, as applications have them: `python3 kinds.py HOST PORT --log F`.

pooled, pipelined and MULTI write unique keys with redis-py and note each acknowledgement; BLPOP and
pub/sub note each item that comes through; idle holds one connection and uses it only at the end.
They run slowly, beside the plain client of `client.py`, which gives the figures.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Callable

import redis

TIMEOUT_S = 0.5  # of a socket; what redis-py's users commonly set
RETRY_S = 0.02
BLOCK_S = 1  # of BLPOP


@dataclass
class KindLog:
    """What one kind of client saw."""

    beats: list[float] = field(default_factory=list)  # each success
    keys: list[tuple[float, str]] = field(default_factory=list)  # acknowledged writes
    errors: list[tuple[float, str]] = field(default_factory=list)
    stopped: float = 0.0
    last_word: str = ""  # of the idle connection

    def longest_gap_s(self, since: float) -> float:
        """Between two successes around the fault; the time up to the end counts if none came."""
        if not self.beats:
            return self.stopped - since
        ends = [*self.beats[1:], max(self.stopped, self.beats[-1])]
        return max((end - begin for begin, end in zip(self.beats, ends) if end >= since),
                   default=0.0)

    def errors_since(self, since: float) -> dict[str, int]:
        return dict(Counter(what for when, what in self.errors if when >= since))


class Kinds:
    def __init__(self, host: str, port: int, prefix: str) -> None:
        self.host, self.port, self.prefix = host, port, prefix
        self.logs = {name: KindLog() for name in self.bodies()}
        self.stop = threading.Event()
        self._number = 0
        self._lock = threading.Lock()

    def bodies(self) -> dict[str, Callable[[KindLog, redis.Redis], None]]:
        return {"pooled": self.pooled, "pipelined": self.pipelined, "MULTI": self.multi,
                "BLPOP": self.blocking, "pub/sub": self.pubsub}

    def link(self, timeout: float = TIMEOUT_S) -> redis.Redis:
        return redis.Redis(connection_pool=redis.ConnectionPool(
            host=self.host, port=self.port, socket_timeout=timeout,
            socket_connect_timeout=TIMEOUT_S))

    def key(self, kind: str) -> str:
        with self._lock:
            self._number += 1
            return f"{self.prefix}:{kind}:{self._number}"

    # Each body does one step; the loop around it notes success and failure.
    def pooled(self, log: KindLog, link: redis.Redis) -> None:
        key = self.key("pooled")
        if link.set(key, key) is True:
            log.keys.append((time.monotonic(), key))
        time.sleep(0.02)

    def pipelined(self, log: KindLog, link: redis.Redis) -> None:
        keys = [self.key("pipelined") for _ in range(10)]
        pipe = link.pipeline(transaction=False)
        for key in keys:
            pipe.set(key, key)
        answers = pipe.execute(raise_on_error=False)
        log.keys += [(time.monotonic(), key) for key, answer in zip(keys, answers)
                     if answer is True]
        bad = next((answer for answer in answers if isinstance(answer, Exception)), None)
        if bad is not None:
            raise bad
        time.sleep(0.1)

    def multi(self, log: KindLog, link: redis.Redis) -> None:
        keys = [self.key("multi") + half for half in ("a", "b")]
        pipe = link.pipeline(transaction=True)
        for key in keys:
            pipe.set(key, key)
        pipe.execute()
        log.keys += [(time.monotonic(), key) for key in keys]
        time.sleep(0.05)

    def blocking(self, log: KindLog, link: redis.Redis) -> None:
        got = link.blpop(f"{self.prefix}:list", timeout=BLOCK_S)
        if got is None:
            raise TimeoutError("nothing was pushed")

    def pubsub(self, log: KindLog, link: redis.Redis) -> None:
        listener = link.pubsub(ignore_subscribe_messages=True)
        try:
            listener.subscribe(f"{self.prefix}:news")
            quiet_since = time.monotonic()
            while not self.stop.is_set():
                if listener.get_message(timeout=0.2) is not None:
                    quiet_since = time.monotonic()
                    log.beats.append(quiet_since)
                elif time.monotonic() - quiet_since > 1.0:
                    raise TimeoutError("nothing was published")
        finally:
            listener.close()

    def feed(self) -> None:
        """Pushes and publishes for the two kinds that only listen."""
        link = self.link()
        while not self.stop.wait(0.1):
            try:
                link.rpush(f"{self.prefix}:list", time.monotonic())
                link.publish(f"{self.prefix}:news", time.monotonic())
            except (redis.RedisError, OSError):
                continue

    def loop(self, name: str) -> None:
        log, body = self.logs[name], self.bodies()[name]
        link = self.link(BLOCK_S + TIMEOUT_S if name == "BLPOP" else TIMEOUT_S)
        while not self.stop.is_set():
            try:
                body(log, link)
                log.beats.append(time.monotonic())
            except (redis.RedisError, OSError) as error:
                log.errors.append((time.monotonic(), type(error).__name__))
                self.stop.wait(RETRY_S)

    def run(self) -> dict[str, KindLog]:
        idle = redis.Connection(host=self.host, port=self.port, socket_timeout=TIMEOUT_S)
        idle.send_command("PING")
        idle.read_response()
        threads = [threading.Thread(target=self.loop, args=[name], daemon=True)
                   for name in self.logs]
        threads.append(threading.Thread(target=self.feed, daemon=True))
        for thread in threads:
            thread.start()
        parent = os.getppid()  # with it the clients end: stray ones write to later groups
        while not self.stop.wait(1.0) and os.getppid() == parent:
            pass
        self.stop.set()
        stopped = time.monotonic()
        for log in self.logs.values():
            log.stopped = stopped
        for thread in threads:
            thread.join(3)
        self.logs["idle"] = KindLog(last_word=last_word(idle, f"{self.prefix}:idle"))
        return self.logs


def last_word(connection: redis.Connection, key: str) -> str:
    """What a connection that slept through everything says to its first write."""
    try:
        # A pool of redis-py looks before it hands a connection out, and so does this.
        if connection.can_read():
            return "closed"
        connection.send_command("SET", key, key)
        return "OK" if connection.read_response() == b"OK" else "?"
    except redis.exceptions.ReadOnlyError:
        return "READONLY"
    except redis.exceptions.TimeoutError:
        return "timeout"
    except (redis.RedisError, OSError):
        return "closed"


class KindsProcess:
    """All kinds in a process of their own: `with KindsProcess(host) as kinds: …; kinds.logs()`."""

    def __init__(self, host: str, port: int = 6379) -> None:
        handle, name = tempfile.mkstemp(prefix="regroup-kinds-", suffix=".json")
        os.close(handle)
        self._file = Path(name)
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), host, str(port), "--log", name],
            stdout=subprocess.PIPE, text=True)
        self._logs: dict[str, KindLog] | None = None
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "started":
            raise RuntimeError("the clients of all kinds did not start")

    def __enter__(self) -> "KindsProcess":
        return self

    def __exit__(self, *unused: object) -> None:
        self.logs()

    def logs(self) -> dict[str, KindLog]:
        if self._logs is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.communicate(timeout=30)
            self._logs = {name: KindLog(**log)
                          for name, log in json.loads(self._file.read_text()).items()}
            self._file.unlink(missing_ok=True)
        return self._logs


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--log", required=True)
    args = parser.parse_args()
    kinds = Kinds(args.host, args.port, f"kinds:{os.getpid()}:{time.time_ns()}")
    signal.signal(signal.SIGTERM, lambda *_: kinds.stop.set())
    print("started", flush=True)
    logs = kinds.run()
    Path(args.log).write_text(json.dumps({name: asdict(log) for name, log in logs.items()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
