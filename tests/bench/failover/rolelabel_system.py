"""The role-label design: Services that select a role, and a controller that moves the label."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import manifests
import paths
from harness import Cluster, Json, wait_for
from manifests import APP, PORT, ROLE
from sentinel_system import in_sync
from stateful import StatefulSystem
from systems import MEMBERS, Member, all_ready

LOGS = paths.ROOT / "build" / "bench"
BORN_FENCED = "replicaof 127.0.0.1 1\nreplica-serve-stale-data no\n"


class RoleLabelSystem(StatefulSystem):
    name = "role-label"

    def __init__(self, cluster: Cluster, namespace: str, data_gb: float) -> None:
        super().__init__(cluster, namespace, data_gb)
        self._log = LOGS / "role-label.log"
        self._controller: subprocess.Popen | None = None

    def create(self) -> None:
        self.apply(*self.objects())
        self._start_controller()
        wait_for(f"{self.name} is whole", 120, self.settled, 0.5)

    def objects(self) -> list[Json]:
        conf = manifests.redis_conf(self.data_gb) + BORN_FENCED
        services = [manifests.service(f"{self.name}-{kind}", {APP: self.name, ROLE: role}, PORT)
                    for kind, role in (("primary", "primary"), ("reader", "replica"))]
        return [manifests.config_map(self.name, {"redis.conf": conf}), *services,
                manifests.stateful_set(
                    self.name, ["redis-server", "/etc/bench/redis.conf"], self.name, PORT,
                    manifests.resources(self.data_gb),
                    # As Regroup's: holds SIGTERM until the role has moved.
                    pre_stop={"sleep": {"seconds": 6}})]

    def _start_controller(self) -> None:
        LOGS.mkdir(parents=True, exist_ok=True)
        self._log.unlink(missing_ok=True)
        self._controller = subprocess.Popen(
            [sys.executable, str(paths.HERE / "rolelabel_controller.py"), self.namespace, self.name,
             "--log", str(self._log)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._controller.stdout is not None
        if self._controller.stdout.readline().strip() != "started":
            raise RuntimeError("the role-label controller did not start")

    def delete(self) -> None:
        if self._controller is not None:
            self._controller.communicate(timeout=20)  # the end of its stdin ends it
            self._controller = None
        self.delete_objects([("statefulsets", self.name), ("configmaps", self.name),
                             ("services", f"{self.name}-primary"),
                             ("services", f"{self.name}-reader")], [self.name])

    def pods(self) -> list[Json]:
        return self.pods_of(self.name)

    def primary(self) -> Member:
        """By the label; nobody else knows."""
        labelled = [pod for pod in self.pods() if pod["metadata"]["labels"].get(ROLE) == "primary"]
        if len(labelled) != 1:
            raise RuntimeError(f"{len(labelled)} pods are labelled as primary")
        return self.member_at(labelled[0]["status"].get("podIP", ""))

    def settled(self) -> tuple[bool, str]:
        if self._controller is None or self._controller.poll() is not None:
            raise RuntimeError("the role-label controller has ended")
        pods = self.pods()
        lacking = all_ready(pods, MEMBERS)
        if lacking:
            return False, lacking
        roles = sorted(pod["metadata"]["labels"].get(ROLE, "none") for pod in pods)
        if roles != ["primary", "replica", "replica"]:
            return False, f"the labels are {roles}"
        primary = self.primary()
        if self._served() != [primary.address]:
            return False, f"the primary's Service leads to {self._served()}"
        return in_sync(primary.address)

    def _served(self) -> list[str]:
        selector = f"kubernetes.io%2Fservice-name%3D{self.name}-primary"
        slices = self.cluster.get(f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}"
                                  f"/endpointslices?labelSelector={selector}")["items"]
        return [address for item in slices for endpoint in item.get("endpoints") or []
                if endpoint.get("conditions", {}).get("ready")
                for address in endpoint["addresses"]]

    def write_target(self) -> list[str]:
        return ["--at", f"{self.cluster_ip(f'{self.name}-primary')}:{PORT}"]

    def read_target(self) -> list[str]:
        return ["--at", f"{self.cluster_ip(f'{self.name}-reader')}:{PORT}"]

    def switch(self) -> float:
        primary = self.primary()
        target = next(one.name for one in self.members() if one.uid != primary.uid)
        assert self._controller is not None and self._controller.stdin is not None
        when = time.monotonic()
        self._controller.stdin.write(f"switch {target}\n")
        self._controller.stdin.flush()
        return when

    def stages(self, fault_at: float) -> dict[str, float]:
        return stages_of(self._log, fault_at)


def stages_of(log: Path, fault_at: float) -> dict[str, float]:
    """The first change of the primary after the fault, by the controller's own clock."""
    for line in log.read_text().splitlines() if log.exists() else []:
        entry = json.loads(line)
        if entry["event"] in ("failover", "handover") and entry["noticed"] >= fault_at:
            return {"detect": (entry["noticed"] - fault_at) * 1000,
                    "promote": (entry["promoted"] - entry["noticed"]) * 1000,
                    "labels": (entry["labelled"] - entry["promoted"]) * 1000}
    return {}
