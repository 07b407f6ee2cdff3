"""A primary, two replicas and three Sentinels on loopback, for tests of the Sentinel client."""

from __future__ import annotations

import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

import redis

import paths  # noqa: F401
from harness import die, wait_for

NAME = "bench"
DOWN_AFTER_MS = 1000  # with less, Sentinel takes its own new connections for dead servers


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Node:
    port: int
    process: subprocess.Popen

    @property
    def link(self) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=1)

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port


class LocalSet:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.nodes: list[Node] = []
        self.sentinels: list[Node] = []
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> None:
        for _ in range(3):
            first = self.nodes[0].port if self.nodes else 0
            self.nodes.append(self._redis(first))
        for number in range(3):
            self.sentinels.append(self._sentinel(number))
        wait_for("the set is whole", 20, self.whole, 0.1)

    def whole(self) -> tuple[bool, str]:
        """Both replicas and all Sentinels know each other."""
        seen = [one.link.sentinel_master(NAME) for one in self.sentinels]
        counts = [(one["num-slaves"], one["num-other-sentinels"]) for one in seen]
        return all(one == (2, 2) for one in counts), str(counts)

    def _redis(self, primary: int) -> Node:
        port = free_port()
        words = ["redis-server", "--port", str(port), "--save", "", "--dir", str(self._folder),
                 "--dbfilename", f"{port}.rdb", "--repl-diskless-sync-delay", "0",
                 "--repl-ping-replica-period", "1"]
        if primary:
            words += ["--replicaof", "127.0.0.1", str(primary)]
        return self._begin(port, words)

    def _sentinel(self, number: int) -> Node:
        port = free_port()
        conf = self._folder / f"sentinel-{number}.conf"
        conf.write_text(
            f"port {port}\nbind 127.0.0.1\nprotected-mode no\ndir {self._folder}\n"
            f"sentinel monitor {NAME} 127.0.0.1 {self.nodes[0].port} 2\n"
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {NAME} 2000\n")
        return self._begin(port, ["redis-server", str(conf), "--sentinel"])

    def _begin(self, port: int, words: list[str]) -> Node:
        node = Node(port, subprocess.Popen(words, stdout=subprocess.DEVNULL))
        wait_for(f"port {port} answers", 10, lambda: (node.link.ping(), ""), 0.02)
        return node

    def primary(self) -> Node:
        return next(one for one in self.nodes if one.process.poll() is None
                    and one.link.role()[0] == b"master")

    def kill(self, node: Node) -> float:
        when = die(node.process.pid)
        node.process.wait()
        return when

    def stop(self) -> None:
        for node in [*self.sentinels, *self.nodes]:
            if node.process.poll() is None:
                node.process.kill()
                node.process.wait()
