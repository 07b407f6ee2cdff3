"""A write load beside the client that measures: redis-benchmark through the primary's ClusterIP.

It ends with its connection, as programs without a retry do, so it is begun again at once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time

import redis


class Load:
    """Writes as fast as `connections` can, each waiting for its answer; use it with `with`."""

    def __init__(self, host: str, connections: int = 1) -> None:
        self.host = host
        self.connections = connections
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> "Load":
        command = (f"while :; do redis-benchmark -h {self.host} -p 6379 -c {self.connections} -d 32 "
                   "-r 100000 -n 100000000 -q -t set; sleep 0.02; done")
        self._process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.DEVNULL,
                                         stderr=subprocess.DEVNULL, start_new_session=True)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)  # a session of its own: only the load
        self._process.wait()


def writes_per_second(host: str, seconds: float = 1.0) -> float:
    """What the primary behind `host` executes, all clients together."""
    with redis.Redis(host=host, port=6379, socket_timeout=2.0) as link:
        before, begin = int(link.info("stats")["total_commands_processed"]), time.monotonic()
        time.sleep(seconds)
        after, end = int(link.info("stats")["total_commands_processed"]), time.monotonic()
    return (after - before) / (end - begin)
