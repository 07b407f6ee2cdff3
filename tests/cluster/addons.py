"""What a cluster needs inside its API: storage class and volumes, the DNS service, DNS's rights."""
from __future__ import annotations

import shutil

import api
import layout
from layout import Node
from processes import say

VOLUMES = "/api/v1/persistentvolumes"


def volume_name(node: Node, number: int) -> str:
    return f"{node.name}-volume{number}"


def volume(node: Node, number: int) -> dict:
    """A folder of a node as a persistent volume; the scheduler learns from it where a claim's pod must run."""
    return {
        "apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": volume_name(node, number)},
        "spec": {
            "capacity": {"storage": layout.VOLUME_SIZE}, "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "storageClassName": "local", "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": str(node.folder / "volumes" / f"volume{number}")},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.name]}]}]}},
        },
    }


def _fixed_objects() -> list[tuple[str, dict]]:
    rbac = "/apis/rbac.authorization.k8s.io/v1"
    reads = ["get", "list", "watch"]
    return [
        ("/apis/storage.k8s.io/v1/storageclasses", {
            "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
            "metadata": {"name": "local", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
            "reclaimPolicy": "Retain"}),
        (f"{rbac}/clusterroles", {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "system:coredns"},
            "rules": [{"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": reads},
                      {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": reads}]}),
        (f"{rbac}/clusterrolebindings", {
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}]}),
        ("/api/v1/namespaces/kube-system/services", {
            "apiVersion": "v1", "kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": layout.DNS_SERVICE_ADDRESS, "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]}}),
        # DNS runs on the machine, outside of any pod: its service has no selector, and its slice is written here.
        ("/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices", {
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "kube-dns-machine", "namespace": "kube-system",
                         "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "endpoints": [{"addresses": [layout.MACHINE_ADDRESS], "conditions": {"ready": True}}],
            "ports": [{"name": "dns", "port": 53, "protocol": "UDP"},
                      {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]}),
    ]


def ensure(nodes: list[Node]) -> None:
    """Applies all objects; volumes that exist stay as they are, for a claim may hold them."""
    for path, body in _fixed_objects():
        api.apply(path, body)
    recycle(nodes)
    there = {item["metadata"]["name"] for item in api.items(VOLUMES)}
    for node in nodes:
        for number in range(1, layout.VOLUMES_PER_NODE + 1):
            if volume_name(node, number) not in there:
                api.call("POST", VOLUMES, volume(node, number))


def recycle(nodes: list[Node]) -> None:
    """Empties volumes whose claim was deleted and makes them claimable again.

    Kubernetes lets go of a claim only when no pod uses it, so nobody writes to such a volume any more.
    """
    ours = {volume_name(node, number): node.folder / "volumes" / f"volume{number}"
            for node in nodes for number in range(1, layout.VOLUMES_PER_NODE + 1)}
    for item in api.items(VOLUMES):
        name = item["metadata"]["name"]
        if name not in ours or item.get("status", {}).get("phase") not in ("Released", "Failed"):
            continue
        for child in ours[name].iterdir():
            shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
        api.call("PATCH", f"{VOLUMES}/{name}", {"spec": {"claimRef": None}}, "application/merge-patch+json")
        say(f"volume {name} recycled")
