"""Nodes and zones that go dark, and kubelets that stop."""

from __future__ import annotations

from faults.scenario import Expect, Scenario, Start
from faults.stage import Stage
from operator_control import PODS_PATH

CUT_S = 7.0  # bar 4
OUT_OF_SERVICE = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown",
                  "effect": "NoExecute"}


def leader_elsewhere(stage: Stage, node: str) -> None:
    """A leader on the same node would add its lease's time, which is another row's."""
    leader = stage.operator.wait_leader()
    if stage.operator.node_of(leader) == node:
        stage.cluster.api("DELETE", f"{PODS_PATH}/{leader}")
        stage.operator.wait_leader(unlike=leader)
        stage.operator.wait_replicas(2)


def lights_out(stage: Stage, node: str) -> float:
    """Nothing on the node runs, and nothing gets out: no FIN, no RST, no acknowledgement. When power
    is back, what ran there is gone: it ends before the rest of the node goes on."""
    lost = {member.name for member in stage.members if member.node == node}
    stage.victims |= lost
    when = stage.cut(node)
    stage.later(lambda: stage.faults.power_back(node, [stage.pids[name] for name in lost]))
    stage.faults.freeze_node(node)
    return when


def power_cut(stage: Stage) -> None:
    node = stage.primary.node
    leader_elsewhere(stage, node)
    stage.struck(lights_out(stage, node))
    stage.wait_moved(30)
    stage.sleep(3)


def cut_off(stage: Stage) -> None:
    """The node runs on, alone."""
    node = stage.primary.node
    leader_elsewhere(stage, node)
    stage.victims |= {member.name for member in stage.members if member.node == node}
    stage.struck(stage.cut(node))
    stage.wait_moved(30)
    stage.sleep(3)


def cut_and_forced(stage: Stage) -> None:
    """The pod object goes by force, but its process on the dark node runs on."""
    node = stage.primary.node
    leader_elsewhere(stage, node)
    stage.victims |= {member.name for member in stage.members if member.node == node}
    when = stage.cut(node)
    stage.delete_pod(stage.primary.name, 0)
    stage.struck(when)
    stage.wait_moved(30)
    stage.sleep(3)


def zone_with_leader(stage: Stage) -> None:
    """The zone of the primary goes, and the leading operator with it."""
    node = stage.primary.node
    for _ in range(4):
        leader = stage.operator.wait_leader()
        if stage.operator.node_of(leader) == node:
            break
        stage.cluster.api("DELETE", f"{PODS_PATH}/{leader}")
        stage.operator.wait_leader(unlike=leader)
        stage.operator.wait_replicas(2)
    else:
        stage.notes.append("the leader did not run on the primary's node")
    stage.struck(lights_out(stage, node))
    stage.wait_moved(60)
    stage.sleep(3)


def cut_replica(stage: Stage) -> None:
    node = stage.replicas[0].node
    stage.victims |= {member.name for member in stage.members if member.node == node}
    stage.struck(stage.cut(node))
    stage.last(20)


def kubelet_stopped(stage: Stage) -> None:
    stage.pause(f"{stage.primary.node}-kubelet")
    stage.struck()
    stage.last(30)


def out_of_service(stage: Stage) -> None:
    """Without the guard nothing proves a dark node silent, until a human vouches for it by the taint."""
    node = stage.primary.node
    leader_elsewhere(stage, node)
    stage.later(lambda: stage.patch(f"/api/v1/nodes/{node}", {"spec": {"taints": None}}))
    stage.struck(lights_out(stage, node))
    stage.last(15)
    if stage.group.epoch() > stage.epoch:
        stage.findings.append("S2: promoted before anything proved the old primary silent")
    stage.patch(f"/api/v1/nodes/{node}", {"spec": {"taints": [OUT_OF_SERVICE]}})
    stage.wait_moved(15)


ROWS = [
    Scenario("node-power-cut", "8", "the primary's node loses power: frozen and unplugged",
             Expect("another primary within 7 s; the old one's last +OK comes first", CUT_S,
                    whole_s=120), power_cut, quick=True),
    Scenario("node-cut-off", "10", "the primary's node is unplugged and runs on",
             Expect("another primary within 7 s; the old one is silent before", CUT_S, whole_s=120),
             cut_off),
    Scenario("node-cut-off-pod-forced", "8, 10",
             "the primary's node is unplugged and runs on; its pod is deleted by force",
             Expect("another primary within 7 s; the old one is silent before", CUT_S, whole_s=120),
             cut_and_forced),
    Scenario("node-cut-off-1-replica", "10", "the primary's node is unplugged and runs on",
             Expect("another primary within 7 s; the old one is silent before", CUT_S, whole_s=120),
             cut_off, Start(replicas=1)),
    Scenario("zone-lost-with-leader", "9", "the zone of the primary and of the leading operator lost",
             Expect("another primary within 20 s", 20.0, whole_s=120),
             zone_with_leader),
    Scenario("node-cut-replica", "8", "a replica's node is unplugged for 20 s",
             Expect("no role moves, writes go on", 1.0, (0, 0), lost_s=0, whole_s=120), cut_replica),
    Scenario("kubelet-stopped", "8",
             "the kubelet of the primary's node stands still for 30 s (NotReady)",
             Expect("nothing happens to the group", 0.5, (0, 0), restarts="none", lost_s=0,
                    refused=False), kubelet_stopped),
    Scenario("out-of-service-guard-off", "8",
             "power cut without guard; after 15 s the node gets the out-of-service taint",
             Expect("no promotion before the taint, then at once", 20.0, whole_s=150),
             out_of_service, Start(guard=False)),
]
