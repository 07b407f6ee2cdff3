"""All that runs in a measuring run: etcd, API server, scheduler, kwok's nodes, the farm of engines, the operator.

It lives in a network namespace without a way out (scale.py enters it), so thousands of addresses are local ones, and the
kernel takes everything back when the last process ends.
"""
from __future__ import annotations

import json
import queue
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from apiserver import REPOSITORY, ApiServer, tool
from bulk import Bulk, Json
from child import Child, cpu_seconds, raise_open_files

BUILD = REPOSITORY / "build" / "release"
HERE = Path(__file__).resolve().parent
RECORDED_INFO = REPOSITORY / "tests" / "unit" / "redis" / "data" / "redis-7.0-primary.txt"
ENGINE_RANGE = "10.200.0.0/16"
ZONES = ("zone-a", "zone-b", "zone-c")
NODES = 30
LOGS = REPOSITORY / "build" / "logs" / "scale"
OPERATOR_NAMESPACE = "regroup-system"
OPERATOR_ACCOUNT = f"system:serviceaccount:{OPERATOR_NAMESPACE}:regroup"
ADMIN_PORT = 18080


def make_routes() -> None:
    """Each address of the engines' range is this machine's own; needs a network namespace of our own."""
    for words in (["link", "set", "lo", "up"], ["route", "add", "local", ENGINE_RANGE, "dev", "lo"]):
        subprocess.run(["ip", *words], check=True)


def chart_objects() -> list[Json]:
    done = subprocess.run([tool("helm"), "template", "regroup", str(REPOSITORY / "charts" / "regroup"),
                           "--namespace", OPERATOR_NAMESPACE], capture_output=True, text=True, check=True)
    return [one for one in yaml.safe_load_all(done.stdout) if one]


class Farm:
    """The engines' process; its events are queued as they come."""

    def __init__(self, folder: Path, kubeconfig: Path) -> None:
        self.child = Child(folder, "farm", BUILD / "tests/bench/scale/regroup-farm", kubeconfig, RECORDED_INFO,
                           pipes=True)
        self._events: queue.Queue[Json] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.child.process.stdout is not None
        for line in self.child.process.stdout:
            self._events.put(json.loads(line))

    def tell(self, line: str) -> None:
        assert self.child.process.stdin is not None
        self.child.process.stdin.write(line.encode() + b"\n")
        self.child.process.stdin.flush()

    def events(self, seconds: float) -> Iterator[Json]:
        """What comes in the next `seconds`, and what has come; a caller leaves when it has what it wants."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                yield self._events.get(timeout=max(deadline - time.monotonic(), 0.001))
            except queue.Empty:
                self.child.check()
                return

    def forget_events(self) -> None:
        while not self._events.empty():
            self._events.get_nowait()

    def counts(self) -> tuple[int, int]:
        """Engines that listen, and connections to them."""
        self.tell("count")
        for event in self.events(30):
            if event["event"] == "count":
                return event["engines"], event["connections"]
        raise TimeoutError("the farm does not answer")


class Stage:
    """Enter it, and everything but the operator runs; leave it, and nothing does."""

    def __init__(self, operator_arguments: list[str]) -> None:
        self._operator_arguments = operator_arguments
        self._home = tempfile.TemporaryDirectory(prefix="regroup-scale-")
        self.folder = Path(self._home.name)
        self.audit_log = self.folder / "audit.log"
        policy = self.folder / "audit.yaml"
        policy.write_text(json.dumps({
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": [OPERATOR_ACCOUNT]}, {"level": "None"}]}))
        self.api = ApiServer(extra_args=(f"--audit-policy-file={policy}", f"--audit-log-path={self.audit_log}"))
        self.operator: Child | None = None
        self._children: list[Child] = []

    def __enter__(self) -> Stage:
        try:
            self._start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop_operator()
        for child in reversed(self._children):
            child.stop()
        LOGS.mkdir(parents=True, exist_ok=True)
        for log in [*self.folder.glob("*.log"), *self.api.folder.glob("*.log")]:
            shutil.copy(log, LOGS)
        self.api.stop()
        self._home.cleanup()

    def _start(self) -> None:
        raise_open_files()
        make_routes()
        self.api.start()
        self.api.install_crds()
        self.bulk = Bulk(self.api)
        for namespace in ("groups", OPERATOR_NAMESPACE):
            self.bulk.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        self._install_operator()
        self._make_nodes()
        config = self.api.kubeconfig
        self._child("kwok", tool("kwok"), "--config", HERE / "kwok.yaml", "--kubeconfig", config,
                    "--cidr", ENGINE_RANGE, "--server-address", "127.0.0.1:10247", "--node-lease-duration-seconds", "40")
        self._child("scheduler", tool("kube-scheduler"), "--kubeconfig", config, "--leader-elect=false",
                    "--bind-address=127.0.0.1", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=500")
        self.farm = Farm(self.folder, config)
        self._children.append(self.farm.child)

    def _child(self, name: str, *argv: object) -> None:
        self._children.append(Child(self.folder, name, *argv))

    def check(self) -> None:
        for child in [*self._children, *([self.operator] if self.operator else [])]:
            child.check()

    def cpu_seconds(self) -> dict[str, float]:
        """Of each process of the run, so far."""
        children = [*([self.operator] if self.operator else []), *self._children]
        return {**{name: cpu_seconds(pid) for name, pid in self.api.pids().items()},
                **{child.name: child.cpu_seconds() for child in children}}

    def _make_nodes(self) -> None:
        for number in range(NODES):
            zone = ZONES[number % len(ZONES)]
            self.bulk.call("POST", "/api/v1/nodes", {
                "metadata": {"name": f"fake-{number}", "labels": {
                    "regroup.dev/bench": "fake", "topology.kubernetes.io/zone": zone,
                    "kubernetes.io/hostname": f"fake-{number}"}},
                "spec": {"podCIDR": f"10.200.{number}.0/24", "podCIDRs": [f"10.200.{number}.0/24"]},
                "status": {"allocatable": {"cpu": "128", "memory": "2Ti", "pods": "250"},
                           "capacity": {"cpu": "128", "memory": "2Ti", "pods": "250"}}})
            # Each new node is born tainted as not ready; no controller is here to take that away.
            self.bulk.call("PATCH", f"/api/v1/nodes/fake-{number}", {"spec": {"taints": None}},
                           "application/merge-patch+json")

    def _install_operator(self) -> None:
        """The chart's rights and catalogue, and a token of the chart's account: what an installed operator has."""
        objects = chart_objects()
        catalogue = next(one for one in objects if one["metadata"]["name"].endswith("-catalogue"))
        self.catalogue = self.folder / "catalogue.json"
        self.catalogue.write_text(catalogue["data"]["catalogue.json"])
        rights = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
        text = yaml.safe_dump_all(one for one in objects if one["kind"] in rights)
        self.api.kubectl("apply", "--server-side", "-f", "-", stdin=text)
        token = self.bulk.call("POST", f"/api/v1/namespaces/{OPERATOR_NAMESPACE}/serviceaccounts/regroup/token",
                               {"spec": {"expirationSeconds": 86400}})["status"]["token"]
        config = json.loads(self.api.kubeconfig.read_text())
        config["users"] = [{"name": "operator", "user": {"token": token}}]
        config["contexts"][0]["context"]["user"] = "operator"
        self.operator_kubeconfig = self.folder / "operator.kubeconfig"
        self.operator_kubeconfig.write_text(json.dumps(config))

    def start_operator(self) -> Child:
        """The real binary with its defaults, but for its address of /metrics and what the run was asked to try."""
        self.operator = Child(self.folder, "operator", BUILD / "operator/regroup-operator",
                              "--kubeconfig", self.operator_kubeconfig, "--catalogue", self.catalogue,
                              "--identity", "bench", "--admin-address", "127.0.0.1", "--admin-port", ADMIN_PORT,
                              *self._operator_arguments)
        return self.operator

    def stop_operator(self) -> None:
        if self.operator is not None:
            self.operator.stop()
            self.operator = None
