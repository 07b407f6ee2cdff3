"""Where everything lives: names, addresses, folders and fixed settings of the local cluster.

Pure values only, so that every other module (and the tests) agree on them without asking the machine.
"""
from __future__ import annotations

import os
import string
from dataclasses import dataclass
from pathlib import Path

KUBERNETES_VERSION = "1.37.2"
HERE = Path(__file__).resolve().parent

BRIDGE = "br-regroup"
MACHINE_ADDRESS = "172.30.0.1"
NODE_NETWORK_BITS = 24
SERVICE_RANGE = "10.96.0.0/16"
# Nodes send services and everything near them to the machine: it also serves made-up pods (10.99.0.0/16).
MACHINE_RANGE = "10.96.0.0/11"
POD_RANGE = "10.244.0.0/16"
DNS_SERVICE_ADDRESS = "10.96.0.10"
API_SERVICE_ADDRESS = "10.96.0.1"
API_PORT = 6443
API_URL = f"https://{MACHINE_ADDRESS}:{API_PORT}"
ETCD_URL = "http://127.0.0.1:2379"
ETCD_PEER_URL = "http://127.0.0.1:2380"

DEFAULT_NODES = 3
DEFAULT_ZONES = 3
MOST_NODES = 9
VOLUMES_PER_NODE = 8
VOLUME_SIZE = "2Gi"

PAUSE_IMAGE = "regroup.dev/pause:1"
TOOLS_IMAGE = "regroup.dev/tools:local"
REDIS_IMAGE = "docker.io/library/redis:7.0"
VALKEY_IMAGE = "docker.io/valkey/valkey:8.1"
DEBIAN_IMAGE = "docker.io/library/debian:bookworm-slim"
TRIXIE_IMAGE = "docker.io/library/debian:trixie-slim"
ENGINES = ("redis-server", "valkey-server")
# Each process of the cluster carries this variable: whatever a crash left behind is found by it.
MARK = "REGROUP_CLUSTER_STATE"


class ClusterError(Exception):
    """A failure that the user can act on; its text says what to do next."""


def cache_dir() -> Path:
    """The folder of things that outlive a cluster: built tools and image archives."""
    return Path(os.environ.get("REGROUP_CACHE", "/var/cache/regroup"))


def state_dir() -> Path:
    """The one folder of the one cluster of this machine."""
    return Path(os.environ.get("REGROUP_CLUSTER_DIR", "/var/lib/regroup-cluster"))


def tool(name: str) -> str:
    """The path of a built Go tool."""
    return str(cache_dir() / "tools" / "current" / name)


def pki_dir() -> Path:
    return state_dir() / "pki"


def kubeconfig(user: str = "admin") -> Path:
    return state_dir() / f"{user}.kubeconfig"


def audit_log() -> Path:
    return state_dir() / "audit.log"


@dataclass(frozen=True)
class Node:
    """One node: a network namespace with its own containerd, kubelet and kube-proxy."""

    number: int
    zone_count: int = DEFAULT_ZONES

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def zone(self) -> str:
        return f"zone-{string.ascii_lowercase[(self.number - 1) % self.zone_count]}"

    @property
    def address(self) -> str:
        return f"172.30.0.{10 + self.number}"

    @property
    def pod_range(self) -> str:
        return f"10.244.{self.number}.0/24"

    @property
    def veth(self) -> str:
        """The machine's end of the node's link."""
        return f"rg-{self.name}"

    @property
    def namespace_path(self) -> Path:
        return Path("/run/netns") / self.name

    @property
    def folder(self) -> Path:
        return state_dir() / "nodes" / self.name

    @property
    def socket(self) -> Path:
        return self.folder / "containerd.sock"

    @property
    def cgroup(self) -> str:
        return f"rg-{self.name}"

    @property
    def cni_network(self) -> str:
        """The name under which the CNI library caches results in its machine-wide folder."""
        return f"regroup-{self.name}"

    @property
    def components(self) -> tuple[str, str, str]:
        """The names of the node's processes, in the order of their start."""
        return (f"{self.name}-containerd", f"{self.name}-kubelet", f"{self.name}-proxy")


def make_nodes(count: int, zone_count: int) -> list[Node]:
    """The nodes of a cluster of this size, spread over the zones in turn."""
    if not 1 <= count <= MOST_NODES:
        raise ClusterError(f"--nodes must be from 1 to {MOST_NODES}, not {count}")
    if not 1 <= zone_count <= len(string.ascii_lowercase):
        raise ClusterError(f"--zones must be from 1 to {len(string.ascii_lowercase)}, not {zone_count}")
    return [Node(number, zone_count) for number in range(1, count + 1)]


def audit_policy() -> dict:
    """What the API server logs: each request of a service account, and each write of anybody.

    Leases and events are in, since the tests count an operator's writes. Reads of the machine's own users
    (kubelets, proxies, the admin) are out, since they would bury everything else.
    """
    writes = ["create", "update", "patch", "delete", "deletecollection"]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "Metadata", "verbs": writes},
            {"level": "None"},
        ],
    }
