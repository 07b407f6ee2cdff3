"""A ReplicationGroup under test: its manifest, and what can be seen of it from outside."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis

from client import ClientProcess
from harness import Cluster, Json, wait_for

COOL_DOWN_S = 10  # spec.failover.coolDownSeconds
API = "/apis/regroup.dev/v1alpha1"
SMALL = {"requests": {"memory": "128Mi", "cpu": "20m"}, "limits": {"memory": "512Mi"}}


def lesson_group(name: str = "web-cache") -> Json:
    """The lesson's replication group, word for word, as a resource."""
    return {
        "apiVersion": "regroup.dev/v1alpha1",
        "kind": "ReplicationGroup",
        "metadata": {"name": name},
        "spec": {
            "description": "Web application cache",
            "engine": "redis",
            "engineVersion": "7.0",
            "cacheNodeType": "cache.r7g.large",
            "replicasPerNodeGroup": 2,
            "automaticFailoverEnabled": True,
            "multiAZEnabled": True,
        },
    }


def small_group(name: str, replicas: int = 2, **spec: Any) -> Json:
    """A group for tests: small members, everything else as the lesson has it."""
    manifest = lesson_group(name)
    body = manifest["spec"]
    del body["cacheNodeType"]
    body["resources"] = SMALL
    body["replicasPerNodeGroup"] = replicas
    if replicas == 0:
        del body["automaticFailoverEnabled"], body["multiAZEnabled"]
    body.update(spec)
    return manifest


@dataclass(frozen=True)
class MemberView:
    """A line of status.nodeGroups[0].nodeGroupMembers."""

    name: str
    uid: str
    role: str
    status: str
    zone: str
    node: str
    address: str


@dataclass(frozen=True)
class Incarnation:
    """One life of a member: another pod or another container is another life."""

    uid: str
    restarts: int


class Group:
    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.name = name
        self.path = f"{API}/namespaces/{namespace}/replicationgroups/{name}"

    # -- the resource -------------------------------------------------------------------------
    def create(self, manifest: Json) -> float:
        """Applies the manifest; gives the CLOCK_MONOTONIC time just before."""
        manifest = {**manifest, "metadata": {**manifest["metadata"], "namespace": self.namespace}}
        when = time.monotonic()
        self.cluster.apply(manifest)
        return when

    def patch(self, spec: Json) -> None:
        self.cluster.api("PATCH", self.path, {"spec": spec}, "application/merge-patch+json")

    def delete(self, timeout: float = 90, wait: bool = True) -> float:
        """Deletes the group and waits until it is gone; gives how long that took."""
        begin = time.monotonic()
        if self.cluster.find(self.path) is not None:
            self.cluster.api("DELETE", self.path)
        if wait:
            self.wait_gone(timeout)
        return time.monotonic() - begin

    def wait_gone(self, timeout: float = 90) -> None:
        wait_for(f"{self.name} is deleted", timeout,
                 lambda: ((left := self.cluster.find(self.path)) is None,
                          left and left.get("status", {}).get("conditions")), 0.2)

    def scale(self, replicas: int) -> None:
        self.cluster.kubectl("-n", self.namespace, "scale", f"replicationgroup/{self.name}",
                             f"--replicas={replicas}")

    def get(self) -> Json:
        return self.cluster.get(self.path)

    # -- what it says -------------------------------------------------------------------------
    def node_group(self) -> Json:
        groups = self.get().get("status", {}).get("nodeGroups") or [{}]
        return groups[0]

    def epoch(self) -> int:
        return int(self.node_group().get("epoch", 0))

    def members(self) -> list[MemberView]:
        return members_of(self.node_group())

    def primary(self) -> MemberView:
        """The recorded primary."""
        node_group = self.node_group()
        uid = node_group.get("primary", {}).get("uid", "")
        for member in members_of(node_group):
            if member.uid == uid:
                return member
        raise RuntimeError(f"no member of {self.name} is the recorded primary {uid!r}")

    def settled(self, members: int) -> tuple[bool, str]:
        """All as wanted: Ready for this generation, nothing under way, so many members in sync."""
        group = self.get()
        status = group.get("status", {})
        node_group = (status.get("nodeGroups") or [{}])[0]
        ready = condition_of(group, "Ready")
        available = [m for m in members_of(node_group) if m.status == "available"]
        text = (f"Ready={ready.get('status')} ({ready.get('reason')}: {ready.get('message')}), "
                f"{len(available)} of {members} available, epoch {node_group.get('epoch')}, "
                f"transition {node_group.get('transition')}")
        done = (ready.get("status") == "True" and not node_group.get("transition")
                and status.get("observedGeneration") == group["metadata"]["generation"]
                and len(available) == members == len(members_of(node_group)))
        return done, text

    def wait_settled(self, members: int = 3, timeout: float = 60, every: float = 0.1) -> float:
        """Gives the CLOCK_MONOTONIC time at which the group was seen as wanted."""
        try:
            wait_for(f"{self.name} has {members} members in sync", timeout,
                     lambda: self.settled(members), every)
        except AssertionError as error:
            raise AssertionError(f"{error}; pods: {self.pod_troubles() or 'all fine'}") from None
        return time.monotonic()

    def wait_readers(self, members: int = 3) -> None:
        """Until the reader endpoint leads to each replica, as it does some seconds after a failover.

        kube-proxy waits up to a second with what comes within a second of its last change, so a
        round that begins before that measures the one before it, too.
        """
        wait_for(f"the reader endpoint of {self.name} leads to {members - 1} members", 60,
                 lambda: ((count := len(self.slice("reader"))) == max(members - 1, 1), str(count)))

    def wait_calm(self) -> None:
        """Until the next failover counts as the first of a row (rule cool-down, its defaults)."""
        last = self.node_group().get("lastFailover") or {}
        if "lastAutomaticAt" not in last:
            return
        ended = datetime.fromisoformat(last["lastAutomaticAt"].replace("Z", "+00:00")).timestamp()
        calm_s = 2 * COOL_DOWN_S * 2 ** max(int(last.get("streak", 1)) - 1, 0)
        time.sleep(max(0.0, ended + calm_s + 1 - time.time()))

    def events(self, reason: str = "") -> list[Json]:
        found = self.cluster.events(self.namespace, self.name)
        return [event for event in found if not reason or event.get("reason") == reason]

    # -- what can be seen without asking it ---------------------------------------------------
    def pods(self) -> list[Json]:
        selector = f"regroup.dev/group%3D{self.name}"
        return self.cluster.get(
            f"/api/v1/namespaces/{self.namespace}/pods?labelSelector={selector}")["items"]

    def pod_troubles(self) -> list[str]:
        """Why pods do not run, in Kubernetes' own words."""
        troubles = []
        for pod in self.pods():
            said = [condition.get("message", "") for condition in pod["status"].get("conditions", [])
                    if condition["type"] == "PodScheduled" and condition["status"] != "True"]
            said += [status["state"]["waiting"].get("reason", "")
                     for status in pod["status"].get("containerStatuses") or []
                     if "waiting" in status.get("state", {})]
            troubles += [f"{pod['metadata']['name']}: {text}" for text in said]
        return troubles

    def incarnations(self) -> dict[str, Incarnation]:
        lives = {}
        for pod in self.pods():
            statuses = pod["status"].get("containerStatuses") or [{}]
            lives[pod["metadata"]["name"]] = Incarnation(
                pod["metadata"]["uid"], int(statuses[0].get("restartCount", 0)))
        return lives

    def addresses(self) -> dict[str, str]:
        """For an observer: every process's own address, by a label that names its pod for good."""
        return {f"{pod['metadata']['name']}/{pod['metadata']['uid'][:8]}":
                f"{pod['status']['podIP']}:6379"
                for pod in self.pods() if pod["status"].get("podIP")}

    @staticmethod
    def label_of(member: MemberView) -> str:
        return f"{member.name}/{member.uid[:8]}"

    def vip(self, kind: str = "primary") -> str:
        """The ClusterIP of an endpoint."""
        service = self.cluster.get(
            f"/api/v1/namespaces/{self.namespace}/services/{self.name}-{kind}")
        return str(service["spec"]["clusterIP"])

    def slice(self, kind: str) -> list[Json]:
        """The endpoints behind a Service, from all its EndpointSlices."""
        selector = f"kubernetes.io/service-name%3D{self.name}-{kind}"
        slices = self.cluster.get(f"/apis/discovery.k8s.io/v1/namespaces/{self.namespace}"
                                  f"/endpointslices?labelSelector={selector}")["items"]
        return [endpoint for item in slices for endpoint in item.get("endpoints") or []]

    # -- data ---------------------------------------------------------------------------------
    def redis(self, kind: str = "primary", timeout: float = 2.0,
              patience: float = 10) -> redis.Redis:
        """A client of an endpoint, once the endpoint leads to what it promises: kube-proxy learns of
        a new primary up to a second or two after us, and may lead to the old one until then."""
        address = self.vip(kind)

        def look() -> tuple[bool, Any]:
            link = connect(address, timeout)
            role = link.role()[0]
            return kind != "primary" or role == b"master", link

        return wait_for(f"the {kind} endpoint of {self.name} answers", patience, look, 0.02)

    def client(self, rate: float = 1000) -> ClientProcess:
        """A writing client; it starts once the endpoint takes connections."""
        self.redis().close()
        return ClientProcess(self.vip(), 6379, rate=rate)

    def seed(self, count: int = 1000) -> None:
        """A data set that must outlive every fault."""
        link = self.redis()
        for at in range(0, count, 500):
            link.mset({f"seed:{n}": n for n in range(at, min(at + 500, count))})
        replicas = len(self.members()) - 1
        if replicas:
            link.wait(replicas, 5000)

    def missing_seeds(self, count: int = 1000) -> dict[str, int]:
        """How many keys of the seed each member lacks; members that lack none are left out."""
        missing = {}
        for member in self.members():
            link = connect(member.address)
            lacking = 0
            for at in range(0, count, 500):
                keys = [f"seed:{n}" for n in range(at, min(at + 500, count))]
                lacking += sum(value is None for value in link.mget(keys))
            if lacking:
                missing[member.name] = lacking
        return missing


def connect(host: str, timeout: float = 2.0) -> redis.Redis:
    return redis.Redis(host=host, port=6379, socket_timeout=timeout,
                       socket_connect_timeout=timeout)


def members_of(node_group: Json) -> list[MemberView]:
    return [MemberView(line.get("cacheClusterID", ""), line.get("uid", ""),
                       line.get("currentRole", ""), line.get("status", ""),
                       line.get("preferredAvailabilityZone", ""), line.get("node", ""),
                       line.get("readEndpoint", {}).get("address", ""))
            for line in node_group.get("nodeGroupMembers") or []]


def condition_of(group: Json, kind: str) -> Json:
    for condition in group.get("status", {}).get("conditions") or []:
        if condition.get("type") == kind:
            return condition
    return {}
