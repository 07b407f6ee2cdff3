"""Bars 4, 5 and 6: a killed, deleted or cut-off primary, a writing client, and an observer."""

from __future__ import annotations

import signal
import statistics
import time
from contextlib import contextmanager
from functools import partial
from typing import Callable, Iterator

import pytest

from failover import Round, run_round
from group import Group, MemberView, lesson_group, small_group
from harness import Cluster, Settings, die, strike, wait_for, within
from observer import ObserverProcess
from operator_control import PODS_PATH, Operator

Say = Callable[[str], None]


@pytest.fixture(scope="module")
def group(cluster: Cluster, namespace: str) -> Iterator[Group]:
    group = Group(cluster, namespace, "web-cache")
    group.create(small_group("web-cache"))
    group.wait_settled(3)
    group.seed()
    yield group
    group.delete()


def kill_process(pid: int, _: MemberView) -> float:
    return die(pid)


def one_writer(rounds: list[Round], say: Say, what: str) -> None:
    """Bar 6 for these rounds."""
    oks = sum(len(one.observer.oks) for one in rounds)
    problems = [problem for one in rounds for problem in one.problems]
    say(f"bar 6: {what}: {oks} +OK seen by the observers, {len(problems)} from two members at once")
    assert oks > 0 and not problems, problems


def test_kill(group: Group, settings: Settings, cluster: Cluster, say: Say) -> None:
    """Bar 4: kill -9 of the primary's process, again and again."""
    cluster.faults.require("kill -9 of a process in a pod")
    rounds: list[Round] = []
    for number in range(settings.kills):
        group.wait_settled(3)
        group.wait_readers(3)
        # Found beforehand, so that the fault's time is that of the signal.
        pid = cluster.faults.pid(group.namespace, group.primary().name)
        one = run_round(group, partial(kill_process, pid))
        say(f"  kill {number + 1} of {settings.kills}: {one.line()}")
        assert not (missing := group.missing_seeds()), f"keys of the seed are gone: {missing}"
        assert one.in_sync_s <= within(30)
        rounds.append(one)
    gaps = [one.gap_ms for one in rounds]
    say(f"bar 4: kill -9 x{len(gaps)}: median gap {statistics.median(gaps):.0f} ms (<= 150), "
        f"worst {max(gaps):.0f} ms (<= 500), slowest back in sync "
        f"{max(one.in_sync_s for one in rounds):.1f} s (<= 30), "
        f"{sum(len(one.lost) for one in rounds)} acknowledged writes lost, seed whole")
    one_writer(rounds, say, "kill -9")
    assert statistics.median(gaps) <= within(150) and max(gaps) <= within(500)


@pytest.mark.parametrize("force", [False, True], ids=["grace30", "force"])
def test_pod_deleted(group: Group, settings: Settings, cluster: Cluster, say: Say,
                     force: bool) -> None:
    """Bar 5: the primary's pod is deleted."""
    grace = "?gracePeriodSeconds=0" if force else "?gracePeriodSeconds=30"

    def delete(primary: MemberView) -> float:
        when = time.monotonic()
        cluster.api("DELETE", f"/api/v1/namespaces/{group.namespace}/pods/{primary.name}{grace}")
        return when

    rounds = [run_round(group, delete) for _ in range(settings.deletes)]
    for one in rounds:
        say(f"  {one.line()}")
    what = "force" if force else "grace 30 s"
    say(f"bar 5: pod deleted ({what}) x{len(rounds)}: worst gap "
        f"{max(one.gap_ms for one in rounds):.0f} ms (<= 1000), "
        f"{sum(len(one.lost) for one in rounds)} acknowledged writes lost")
    assert not group.missing_seeds()
    one_writer(rounds, say, f"pod deleted ({what})")
    assert max(one.gap_ms for one in rounds) <= within(1000)


def cut_round(group: Group, cluster: Cluster, power: bool = False) -> Round:
    """`power`: nothing on the node runs any more, and what ran there is gone when it comes back."""
    node = group.primary().node
    faults = cluster.faults
    engines: list[int] = []

    def strike(_: MemberView) -> float:
        when = faults.cut(node)
        if power:
            engines.extend(faults.pid(group.namespace, member.name) for member in group.members()
                           if member.node == node)
            faults.freeze_node(node)
        return when

    def restore() -> None:
        if power:
            faults.power_back(node, engines)
            engines.clear()
        faults.heal(node)

    def inside(primary: MemberView) -> ObserverProcess:
        # The same label as outside: it is the same process, seen from another place.
        return ObserverProcess({Group.label_of(primary): f"{primary.address}:6379"},
                               faults.inside(node))

    try:
        return run_round(group, strike, timeout=120, inside=inside, after=restore)
    finally:
        restore()


def silence_ms(one: Round) -> float:
    """From the old primary's last +OK, seen from inside, to the new primary's first."""
    last = one.observer.last_ok(Group.label_of(one.old))
    first = one.observer.first_ok(Group.label_of(one.new), one.fault_at)
    assert last is not None and first is not None
    return (first.replied - last.replied) * 1000


def move_leader_off(operator: Operator, cluster: Cluster, node: str) -> None:
    """The bar is about the primary's node; a leader there would add the lease's time."""
    leader = operator.wait_leader()
    if operator.node_of(leader) != node:
        return
    cluster.api("DELETE", f"{PODS_PATH}/{leader}")
    operator.wait_leader(unlike=leader)
    operator.wait_replicas(2)


@contextmanager
def guard_lag(group: Group, seconds: int) -> Iterator[None]:
    """The group with that guard lag, once the engine is known to have it."""
    def applied() -> tuple[bool, int]:
        now = group.node_group()["guardLagSeconds"]
        return now == seconds, now

    group.patch({"failover": {"writeGuardLagSeconds": seconds}})
    wait_for(f"a guard lag of {seconds} s", 20, applied)
    yield
    group.patch({"failover": {"writeGuardLagSeconds": None}})


@pytest.mark.parametrize("power", [False, True], ids=["network", "power"])
def test_node_cut(group: Group, settings: Settings, cluster: Cluster, operator: Operator,
                  say: Say, power: bool) -> None:
    """Bar 5: the primary's node is cut off; the cut-off primary must fall silent first."""
    cluster.faults.require("a node's network cut")
    count = settings.powers if power else settings.cuts
    if not count:
        pytest.skip("REGROUP_E2E_POWER_CUTS=20 runs them; the fault matrix has one")
    with guard_lag(group, settings.guard_lag_s):
        cut_rounds(group, settings, cluster, operator, say, count, power)


def cut_rounds(group: Group, settings: Settings, cluster: Cluster, operator: Operator, say: Say,
               count: int, power: bool) -> None:
    rounds: list[Round] = []
    for _ in range(count):
        group.wait_settled(3)
        group.wait_calm()
        move_leader_off(operator, cluster, group.primary().node)
        one = cut_round(group, cluster, power)
        say(f"  {one.line()}; silent for {silence_ms(one):.0f} ms before the new primary's first "
            "+OK")
        rounds.append(one)
    silences = [silence_ms(one) for one in rounds]
    limit_ms = 5000 + 1000 * settings.guard_lag_s
    what = f"node {'power ' if power else ''}cut, guard lag {settings.guard_lag_s} s"
    say(f"bar 5: {what}, x{len(rounds)}: worst gap {max(one.gap_ms for one in rounds):.0f} ms "
        f"(<= {limit_ms}), shortest silence between the two primaries {min(silences):.0f} ms (> 0), "
        f"{sum(len(one.lost) for one in rounds)} acknowledged writes lost")
    assert not group.missing_seeds()
    one_writer(rounds, say, what)
    assert min(silences) > 0 and max(one.gap_ms for one in rounds) <= within(limit_ms)


def test_hang(group: Group, settings: Settings, cluster: Cluster, say: Say) -> None:
    """The primary's process stands still: it is ended within unresponsiveAfter (5 s) + 3 s."""
    cluster.faults.require("SIGSTOP of a process in a pod")
    rounds: list[Round] = []
    for number in range(settings.hangs):
        group.wait_settled(3)
        group.wait_calm()
        pid = cluster.faults.pid(group.namespace, group.primary().name)
        one = run_round(group, lambda _: strike(pid, signal.SIGSTOP))
        say(f"  hang {number + 1} of {settings.hangs}: {one.line()}")
        rounds.append(one)
    gaps = [one.gap_ms for one in rounds]
    say(f"hang x{len(gaps)}: median gap {statistics.median(gaps):.0f} ms, worst {max(gaps):.0f} ms "
        f"(<= 8000), {sum(len(one.lost) for one in rounds)} acknowledged writes lost")
    assert not group.missing_seeds()
    one_writer(rounds, say, "hang")
    assert max(gaps) <= within(8000)


def test_node_cut_with_leader(group: Group, cluster: Cluster, operator: Operator, say: Say) -> None:
    """The same with the leading operator on the cut node: the lease must run out first."""
    cluster.faults.require("a node's network cut")
    group.wait_settled(3)
    group.wait_calm()
    node = group.primary().node
    for _ in range(4):  # the scheduler chooses the node, so give it some tries
        leader = operator.wait_leader()
        if operator.node_of(leader) == node:
            break
        if node in {pod["spec"].get("nodeName") for pod in operator.pods()}:
            cluster.api("DELETE", f"{PODS_PATH}/{leader}")
            operator.wait_leader(unlike=leader)
        else:
            pytest.skip("no replica of the operator runs on the primary's node")
        operator.wait_replicas(2)
    one = cut_round(group, cluster)
    say(f"  leader on the cut node, too: {one.line()}; silent for {silence_ms(one):.0f} ms")
    one_writer([one], say, "node cut with the leader on it")
    assert silence_ms(one) > 0 and one.gap_ms <= within(20_000)


def test_failover_disabled(make_group: Callable[..., Group], cluster: Cluster, say: Say) -> None:
    """automaticFailoverEnabled: false means: report, do not act."""
    cluster.faults.require("kill -9 of a process in a pod")
    manifest = small_group("manual", replicas=1, automaticFailoverEnabled=False,
                           multiAZEnabled=False)
    group = make_group(manifest)
    primary = group.primary()
    die(cluster.faults.pid(group.namespace, primary.name))
    time.sleep(5)
    now = group.primary()
    say(f"  failover off: after a kill the primary is {now.name}, as before ({primary.name})")
    assert now.name == primary.name
    assert lesson_group()["spec"]["automaticFailoverEnabled"]  # the lesson's own has it on
