"""Bars 10 and 11: the API server away, and all members killed at once."""

from __future__ import annotations

import re
import time
from typing import Callable

import pytest

from failover import run_round
from group import Group, Incarnation, small_group
from harness import Cluster, Settings, die, wait_for, within
from operator_control import Operator

Say = Callable[[str], None]
MakeGroup = Callable[..., Group]

OUTAGES = {"killed": ("stop", "start"), "paused": ("pause", "resume")}


@pytest.fixture(autouse=True)
def whole_cluster(cluster: Cluster) -> None:
    """Each test begins on a cluster whose every component runs."""
    cluster.faults.repair()


def wait_api(cluster: Cluster) -> None:
    wait_for("the API server is ready", 60,
             lambda: (bool(cluster.get("/version")), "no answer"), 0.2)


@pytest.mark.parametrize("how", OUTAGES)
def test_api_server_outage(make_group: MakeGroup, cluster: Cluster, operator: Operator,
                           settings: Settings, say: Say, how: str) -> None:
    """Bar 10: nothing happens to the data plane, and the operator goes on by itself."""
    cluster.faults.require("the API server killed or paused")
    group = make_group(small_group(f"outage-{how}"), wait=False)
    group.wait_settled(3, 180)  # after the outage before, kubelet, scheduler and kube-proxy may
    group.redis(patience=60).close()  # wait long until they look again
    lives, epoch, primary = group.incarnations(), group.epoch(), group.primary()
    begin_fault, end_fault = OUTAGES[how]
    with group.client(rate=500) as client:
        time.sleep(1)
        cluster.faults.component(begin_fault, "apiserver")
        try:
            time.sleep(settings.outage_s)
        finally:
            cluster.faults.component(end_fault, "apiserver")
        wait_api(cluster)
        time.sleep(10)  # what was held up would happen now
    log = client.log()
    assert group.incarnations() == lives and group.epoch() == epoch
    assert group.primary() == primary
    operator.wait_leader(30)
    operator.wait_replicas(2)
    goes_on = run_round(group, lambda old: die(cluster.faults.pid(group.namespace, old.name)))
    # From the new primary itself: after an outage kube-proxy may wait long before it looks again.
    took_over = goes_on.observer.first_ok(Group.label_of(goes_on.new), goes_on.fault_at)
    assert took_over is not None
    promoted_ms = (took_over.replied - goes_on.fault_at) * 1000
    say(f"bar 10: API server {how} for {settings.outage_s:.0f} s: {len(log.acks)} writes, "
        f"{len(log.failures)} refused, longest gap {log.longest_gap_ms():.0f} ms, no restart, no "
        f"role change; a kill -9 afterwards: promoted after {promoted_ms:.0f} ms, gap "
        f"{goes_on.gap_ms:.0f} ms (kube-proxy's back-off included)")
    assert not log.failures, log.failures_in(0)
    assert not client.lost() and not goes_on.problems
    assert promoted_ms <= within(1000) and goes_on.gap_ms <= within(40_000)
    cluster.faults.repair()  # the group's end needs the components that the outage ended


def kill_all(group: Group, cluster: Cluster) -> tuple[float, dict[str, Incarnation]]:
    lives = group.incarnations()
    pids = [cluster.faults.pid(group.namespace, member.name) for member in group.members()]
    return max(die(pid) for pid in pids), lives


def wait_back(group: Group, killed_at: float, epoch: int, lives: dict[str, Incarnation]) -> float:
    """The time until every member runs in another life and all are in sync again."""
    def look() -> tuple[bool, str]:
        done, seen = group.settled(3)
        now = group.incarnations()
        again = len(now) == 3 and all(lives.get(name) != life for name, life in now.items())
        return done and again and group.epoch() > epoch, f"{seen}; all restarted: {again}"
    wait_for(f"{group.name} is back by itself", 120, look, 0.2)
    return time.monotonic() - killed_at


def test_all_killed_memory_only(make_group: MakeGroup, cluster: Cluster, say: Say) -> None:
    """Bar 11: memory only. The group starts empty, and an Event says that the data is lost."""
    cluster.faults.require("kill -9 of a process in a pod")
    group = make_group(small_group("memory"))
    group.seed()
    epoch = group.epoch()
    killed_at, lives = kill_all(group, cluster)
    took = wait_back(group, killed_at, epoch, lives)
    events = wait_for("an Event tells of the loss", 10,
                      lambda: (bool(found := group.events("DataLost")), found), 0.2)
    say(f"bar 11: all members killed, memory only: back after {took:.1f} s without a human; "
        f"Event {events[-1]['reason']}: {events[-1].get('note', '')}")
    link = group.redis()
    assert link.set("again", "1") and link.dbsize() == 1
    assert re.search("every member|empty", events[-1].get("note", "")), \
        "the Event does not say that all data is lost"


def test_all_killed_with_storage(make_group: MakeGroup, cluster: Cluster, say: Say) -> None:
    """Bar 11: with storage. The primary comes back on its own volume, with its data."""
    cluster.faults.require("kill -9 of a process in a pod")
    manifest = small_group("storage", storage={"size": "1Gi"}, deletionPolicy="Delete")
    group = make_group(manifest)
    group.seed()
    epoch = group.epoch()
    killed_at, lives = kill_all(group, cluster)
    took = wait_back(group, killed_at, epoch, lives)
    events = sorted({event["reason"] for event in group.events()})
    say(f"bar 11: all members killed, with storage: back after {took:.1f} s without a human, "
        f"every key of the seed there; Events: {', '.join(events)}")
    assert not group.missing_seeds()
    assert group.redis().set("again", "1")
