"""Bar 7: the leading operator dies at every point that matters, and the other one finishes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Callable, Iterator

import pytest

from failover import run_round
from group import Group, small_group
from harness import Cluster, Settings, die, wait_for, within
from operator_control import LEASE_S, Operator, wait_death

Say = Callable[[str], None]

FINISH_S = LEASE_S + 10


@dataclass(frozen=True)
class Case:
    """What the operator is doing, and where it dies."""

    action: str  # create, scale-up, scale-down, failover
    failpoint: str
    quick: bool = False  # also without REGROUP_E2E_FULL


CASES = [
    Case("create", "after-effect-SetFinalizer"),
    Case("create", "after-effect-ApplyOwned", quick=True),
    Case("create", "after-effect-CreateMember"),
    Case("create", "after-record"),
    Case("create", "after-effect-EngineEffect"),
    Case("create", "after-effect-WriteSlice"),
    Case("create", "after-status"),
    Case("scale-up", "after-effect-CreateMember"),
    Case("scale-up", "after-record"),
    Case("scale-up", "after-effect-EngineEffect"),
    Case("scale-down", "after-record"),
    Case("scale-down", "after-effect-DeleteMember", quick=True),
    Case("failover", "after-record", quick=True),
    Case("failover", "after-effect-EngineEffect"),
    Case("failover", "after-effect-WriteSlice", quick=True),
    Case("failover", "after-status"),
]


@pytest.fixture(scope="module")
def two_replicas(operator: Operator) -> Iterator[Operator]:
    """Whatever happens here, the operator is whole again afterwards."""
    yield operator
    operator.stop_failpoint()
    operator.scale(2)
    operator.wait_leader()


def prepare(case: Case, group: Group) -> int:
    """The state before the fault; gives the number of members that must be there at the end."""
    start, end = {"create": (0, 3), "scale-up": (2, 3), "scale-down": (3, 2),
                  "failover": (3, 3)}[case.action]
    if start:
        group.create(small_group(group.name, replicas=start - 1))
        group.wait_settled(start, 60)
    return end


def act(case: Case, group: Group, cluster: Cluster, members: int) -> set[str]:
    """Makes the operator work; gives the names of pods whose end is part of that work."""
    if case.action == "create":
        group.create(small_group(group.name))
    elif case.action == "failover":
        primary = group.primary().name
        die(cluster.faults.pid(group.namespace, primary))
        return {primary}
    else:
        group.patch({"replicasPerNodeGroup": members - 1})
    return set()


def crash_once(case: Case, group: Group, cluster: Cluster, operator: Operator) -> tuple[float, int]:
    """One run: (seconds from the operator's death to the end of the work, acknowledged writes)."""
    members = prepare(case, group)
    pid = operator.start_failpoint(case.failpoint)
    before = group.incarnations() if case.action != "create" else {}
    epoch = group.epoch() if case.action == "failover" else -1
    client = None if case.action == "create" else group.client(rate=200)
    try:
        expected = act(case, group, cluster, members)
        died_at = wait_death(pid, 30)
        # It may have died of an earlier record, and then the status still tells of a whole group.
        wait_for("the failover is recorded", 30, lambda: (group.epoch() > epoch, group.epoch()))
        finished_at = group.wait_settled(members, within(FINISH_S) + 15)
        if client is None:
            client = group.client(rate=200)
        time.sleep(4)  # a kube-proxy that has just synced twice waits before it does so again
    finally:
        if client is not None:
            client.log()
    assert client is not None
    acknowledged = len(client.log().acks)
    assert client.log().acks[-1][0] >= finished_at, "no writes after the end of the work"
    now = group.incarnations()
    restarted = [name for name, life in before.items()
                 if name not in expected and name in now and now[name] != life]
    assert not restarted, f"members restarted because of the operator's death: {restarted}"
    removed = [name for name in before if name not in now and name not in expected]
    assert len(removed) <= (1 if case.action == "scale-down" else 0), removed
    return finished_at - died_at, acknowledged


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.action}-{case.failpoint}")
def test_failpoint(cluster: Cluster, namespace: str, two_replicas: Operator, settings: Settings,
                   say: Say, case: Case) -> None:
    """Bar 7, for one point."""
    cluster.faults.require("a failpoint, whose process is watched")
    runs = settings.failpoint_runs or (1 if case.quick else 0)
    if runs == 0:
        pytest.skip("not among the quick points; REGROUP_E2E_FULL=1 runs all of them")
    took: list[float] = []
    for number in range(runs):
        group = Group(cluster, namespace, f"crash-{number}")
        try:
            seconds, _ = crash_once(case, group, cluster, two_replicas)
            took.append(seconds)
        finally:
            two_replicas.stop_failpoint()  # alive if it never came to its point
            if cluster.find(group.path) is not None:
                group.delete()
    say(f"bar 7: {case.action}, {case.failpoint} x{runs}: the other replica finished after at most "
        f"{max(took):.1f} s (<= {FINISH_S:.0f}), no member restarted")
    assert max(took) <= within(FINISH_S)


def test_leader_killed_during_failover(cluster: Cluster, namespace: str, two_replicas: Operator,
                                       say: Say) -> None:
    """kill -9 of the leading operator and of the primary in one breath."""
    cluster.faults.require("kill -9 of a process in a pod")
    operator = two_replicas
    operator.stop_failpoint()
    operator.scale(2)
    leader = operator.wait_leader()
    group = Group(cluster, namespace, "both")
    group.create(small_group("both"))
    try:
        group.wait_settled(3)
        operator_pid = operator.pid(leader)
        engine_pid = cluster.faults.pid(namespace, group.primary().name)

        def both(_: object) -> float:
            when = die(engine_pid)
            die(operator_pid)
            return when

        one = run_round(group, both)
        say(f"bar 7: primary and leading operator killed at once: {one.line()}")
        assert one.in_sync_s <= within(FINISH_S) + 15 and one.gap_ms <= within(FINISH_S) * 1000
        assert not one.problems
    finally:
        group.delete()


def test_leader_killed_at_rest(cluster: Cluster, namespace: str, two_replicas: Operator,
                               say: Say) -> None:
    """An operator's death alone touches no member, and a replica leads again within the lease."""
    cluster.faults.require("kill -9 of a process in a pod")
    operator = two_replicas
    operator.stop_failpoint()
    operator.scale(2)
    group = Group(cluster, namespace, "calm")
    group.create(small_group("calm", replicas=1))
    try:
        group.wait_settled(2)
        lives, epoch = group.incarnations(), group.epoch()
        leader = operator.wait_leader()
        with group.client(rate=200) as client:
            time.sleep(0.5)
            killed_at = die(operator.pid(leader))
            killed_wall = datetime.now(timezone.utc)

            def leads_again() -> tuple[bool, str]:
                # By a renewal: the same pod's next container may be the quicker one.
                holder, renewed = operator.lease()
                return bool(holder) and renewed > killed_wall, f"{holder}, renewed {renewed}"

            wait_for("a replica leads again", within(FINISH_S), leads_again, 0.1)
            took = time.monotonic() - killed_at
            time.sleep(5)
        say(f"  leader killed at rest: a replica leads again after {took:.1f} s, "
            f"{len(client.log().failures)} writes refused")
        assert group.incarnations() == lives and group.epoch() == epoch
        assert not client.log().failures
    finally:
        group.delete()
