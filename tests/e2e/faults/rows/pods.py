"""Pods that people and Kubernetes take away in an orderly, or a less orderly, way."""

from __future__ import annotations

import time

from faults.scenario import Expect, Scenario, Start
from faults.stage import Stage
from harness import ApiError, wait_for


def delete_primary(grace: int):
    def play(stage: Stage) -> None:
        stage.struck(stage.delete_pod(stage.primary.name, grace))
        stage.wait_moved(15)
    return play


def delete_replica(stage: Stage) -> None:
    stage.struck(stage.delete_pod(stage.replicas[0].name, 30))


def delete_all(stage: Stage) -> None:
    when = [stage.delete_pod(member.name, 0) for member in stage.members]
    stage.struck(when[0])
    stage.sleep(5)


def cordon(stage: Stage, node: str) -> None:
    stage.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": True}})


def uncordon(stage: Stage, node: str) -> None:
    stage.patch(f"/api/v1/nodes/{node}", {"spec": {"unschedulable": None}})


def evict(stage: Stage, pod: str, timeout: float = 90) -> None:
    """As `kubectl drain` does: again while the disruption budget says no."""
    def look() -> tuple[bool, str]:
        try:
            stage.cluster.api("POST", stage.path("pods", f"{pod}/eviction"), {
                "apiVersion": "policy/v1", "kind": "Eviction",
                "metadata": {"name": pod, "namespace": stage.group.namespace}})
            return True, "evicted"
        except ApiError as error:
            if error.status == 404:
                return True, "gone"
            raise

    wait_for(f"{pod} is evicted", timeout, look, 0.5)


def drain(stage: Stage, node: str) -> None:
    cordon(stage, node)
    stage.later(lambda: uncordon(stage, node))
    for pod in stage.group.pods():
        if pod["spec"].get("nodeName") == node:
            stage.victims.add(pod["metadata"]["name"])
            evict(stage, pod["metadata"]["name"])


def drain_primary(stage: Stage) -> None:
    when = time.monotonic()
    drain(stage, stage.primary.node)
    stage.struck(when)
    stage.wait_moved(15)


def drain_all(stage: Stage) -> None:
    """One node after the other, as an upgrade of the nodes does."""
    stage.struck(quiet=False)
    for node in sorted({member.node for member in stage.members}):
        drain(stage, node)
        stage.sleep(2)
        uncordon(stage, node)
        stage.group.wait_settled(len(stage.members), 120, every=0.5)


ROWS = [
    Scenario("delete-primary", "7", "the primary's pod deleted, grace 30 s",
             Expect("the role moves first; nothing acknowledged is lost", 1.0, lost_s=0),
             delete_primary(30), quick=True),
    Scenario("delete-primary-force", "7", "the primary's pod deleted by force, grace 0",
             Expect("a replica takes over", 2.5), delete_primary(0)),
    Scenario("delete-primary-storage", "7", "the primary's pod deleted, grace 30 s",
             Expect("the role moves first; nothing acknowledged is lost", 1.0, lost_s=0),
             delete_primary(30), Start(storage=True)),
    Scenario("delete-replica", "7", "a replica's pod deleted, grace 30 s",
             Expect("no write fails, no role moves", 0.5, (0, 0), lost_s=0, refused=False),
             delete_replica),
    Scenario("delete-all-storage", "17", "all pods deleted by force at once",
             Expect("moves ahead of the deletions, then comes back on its own volume", 60.0, (0, 3),
                    lost_s=1.5,
                    whole_s=120), delete_all, Start(storage=True)),
    Scenario("drain-primary", "8", "the primary's node drained (evictions, disruption budget)",
             Expect("the role moves first; nothing acknowledged is lost", 1.0, lost_s=0,
                    whole_s=120), drain_primary),
    Scenario("drain-all", "8", "all three nodes drained, one after the other",
             Expect("nothing acknowledged is lost", 1.0, (1, 3), restarts="any", lost_s=0,
                    whole_s=120), drain_all),
]
