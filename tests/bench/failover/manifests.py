"""Objects of the two systems that the bench makes by itself: pure functions.

What can be is as Regroup makes it: image, resources, engine settings, probe, a member in each zone.
"""

from __future__ import annotations

from typing import Any, Mapping, Sequence

import paths  # noqa: F401
from group import SMALL
from harness import Json

IMAGE = "docker.io/library/redis:7.0"
APP = "bench.regroup.dev/app"
ROLE = "bench.regroup.dev/role"
MI = 1 << 20
PORT = 6379
SENTINEL_PORT = 26379


def limit_mi(data_gb: float) -> int:
    """Memory limit of a member: its data, and what Regroup's maxmemory leaves free beside it."""
    return 512 if data_gb == 0 else 512 + round(data_gb * 1536)


def resources(data_gb: float) -> Json:
    return {"requests": dict(SMALL["requests"]), "limits": {"memory": f"{limit_mi(data_gb)}Mi"}}


def redis_conf(data_gb: float) -> str:
    """As operator/render/redis_conf.cc has it, but for guard, users, fence and shutdown-timeout."""
    limit = limit_mi(data_gb) * MI
    memory = limit * 3 // 4
    backlog = min(max(64 * MI, memory // 100), 512 * MI)
    buffer = max(256 * MI, memory // 10)
    return "\n".join([
        "bind * -::*", f"port {PORT}", "protected-mode no", "dir /data", 'save ""', "appendonly no",
        "hz 10", "dynamic-hz no", "repl-ping-replica-period 1",
        "repl-timeout 10", f"repl-backlog-size {backlog}", "repl-backlog-ttl 0",
        "repl-diskless-sync yes", "repl-diskless-sync-delay 0", "repl-diskless-load disabled",
        f"client-output-buffer-limit replica {buffer} {buffer} 60", f"maxmemory {memory}",
        "maxmemory-policy volatile-lru", ""])


def config_map(name: str, data: Mapping[str, str]) -> Json:
    return {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "labels": {APP: name}}, "data": dict(data)}


def service(name: str, selector: Mapping[str, str], port: int) -> Json:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
            "spec": {"selector": dict(selector), "ports": [{"name": "redis", "port": port}]}}


def stateful_set(name: str, command: Sequence[str], config: str, port: int, limits: Json,
                 env: Mapping[str, str] | None = None, pre_stop: Json | None = None) -> Json:
    """Three pods, one on each node, made anew when deleted; `config` is in /etc/bench."""
    container: dict[str, Any] = {
        "name": "redis", "image": IMAGE, "imagePullPolicy": "IfNotPresent", "workingDir": "/data",
        "command": list(command),
        "env": [{"name": "POD_IP",
                 "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                *({"name": key, "value": value} for key, value in (env or {}).items())],
        "ports": [{"name": "redis", "containerPort": port}],
        "resources": limits,
        "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 2, "timeoutSeconds": 2,
                           "failureThreshold": 3},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                            "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"},
                         {"name": "config", "mountPath": "/etc/bench", "readOnly": True}]}
    if pre_stop is not None:
        container["lifecycle"] = {"preStop": pre_stop}
    return {
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name},
        "spec": {
            "replicas": 3, "serviceName": name, "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "selector": {"matchLabels": {APP: name}},
            "template": {"metadata": {"labels": {APP: name}},
                         "spec": _pod(name, container, config)}}}


def _pod(name: str, container: Json, config: str) -> Json:
    apart = {"topologyKey": "kubernetes.io/hostname",
             "labelSelector": {"matchLabels": {APP: name}}}
    return {
        "containers": [container], "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
        "automountServiceAccountToken": False, "enableServiceLinks": False,
        "affinity": {"podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [apart]}},
        "securityContext": {"runAsNonRoot": True, "runAsUser": 999, "runAsGroup": 999,
                            "fsGroup": 999, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [{"name": "data", "emptyDir": {}},
                    {"name": "config", "configMap": {"name": config}}]}
