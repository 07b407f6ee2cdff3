"""Members and Sentinels as processes on loopback, each with an address of its own, for tests.

The addresses are 127.x.y.z, so that the ports are those of pods, and what the bench does with a
cluster's pods can be done with these. A killed member is started again, as a kubelet would.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import manifests
import paths
from harness import Json, wait_for
from manifests import PORT
from rolelabel_system import BORN_FENCED
from sentinel_system import SentinelSystem, in_sync, sentinel_conf

RESTART_S = 0.7
DOWN_AFTER_MS = 2000  # with less, a busy machine makes failovers of its own
_NETWORKS = iter(range(64, 250))  # each is given once


def network() -> str:
    """The first three numbers of addresses that nobody else uses at this time."""
    for number in _NETWORKS:
        prefix = f"127.{number}.{os.getpid() % 250}"
        with socket.socket() as probe:
            if probe.connect_ex((f"{prefix}.1", PORT)) != 0:
                return prefix
    raise RuntimeError("no loopback addresses are left")


class Process:
    """One redis-server, member or Sentinel, in a folder of its own."""

    def __init__(self, name: str, address: str, folder: Path, words: list[str],
                 env: dict[str, str] | None = None) -> None:
        self.name, self.address, self.folder = name, address, folder
        self._words, self._env = words, {**os.environ, **(env or {})}
        self.start()

    def start(self) -> None:
        self._log = open(self.folder / "log", "a", encoding="utf-8")
        self.process = subprocess.Popen(self._words, env=self._env, stdout=self._log,
                                        stderr=subprocess.STDOUT)

    def pod(self) -> Json:
        """As the API would show it."""
        alive = self.process.poll() is None
        return {"metadata": {"name": self.name, "uid": f"uid-{self.name}", "labels": {}},
                "spec": {"nodeName": self.name},
                "status": {"podIP": self.address, "conditions": [
                    {"type": "Ready", "status": "True" if alive else "False"}]}}

    def end(self) -> None:
        self.process.kill()
        self.process.wait()


class Members:
    """Started again until `stop`."""

    def __init__(self) -> None:
        self.all: list[Process] = []
        self._stopped = threading.Event()
        threading.Thread(target=self._revive, daemon=True).start()

    def _revive(self) -> None:
        while not self._stopped.wait(0.05):
            for one in list(self.all):
                if one.process.poll() is not None:
                    time.sleep(RESTART_S)
                    if not self._stopped.is_set():
                        one.start()

    def stop(self) -> None:
        self._stopped.set()
        time.sleep(RESTART_S + 0.1)
        for one in self.all:
            one.end()


def conf_of(address: str, folder: Path) -> str:
    """The engine settings of the bench, on one loopback address."""
    text = manifests.redis_conf(0).replace("bind * -::*", f"bind {address}")
    return text.replace("dir /data", f"dir {folder}") + f"replica-announce-ip {address}\n"


class LocalCluster:
    """What rounds ask of a cluster: where the process of a pod is."""

    def __init__(self, members: Members) -> None:
        self._members = members
        self.faults = self

    def pid(self, _: str, pod: str) -> int:
        return next(one.process.pid for one in self._members.all if one.name == pod)


class LocalSentinels(SentinelSystem):
    """The Sentinel system of the bench, with its own scripts, on loopback."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._members, self._sentinels = Members(), Members()
        cluster: Any = LocalCluster(self._members)
        super().__init__(cluster, "local", 0, "sentinel", DOWN_AFTER_MS, 3000)
        self._net = network()

    def create(self) -> None:
        for number in range(1, 4):
            folder = self._make_folder(f"redis-{number}")
            (folder / "redis.conf").write_text(conf_of(f"{self._net}.{number}", folder / "data"))
            self._begin(self._members, f"redis-{number}", number, folder, "redis.sh")
        for number in range(1, 4):
            folder, address = self._make_folder(f"watch-{number}"), f"{self._net}.{number}"
            text = sentinel_conf(f"{self._net}.1", DOWN_AFTER_MS, 3000)
            text = text.replace("dir /data", f"dir {folder}")
            (folder / "sentinel.conf").write_text(
                f"{text}bind {address}\nsentinel announce-ip {address}\n")
            self._begin(self._sentinels, f"watch-{number}", number, folder, "sentinel.sh")
        wait_for("the set is whole", 60, self.settled, 0.2)

    def _make_folder(self, name: str) -> Path:
        folder = self._folder / name
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "data").mkdir(parents=True)
        return folder

    def _begin(self, where: Members, name: str, number: int, folder: Path, script: str) -> None:
        address = f"{self._net}.{number}"
        env = {"DATA": str(folder / "data"), "CONF": str(folder), "POD_IP": address,
               "SENTINELS": f"{self._net}.1"}
        where.all.append(Process(name, address, folder,
                                 ["sh", str(paths.HERE / "scripts" / script)], env))

    def delete(self) -> None:
        self._members.stop()
        self._sentinels.stop()

    def pods_of(self, app: str) -> list[Json]:
        where = self._sentinels if app == self.watchers else self._members
        return [one.pod() for one in where.all]


class LocalFenced:
    """Three members that are born fenced, with the labels that the role-label controller writes."""

    def __init__(self, folder: Path) -> None:
        self.members = Members()
        self.known: dict[str, Json] = {}
        net = network()
        for number in range(1, 4):
            name, address, place = f"m-{number}", f"{net}.{number}", folder / f"m-{number}"
            place.mkdir()
            (place / "redis.conf").write_text(conf_of(address, place) + BORN_FENCED)
            self.members.all.append(Process(name, address, place,
                                            ["redis-server", str(place / "redis.conf")]))
            self.known[name] = self.members.all[-1].pod()

    def label(self, name: str, role: str) -> None:
        self.known[name]["metadata"]["labels"][manifests.ROLE] = role

    def labels(self) -> dict[str, str]:
        return {name: pod["metadata"]["labels"].get(manifests.ROLE, "")
                for name, pod in self.known.items()}

    def primary(self) -> Process:
        name = next(name for name, role in self.labels().items() if role == "primary")
        return next(one for one in self.members.all if one.name == name)

    def settled(self) -> tuple[bool, str]:
        if sorted(self.labels().values()) != ["primary", "replica", "replica"]:
            return False, str(self.labels())
        return in_sync(self.primary().address)
