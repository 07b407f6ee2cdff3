"""What the bench writes and watches, against a real kube-apiserver: no kubelet runs any of it."""

from __future__ import annotations

import sys
import threading
from typing import Iterator

import pytest

import guard
import main
import paths
from harness import ApiError, Cluster, Json, wait_for
from manifests import APP, ROLE
from plans import SYSTEMS
from regroup_system import RegroupSystem
from rolelabel_controller import Pods
from rolelabel_system import RoleLabelSystem
from sentinel_system import SentinelSystem

sys.path.insert(0, str(paths.ROOT / "tests" / "integration"))

from apiserver import ApiServer, tool  # noqa: E402

NAMESPACE = main.NAMESPACE


class OneServer(Cluster):
    """The harness's cluster, with the kubeconfig of a lone API server."""

    def __init__(self, api: ApiServer) -> None:
        super().__init__()
        self._api = api

    def program(self, name: str) -> list[str]:
        return [tool(name), "--kubeconfig", str(self._api.kubeconfig)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    try:
        tool("kube-apiserver")
    except FileNotFoundError as error:
        pytest.skip(str(error))
    with ApiServer() as api:
        api.install_crds()
        one = OneServer(api)
        one.make_namespace(NAMESPACE)
        yield one
        one.close()


def first_pod(made: Json) -> Json:
    """The pod that the StatefulSet's controller would make."""
    template = made["spec"]["template"]
    return {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
            "metadata": {**template["metadata"], "name": f"{made['metadata']['name']}-0"}}


def test_a_watch_of_a_closed_harness_starts_no_new_proxy() -> None:
    closed = Cluster()
    closed.close()
    with pytest.raises(ConnectionError, match="closed"):
        closed.proxy_port()


def test_objects_and_their_pods_are_taken(cluster: Cluster) -> None:
    sentinel = main.make(cluster, "sentinel", 1)
    assert isinstance(sentinel, SentinelSystem)
    label = main.make(cluster, "role-label", 4)
    assert isinstance(label, RoleLabelSystem)
    objects = [*sentinel.member_objects("10.96.0.9"), *sentinel.watcher_objects("10.244.1.2"),
               *label.objects()]
    label.apply(*objects)
    for one in objects:
        if one["kind"] == "StatefulSet":
            made = cluster.api("POST", label.path("pods"), first_pod(one))
            assert made["metadata"]["labels"][APP] == one["metadata"]["name"]
    assert label.cluster_ip("role-label-primary").startswith("10.96.")
    assert [pod["metadata"]["name"] for pod in label.pods()] == ["role-label-0"]
    assert label.members() == []  # no address yet
    with pytest.raises(RuntimeError, match="0 pods are labelled"):
        label.primary()
    with pytest.raises(RuntimeError, match="name"):
        sentinel.primary()
    label.delete()
    assert label.pods() == []


def test_groups_are_taken(cluster: Cluster) -> None:
    groups = [main.make(cluster, name, 1) for name in SYSTEMS if name.startswith("regroup")]
    groups += [guard.make(cluster, name, 0) for name in guard.SETTINGS]
    for one in groups:
        assert isinstance(one, RegroupSystem)
        one.namespace = one.group.namespace = NAMESPACE
        one.group.path = one.group.path.replace(guard.NAMESPACE, NAMESPACE)
        one.group.create(one.manifest())
        spec = one.group.get()["spec"]
        assert spec["replicasPerNodeGroup"] == one.count - 1
    assert spec["failover"] == {"writeGuard": "Off"}


def test_labels_are_written_and_pods_are_watched(cluster: Cluster) -> None:
    news = threading.Event()
    path = f"/api/v1/namespaces/{NAMESPACE}/pods"
    spec = first_pod(RoleLabelSystem(cluster, NAMESPACE, 0).objects()[-1])
    spec["metadata"]["labels"][APP] = "watched"
    cluster.api("POST", path, spec)
    pods = Pods(cluster, NAMESPACE, "watched", news.set)
    assert list(pods.known) == ["role-label-0"]
    pods.label("role-label-0", "primary")
    assert pods.known["role-label-0"]["metadata"]["labels"][ROLE] == "primary"
    assert cluster.get(f"{path}/role-label-0")["metadata"]["labels"][ROLE] == "primary"
    pods.label("nobody", "primary")
    spec["metadata"]["name"] = "other"
    cluster.api("POST", path, spec)
    wait_for("the new pod is seen", 10, lambda: ("other" in pods.known, list(pods.known)), 0.02)
    news.clear()
    cluster.api("DELETE", f"{path}/role-label-0?gracePeriodSeconds=0")
    wait_for("its end is seen", 10, lambda: (list(pods.known) == ["other"], pods.known), 0.02)
    assert news.is_set()
    with pytest.raises(ApiError):
        cluster.get(f"{path}/role-label-0")
