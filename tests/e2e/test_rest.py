"""Bar 8: at rest, under client writes, the operator writes nothing but its Lease, and stays small."""

from __future__ import annotations

import time
from typing import Callable

from group import Group, small_group
from harness import Cluster, Settings
from operator_control import AuditTail, Operator

SETTLE_S = 15  # the last steps of a creation (old clients cut, labels) are no rest yet


def test_at_rest(make_group: Callable[..., Group], cluster: Cluster, operator: Operator,
                 settings: Settings, say: Callable[[str], None]) -> None:
    cluster.faults.require("the API server's audit log and the memory of a process in a pod")
    operator.wait_replicas(2)
    leader = operator.wait_leader()
    group = make_group(small_group("rest"))
    time.sleep(SETTLE_S)
    audit = AuditTail(cluster)
    with group.client(rate=200) as client:
        time.sleep(settings.rest_s)
    writes, memory = audit.writes_but_lease(), operator.memory_mb()
    lease_writes = len(audit.writes()) - len(writes)
    log = client.log()
    shares = ", ".join(f"{'leader' if name == leader else 'standby'} {mb:.1f} MB"
                       for name, mb in sorted(memory.items(), key=lambda item: item[0] != leader))
    say(f"bar 8: {settings.rest_s:.0f} s at rest under {log.rate():.0f} writes/s: {len(writes)} API "
        f"writes by the operator apart from {lease_writes} of its Lease; VmRSS {shares} (<= 30)")
    assert lease_writes > 0, "the audit log does not show the operator's Lease writes"
    assert not writes, writes[:20]
    assert len(memory) == 2 and max(memory.values()) <= 30
    assert not log.failures and not client.lost()
    assert operator.leader() == leader
