"""Every row of the matrix, in the order in which they are shown and run."""

from __future__ import annotations

from faults.rows import control, data, network, nodes, people, pods, process
from faults.scenario import Scenario

ROWS: list[Scenario] = [*process.ROWS, *data.ROWS, *pods.ROWS, *nodes.ROWS, *network.ROWS,
                        *control.ROWS, *people.ROWS, *control.LAST]

# What one machine cannot show, and why.
UNMADE: list[tuple[str, str]] = [
    ("fsync that fails with EIO; slow disk (dm-delay, dm-flakey)",
     "needs device-mapper targets of the kernel; a full volume and a corrupted one are rows"),
    ("fork of a snapshot that runs out of memory", "needs gigabytes of data beside the measurement"),
    ("wall clock stepped or drifting on operator, primary or node",
     "time namespaces do not cover the wall clock, all nodes share this machine's, and an image of "
     "one program has nothing that could load libfaketime"),
    ("410 storm, 429, 500, slow watch, stale second API server",
     "needs a scripted proxy before the API server; tests/unit/kube has the reactions, and the "
     "simulator refuses requests and loses replies"),
    ("loss of an etcd member, quorum loss of three",
     "the local control plane has one etcd; its loss, its stop and its way back are rows"),
    ("operator killed after every single effect",
     "made by tests/e2e/test_operator.py (failpoints) and by the simulator"),
    ("rolling upgrade of engine and operator during faults",
     "upgrades are not part of the product yet"),
    ("expired or rotated certificates, token expiry",
     "TLS between members is not part of the product yet"),
    ("200 groups and mass node loss", "made by the scale bench on fake nodes"),
    ("cluster mode: slots, shards, migration",
     "numNodeGroups above 1 is not part of the product yet"),
    ("LoadBalancer and NodePort clients, other kube-proxy modes, eBPF data planes",
     "the local cluster has kube-proxy with iptables and no cloud"),
]


def by_name() -> dict[str, Scenario]:
    return {row.name: row for row in ROWS}
