"""A plain redis-server on this machine, for tests of the measuring programs themselves."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import redis

from harness import die, wait_for


class Server:
    """One redis-server on a free loopback port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._folder = folder
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--save", "", "--dir", str(self._folder),
             "--repl-diskless-sync-delay", "0"],
            stdout=subprocess.DEVNULL)
        self.link = redis.Redis(port=self.port)
        wait_for("redis-server answers", 10, lambda: (self.link.ping(), ""), 0.02)

    def kill(self) -> float:
        when = die(self.process.pid)
        self.process.wait()
        return when
