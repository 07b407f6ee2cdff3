"""The cluster as the end-to-end tests see it: kubectl, helm, the API, faults, and waiting.

Two kinds of cluster: the local one of `tests/cluster` (all faults), and any other, named by
REGROUP_E2E_CONTEXT (or `--context`), reached with the kubectl and helm of PATH; what needs the local
cluster is skipped there, by name.
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Iterable, Iterator, Sequence

import redis

ROOT = Path(__file__).resolve().parents[2]
CLUSTER_PROGRAM = ROOT / "tests" / "cluster" / "cluster.py"
DEFAULT_IMAGE = "regroup.dev/operator:local"

Json = dict[str, Any]

# What a look at a cluster in trouble may raise.
TROUBLE = (OSError, RuntimeError, subprocess.SubprocessError, http.client.HTTPException,
           redis.RedisError)


class NeedsLocalCluster(Exception):
    """A fault that only the local cluster can make. Tests turn it into a skip that names it."""


class ApiError(RuntimeError):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


def number_from_env(name: str, quick: float, full: float) -> float:
    """A figure of a bar: `full` with REGROUP_E2E_FULL=1, a quicker one else, or as set by name."""
    text = os.environ.get(name)
    if text:
        return float(text)
    return full if os.environ.get("REGROUP_E2E_FULL") == "1" else quick


def within(limit: float) -> float:
    """What a time may be: the bar itself in a full run; in a quick one, which runs on machines whose
    load nobody knows, four times that. The line that each test prints names the bar either way."""
    return limit if os.environ.get("REGROUP_E2E_FULL") == "1" else limit * 4


@dataclass(frozen=True)
class Settings:
    """How thorough a run is. The quick figures are for CI, the full ones are the issue's bars."""

    kills: int = field(default_factory=lambda: int(number_from_env("REGROUP_E2E_KILLS", 5, 20)))
    deletes: int = field(default_factory=lambda: int(number_from_env("REGROUP_E2E_DELETES", 3, 5)))
    cuts: int = field(default_factory=lambda: int(number_from_env("REGROUP_E2E_CUTS", 1, 5)))
    powers: int = field(default_factory=lambda: int(number_from_env("REGROUP_E2E_POWER_CUTS", 0, 5)))
    hangs: int = field(default_factory=lambda: int(number_from_env("REGROUP_E2E_HANGS", 1, 5)))
    drains: int = field(default_factory=lambda: int(number_from_env("REGROUP_E2E_DRAINS", 3, 50)))
    guard_lag_s: int = field(
        default_factory=lambda: int(number_from_env("REGROUP_E2E_GUARD_LAG_S", 2, 2)))
    planned: int = field(default_factory=lambda: int(number_from_env("REGROUP_E2E_PLANNED", 3, 50)))
    failpoint_runs: int = field(
        default_factory=lambda: int(number_from_env("REGROUP_E2E_FAILPOINT_RUNS", 0, 10)))
    rest_s: float = field(default_factory=lambda: number_from_env("REGROUP_E2E_REST_S", 30, 600))
    outage_s: float = field(default_factory=lambda: number_from_env("REGROUP_E2E_OUTAGE_S", 10, 60))


def run(argv: Sequence[str], *, text: str | None = None, check: bool = True,
        timeout: float = 120, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """A finished program. A failure carries what it said on stderr."""
    done = subprocess.run(list(argv), input=text, text=True, capture_output=True, timeout=timeout,
                          env={**os.environ, **env} if env else None)
    if check and done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-2000:]
        raise RuntimeError(f"{' '.join(argv)[:300]} ended with {done.returncode}: {said}")
    return done


def wait_for(what: str, timeout: float, look: Callable[[], tuple[bool, Any]],
             every: float = 0.1) -> Any:
    """Looks until `look` says (True, value) and gives the value; else tells what was seen last."""
    end = time.monotonic() + timeout
    while True:
        try:
            done, seen = look()
        except TROUBLE as error:
            done, seen = False, f"{type(error).__name__}: {error}"
        if done:
            return seen
        if time.monotonic() >= end:
            raise AssertionError(f"{what}: not within {timeout:g} s; last seen: {seen}")
        time.sleep(every)


class Cluster:
    """One cluster. `kubectl` for what people do, `api` (over `kubectl proxy`) for quick looks."""

    def __init__(self, context: str = "") -> None:
        self.context = context
        self.local = not context
        self.faults = Faults(self)
        self._proxy: subprocess.Popen | None = None
        self._proxy_lock = threading.Lock()
        self._closed = False
        self._port = 0

    # -- programs -----------------------------------------------------------------------------
    def program(self, name: str) -> list[str]:
        if self.local:
            return [sys.executable, str(CLUSTER_PROGRAM), name]
        return [name, "--context" if name == "kubectl" else "--kube-context", self.context]

    def kubectl(self, *args: str, text: str | None = None, check: bool = True,
                timeout: float = 120) -> str:
        done = run([*self.program("kubectl"), *args], text=text, check=check, timeout=timeout)
        return done.stdout

    def kubectl_error(self, *args: str, text: str | None = None) -> str:
        """What kubectl says when it refuses; empty when it does as asked."""
        done = run([*self.program("kubectl"), *args], text=text, check=False)
        return "" if done.returncode == 0 else done.stderr.strip()

    def apply(self, *objects: Json) -> None:
        text = "\n---\n".join(json.dumps(item) for item in objects)
        self.kubectl("apply", "-f", "-", text=text)

    def helm(self, *args: str, timeout: float = 300) -> str:
        return run([*self.program("helm"), *args], timeout=timeout).stdout

    # -- the API ------------------------------------------------------------------------------
    def api(self, method: str, path: str, body: Json | None = None,
            content_type: str = "application/json", timeout: float = 5.0) -> Json:
        """One request. Raises ApiError with the server's own message."""
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy_port(), timeout=timeout)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": content_type})
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        try:
            data = json.loads(raw) if raw else {}
        except ValueError:
            data = {"message": raw.decode("utf-8", "replace").strip()}
        if response.status >= 300:
            raise ApiError(response.status, str(data.get("message", data)))
        return data

    def get(self, path: str) -> Json:
        return self.api("GET", path)

    def watch(self, path: str, timeout: float = 5.0) -> Iterator[Json]:
        """The events of one watch, until it ends; OSError when nothing comes for so long."""
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy_port(), timeout=timeout)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status >= 300:
                raise ApiError(response.status, response.read().decode("utf-8", "replace")[:200])
            while line := response.readline():
                yield json.loads(line)
        finally:
            connection.close()

    def find(self, path: str) -> Json | None:
        """None where there is no such object."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def proxy_port(self) -> int:
        """From any thread. ConnectionError once closed: a watch that goes on starts no new proxy."""
        with self._proxy_lock:
            return self._open_proxy()

    def _open_proxy(self) -> int:
        if self._closed:
            raise ConnectionError("the cluster's harness is closed")
        if self._proxy is not None and self._proxy.poll() is None:
            return self._port
        self._proxy = subprocess.Popen(
            [*self.program("kubectl"), "proxy", "--port=0"], stdout=subprocess.PIPE, text=True,
            stderr=subprocess.DEVNULL, start_new_session=True)
        atexit.register(self.close)
        assert self._proxy.stdout is not None
        line = self._proxy.stdout.readline()  # Starting to serve on 127.0.0.1:PORT
        if ":" not in line:
            raise RuntimeError(f"kubectl proxy said {line!r}; is the cluster up?")
        self._port = int(line.rsplit(":", 1)[1])
        return self._port

    def close(self) -> None:
        """For good."""
        with self._proxy_lock:
            self._closed = True
            if self._proxy is not None and self._proxy.poll() is None:
                os.killpg(self._proxy.pid, signal.SIGTERM)  # a session of its own: only our proxy
                self._proxy.wait(timeout=10)
            self._proxy = None

    # -- namespaces and events ----------------------------------------------------------------
    def make_namespace(self, name: str) -> None:
        """A fresh namespace under the restricted pod security level."""
        self.drop_namespace(name)
        level = {"pod-security.kubernetes.io/enforce": "restricted",
                 "pod-security.kubernetes.io/enforce-version": "latest"}
        self.api("POST", "/api/v1/namespaces",
                 {"apiVersion": "v1", "kind": "Namespace",
                  "metadata": {"name": name, "labels": level}})

    def drop_namespace(self, name: str, timeout: float = 120) -> None:
        """Groups first, so that their finalizers run while the namespace still takes writes."""
        if self.find(f"/api/v1/namespaces/{name}") is None:
            return
        groups = f"/apis/regroup.dev/v1alpha1/namespaces/{name}/replicationgroups"
        if self.find(groups) is not None:
            self.api("DELETE", groups, timeout=30)
            wait_for(f"the groups of {name} are gone", timeout,
                     lambda: (not (left := [item["metadata"]["name"]
                                            for item in self.get(groups)["items"]]), left), 0.3)
        self.api("DELETE", f"/api/v1/namespaces/{name}")
        wait_for(f"namespace {name} is gone", timeout,
                 lambda: ((left := self.find(f"/api/v1/namespaces/{name}")) is None,
                          (left or {}).get("status")), 0.3)

    def events(self, namespace: str, group: str) -> list[Json]:
        """Events about a group, oldest first."""
        items = self.get(f"/apis/events.k8s.io/v1/namespaces/{namespace}/events")["items"]
        mine = [item for item in items
                if item.get("regarding", {}).get("kind") == "ReplicationGroup"
                and item["regarding"].get("name") == group]
        return sorted(mine, key=lambda item: item.get("eventTime") or "")

    def zones(self) -> dict[str, str]:
        """Node name -> zone."""
        nodes = self.get("/api/v1/nodes")["items"]
        return {node["metadata"]["name"]:
                node["metadata"].get("labels", {}).get("topology.kubernetes.io/zone", "")
                for node in nodes}


class Faults:
    """What breaks things. Each of them needs the local cluster, but deleting a pod."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def _program(self, *args: str, what: str, timeout: float = 60) -> str:
        if not self._cluster.local:
            raise NeedsLocalCluster(what)
        return run([sys.executable, str(CLUSTER_PROGRAM), *args], timeout=timeout).stdout.strip()

    def require(self, what: str) -> None:
        if not self._cluster.local:
            raise NeedsLocalCluster(what)

    def pid(self, namespace: str, pod: str) -> int:
        """The main process of a pod's container, as a process id of this machine."""
        return int(self._program("pid", f"{namespace}/{pod}", what="kill -9 of a process in a pod"))

    def _timed(self, *args: str, what: str) -> float:
        """The CLOCK_MONOTONIC time that the program tells: "… at 1700000000.1 (…)"."""
        found = re.search(r" (?:at|since) (\d+\.\d+)", self._program(*args, what=what))
        wall = float(found.group(1)) if found else time.time()
        return wall - (time.time() - time.monotonic())

    def cut(self, node: str) -> float:
        """The CLOCK_MONOTONIC time at which the node was cut off."""
        return self._timed("cut", node, what="a node's network cut")

    def heal(self, node: str) -> None:
        self._program("heal", node, what="a node's network healed")

    def block(self, node: str, source: str, target: str, port: int | None = None) -> float:
        """Drops what goes from source to target through the node; `unblock` and `heal` end it."""
        only = [f"--port={port}"] if port else []
        return self._timed("block", node, source, target, *only, what="one flow blocked")

    def unblock(self, node: str) -> None:
        self._program("unblock", node, what="one flow blocked")

    def freeze_node(self, node: str) -> float:
        """SIGSTOP of everything on the node; its kernel goes on."""
        return self._timed("freeze", node, what="a frozen node")

    def thaw_node(self, node: str) -> None:
        self._program("thaw", node, what="a frozen node")

    def power_back(self, node: str, pids: Iterable[int]) -> None:
        """After a power cut (`cut`, `freeze_node`): what ran there ends before the rest goes on."""
        for pid in pids:
            try:
                die(pid)
            except ProcessLookupError:
                pass
        self.thaw_node(node)

    def save_etcd(self) -> None:
        self._program("save-etcd", what="etcd's data saved")

    def restore_etcd(self) -> float:
        """Back to the saved data; the time is that of the new API server's health."""
        self._program("restore-etcd", what="etcd's data restored", timeout=120)
        return time.monotonic()

    def repair(self) -> None:
        """Starts again what an outage ended beside its victim: kube-scheduler ends itself when its cache
        disagrees with a new API server, and elsewhere a kubelet would start it again."""
        if self._cluster.local:
            self._program("up", what="the cluster repaired", timeout=180)

    def recycle_volumes(self) -> None:
        """Volumes whose claims are gone can be claimed again; elsewhere a provisioner makes new ones."""
        if self._cluster.local:
            self._program("recycle", what="volumes recycled")

    def component(self, action: str, name: str) -> None:
        """stop, start, pause, resume of apiserver or etcd."""
        self._program(action, name, what=f"{name} outage")

    def inside(self, node: str) -> list[str]:
        """The words to put in front of a program that is to run in a node's network."""
        self.require("a program in a node's network")
        return [sys.executable, str(CLUSTER_PROGRAM), "exec-in", node, "--"]

    def audit_log(self) -> Path:
        return Path(self._program("audit-log", what="the API server's audit log"))


def strike(pid: int, number: int) -> float:
    """A signal, and the CLOCK_MONOTONIC time of it."""
    when = time.monotonic()
    os.kill(pid, number)
    return when


def resume(pid: int) -> None:
    """SIGCONT; a process that was ended meanwhile is an outcome, too."""
    try:
        strike(pid, signal.SIGCONT)
    except ProcessLookupError:
        pass


def undo_all(undos: list[Callable[[], Any]], notes: list[str]) -> None:
    """Every undo once, the latest first; one that fails is noted and stops no other."""
    while undos:
        try:
            undos.pop()()
        except (*TROUBLE, AssertionError) as error:
            notes.append(f"undoing failed: {error}")


def die(pid: int) -> float:
    """kill -9, and the CLOCK_MONOTONIC time of it."""
    return strike(pid, signal.SIGKILL)
