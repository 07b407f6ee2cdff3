"""The operator under test: installed by helm, its leader, its logs, its memory, its API writes."""

from __future__ import annotations

import copy
import json
import os
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Iterator

from harness import ROOT, Cluster, Json, wait_for

NAMESPACE = "regroup-system"
NAME = "regroup"
LEASE_PATH = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/{NAME}"
PODS_PATH = f"/api/v1/namespaces/{NAMESPACE}/pods"
DEPLOYMENT_PATH = f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{NAME}"
FAILPOINT_POD = "regroup-failpoint"
LEASE_S = 5.0
TAKE_OVER_S = 3.0  # a new leader sets what it cannot know to be set
WRITE_VERBS = frozenset({"create", "update", "patch", "delete", "deletecollection"})


def split_image(reference: str) -> tuple[str, str]:
    """repository and tag of an image reference; a port in the registry's name is no tag."""
    head, colon, tag = reference.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (reference, "latest")


@dataclass(frozen=True)
class LogLine:
    when: datetime
    pod: str
    text: str
    fields: Json


class Operator:
    def __init__(self, cluster: Cluster, image: str) -> None:
        self.cluster = cluster
        self.image = image

    def install(self, timeout_s: int = 120) -> None:
        """What the chart says wins over what people or an interrupted test left in its objects."""
        repository, tag = split_image(self.image)
        helm_3 = self.cluster.helm("version", "--short").startswith("v3")  # no server-side apply
        self.cluster.helm("upgrade", *([] if helm_3 else ["--force-conflicts"]), "--install", NAME, str(ROOT / "charts" / "regroup"),
                          "-n", NAMESPACE, "--create-namespace", "--wait",
                          "--timeout", f"{timeout_s}s",
                          "--set", f"image.repository={repository}", "--set", f"image.tag={tag}",
                          timeout=timeout_s + 60)

    # -- pods and leader ----------------------------------------------------------------------
    def pods(self) -> list[Json]:
        """The deployment's live pods."""
        selector = self.cluster.get(DEPLOYMENT_PATH)["spec"]["selector"]["matchLabels"]
        query = "%2C".join(f"{key.replace('/', '%2F')}%3D{value}" for key, value in selector.items())
        pods = self.cluster.get(f"{PODS_PATH}?labelSelector={query}")["items"]
        return [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]

    def lease(self) -> tuple[str, datetime]:
        """Holder and the time of the last renewal; no holder once the lease has run out."""
        spec = (self.cluster.find(LEASE_PATH) or {}).get("spec", {})
        renewed = parse_time(spec.get("renewTime") or "1970-01-01T00:00:00Z")
        age = (datetime.now(timezone.utc) - renewed).total_seconds()
        valid = age <= float(spec.get("leaseDurationSeconds") or 0)
        return str(spec.get("holderIdentity") or "") if valid else "", renewed

    def leader(self) -> str:
        return self.lease()[0]

    def wait_leader(self, timeout: float = 30, unlike: str = "") -> str:
        def look() -> tuple[bool, str]:
            name = self.leader()
            alive = name and name != unlike and self.cluster.find(f"{PODS_PATH}/{name}") is not None
            return bool(alive), name
        return wait_for("the operator has a leader", timeout, look, 0.2)

    def node_of(self, pod: str) -> str:
        return str(self.cluster.get(f"{PODS_PATH}/{pod}")["spec"].get("nodeName", ""))

    def pid(self, pod: str) -> int:
        return self.cluster.faults.pid(NAMESPACE, pod)

    def wait_replicas(self, count: int, timeout: float = 60) -> None:
        """So many ready replicas, and no other pod of the deployment left."""
        def look() -> tuple[bool, str]:
            status = self.cluster.get(DEPLOYMENT_PATH).get("status", {})
            ready = int(status.get("readyReplicas") or 0)
            total = len(self.pods())
            return ready == count == total, f"{ready} ready of {total}"
        wait_for(f"{count} replicas of the operator", timeout, look, 0.2)

    def scale(self, count: int) -> None:
        self.cluster.api("PATCH", DEPLOYMENT_PATH, {"spec": {"replicas": count}},
                         "application/merge-patch+json")
        self.wait_replicas(count)

    def template(self) -> Json:
        """The deployment's pod template."""
        return self.cluster.get(DEPLOYMENT_PATH)["spec"]["template"]

    # -- failpoints ---------------------------------------------------------------------------
    def start_failpoint(self, failpoint: str) -> int:
        """An operator that will kill itself at `failpoint` leads, the deployment's replica stands by.

        It is a pod of its own that is never restarted: so the crash is for good, and the standby
        does not carry the failpoint. It is armed only once its take-over is done. Gives its pid.
        """
        template = self.template()
        self.stop_failpoint()
        self.scale(0)
        self.cluster.api("POST", PODS_PATH, lone_pod(template, FAILPOINT_POD,
                                                     {"REGROUP_FAILPOINTS": "enabled"}))
        wait_for("the operator with failpoints leads", 60,
                 lambda: ((name := self.leader()) == FAILPOINT_POD, name), 0.1)
        self.scale(1)
        time.sleep(TAKE_OVER_S)
        pid = self.pid(FAILPOINT_POD)
        port = next(item["containerPort"] for item in template["spec"]["containers"][0]["ports"]
                    if item.get("name") == "admin")
        self.cluster.api("PUT", f"{PODS_PATH}/{FAILPOINT_POD}:{port}/proxy/failpoint?name={failpoint}")
        return pid

    def stop_failpoint(self) -> None:
        path = f"{PODS_PATH}/{FAILPOINT_POD}"
        if self.cluster.find(path) is None:
            return
        self.cluster.api("DELETE", f"{path}?gracePeriodSeconds=0")
        wait_for("the failpoint pod is gone", 30,
                 lambda: ((left := self.cluster.find(path)) is None, bool(left)), 0.1)

    # -- what it says and costs ---------------------------------------------------------------
    def logs(self, since: datetime) -> list[LogLine]:
        """The structured log lines of all replicas since then, in order."""
        lines: list[LogLine] = []
        stamp = since.strftime("%Y-%m-%dT%H:%M:%SZ")
        for pod in self.pods():
            name = pod["metadata"]["name"]
            text = self.cluster.kubectl("-n", NAMESPACE, "logs", name, f"--since-time={stamp}",
                                        check=False)
            lines += [line for line in parse_logs(name, text) if line.when >= since]
        return sorted(lines, key=lambda line: line.when)

    def memory_mb(self) -> dict[str, float]:
        """VmRSS of each replica's process, in MB (10^6 bytes)."""
        return {pod["metadata"]["name"]: rss_mb(self.pid(pod["metadata"]["name"]))
                for pod in self.pods()}


def lone_pod(template: Json, name: str, env: dict[str, str] | None = None) -> Json:
    """A pod like the deployment's, but on its own: never restarted, and no standby of the others."""
    spec = copy.deepcopy(template["spec"])
    spec["restartPolicy"] = "Never"
    container = spec["containers"][0]
    container.setdefault("env", []).extend(
        {"name": key, "value": value} for key, value in (env or {}).items())
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": NAMESPACE,
                         "labels": {"app.kubernetes.io/name": name}},
            "spec": spec}


def rss_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"process {pid} has no VmRSS")


def alive(pid: int) -> bool:
    """Running, and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rsplit(")", 1)[1].split()[0] not in ("Z", "X")


def wait_death(pid: int, timeout: float) -> float:
    """The CLOCK_MONOTONIC time at which the process ended."""
    wait_for(f"process {pid} dies at its failpoint", timeout,
             lambda: (not alive(pid), "it lives"), 0.005)
    return time.monotonic()


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def parse_logs(pod: str, text: str) -> Iterator[LogLine]:
    for line in text.splitlines():
        try:
            fields = json.loads(line)
            yield LogLine(parse_time(fields["ts"]), pod, str(fields.get("msg", "")), fields)
        except (ValueError, KeyError, TypeError):
            continue


def audit_events(path: Path, offset: int = 0) -> Iterator[Json]:
    """The finished writes in an audit log."""
    with open(path, encoding="utf-8") as stream:
        stream.seek(offset)
        for line in stream:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # the last line may be half written
            if event.get("verb") in WRITE_VERBS and event.get("stage") in (
                    "ResponseComplete", "Panic"):
                yield event


def endpoint_writes(cluster: Cluster, since: float) -> list[tuple[float, str]]:
    """Everybody's writes of EndpointSlices since that CLOCK_MONOTONIC time, by the audit log.

    kube-proxy, once it has followed one of them, waits up to a second with the next.
    """
    found = []
    apart = time.time() - time.monotonic()
    for event in audit_events(cluster.faults.audit_log()):
        target = event.get("objectRef", {})
        when = datetime.fromisoformat(event["stageTimestamp"].replace("Z", "+00:00")).timestamp()
        if target.get("resource") == "endpointslices" and when - apart >= since:
            who = str(event.get("user", {}).get("username", "")).rpartition(":")[2]
            found.append((when - apart, f"{who} {event['verb']} "
                                        f"{target.get('namespace', '')}/{target.get('name', '')}"))
    return found


class AuditTail:
    """The API server's audit log from now on."""

    def __init__(self, cluster: Cluster) -> None:
        self._path = cluster.faults.audit_log()
        self._offset = os.path.getsize(self._path)

    def writes(self) -> list[str]:
        """Writes by the operator's service account since then, each as "verb resource name"."""
        found = []
        for event in audit_events(self._path, self._offset):
            user = str(event.get("user", {}).get("username", ""))
            if not user.startswith(f"system:serviceaccount:{NAMESPACE}:"):
                continue
            target = event.get("objectRef", {})
            found.append(f"{event['verb']} {target.get('resource')}"
                         f"{'/' + target['subresource'] if target.get('subresource') else ''}"
                         f" {target.get('namespace', '')}/{target.get('name', '')}")
        return found

    def writes_but_lease(self) -> list[str]:
        return [write for write in self.writes() if " leases " not in write]
