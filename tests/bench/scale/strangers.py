"""Objects that are not ours: what a busy cluster holds beside the groups, of the size that is usual there."""
from __future__ import annotations

from collections.abc import Iterator

from bulk import Bulk, Json

NAMESPACE = "strangers"


def _meta(name: str) -> Json:
    return {"name": name, "labels": {"app.kubernetes.io/name": "web", "app.kubernetes.io/managed-by": "Helm",
                                     "app.kubernetes.io/instance": name, "pod-template-hash": "5d4f8c7b9c"},
            "annotations": {"checksum/config": "0123456789abcdef" * 4}}


def _pod(number: int) -> Json:
    environment = [{"name": f"SETTING_{i}", "value": f"a value of usual length, number {i}"} for i in range(30)]
    probe = {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10}
    container = {"name": "web", "image": "registry.example/web:1.2.3", "env": environment,
                 "ports": [{"containerPort": 8080}], "livenessProbe": probe, "readinessProbe": probe,
                 "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}
    # Bound to nodes that nobody plays, so that neither scheduler nor kwok spends time on them.
    return {"metadata": _meta(f"web-{number}"),
            "spec": {"nodeName": f"stranger-{number % 100}", "containers": [container]}}


def _secret(number: int) -> Json:
    return {"metadata": _meta(f"web-{number}"), "stringData": {"password": "p" * 200, "certificate": "c" * 1500}}


def _config_map(number: int) -> Json:
    return {"metadata": _meta(f"web-{number}"), "data": {"config.yaml": "setting: value\n" * 100}}


def create(bulk: Bulk, count: int) -> Iterator[str]:
    """Makes `count` of each kind, and says what it has made."""
    bulk.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    for kind, make in (("pods", _pod), ("secrets", _secret), ("configmaps", _config_map)):
        bulk.create(f"/api/v1/namespaces/{NAMESPACE}/{kind}", (make(i) for i in range(count)))
        yield kind
