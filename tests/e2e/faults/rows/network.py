"""Partitions: who cannot hear whom, in both directions or in one."""

from __future__ import annotations

import time

from faults.scenario import Expect, Scenario
from faults.stage import Stage
from harness import die

PART_S = 20.0
API = "172.30.0.1"  # where the local cluster's API server listens
API_PORT = 6443


def both_ways(one: str, others: list[str]) -> list[tuple[str, str]]:
    return [pair for other in others for pair in ((one, other), (other, one))]


def primary_from_replicas(stage: Stage) -> None:
    others = [member.address for member in stage.replicas]
    stage.struck(stage.part(stage.primary.node, both_ways(stage.primary.address, others)))
    stage.last(PART_S)


def primary_from_operator(stage: Stage) -> None:
    """Both replicas of the operator: leader and standby see the primary vanish."""
    operators = list(stage.operator_addresses())
    stage.struck(stage.part(stage.primary.node, both_ways(stage.primary.address, operators)))
    stage.last(PART_S)


def all_from_operator(stage: Stage) -> None:
    operators = list(stage.operator_addresses())
    when = 0.0
    for member in stage.members:
        when = stage.part(member.node, both_ways(member.address, operators))
    stage.struck(when)
    stage.last(stage.long(300))


def primary_with_one_replica(stage: Stage) -> None:
    """The old side keeps the primary, one replica and the clients; the operator sees the other one."""
    far = stage.replicas[1]
    operators = list(stage.operator_addresses())
    near = stage.replicas[0]
    when = stage.part(stage.primary.node,
                      both_ways(stage.primary.address, [*operators, far.address]))
    stage.part(near.node, both_ways(near.address, [*operators, far.address]))
    stage.struck(when)
    stage.last(PART_S)


def node_from_api(stage: Stage) -> None:
    """The kubelet of the primary's node, its kube-proxy and its pods do not reach the API server."""
    node = stage.primary.node
    stage.struck(stage.part(node, [("any", API)], API_PORT))
    stage.last(30)


def operator_from_api(stage: Stage) -> None:
    """The leading operator alone loses the API server; the standby must take over and act."""
    leader = stage.operator.wait_leader()
    pod = next(pod for pod in stage.operator.pods() if pod["metadata"]["name"] == leader)
    stage.part(pod["spec"]["nodeName"], [(pod["status"]["podIP"], API)], API_PORT)
    stage.sleep(1)
    stage.struck(stage.kill(stage.primary))
    stage.wait_moved(30)


def one_way(from_primary: bool):
    def play(stage: Stage) -> None:
        pairs = [(stage.primary.address, member.address) for member in stage.replicas]
        if not from_primary:
            pairs = [(target, source) for source, target in pairs]
        stage.struck(stage.part(stage.primary.node, pairs))
        stage.last(PART_S)
    return play


def one_way_from_operator(stage: Stage) -> None:
    """Questions arrive, answers do not."""
    pairs = [(stage.primary.address, address) for address in stage.operator_addresses()]
    stage.struck(stage.part(stage.primary.node, pairs))
    stage.last(PART_S)


def flapping(stage: Stage) -> None:
    node = stage.primary.node
    stage.victims |= {member.name for member in stage.members if member.node == node}
    stage.struck(stage.cut(node), quiet=False)
    for _ in range(4):
        stage.sleep(5)
        stage.faults.heal(node)
        stage.sleep(4)
        stage.faults.cut(node)
    stage.sleep(5)


def partitioned_then_killed(stage: Stage) -> None:
    """The operator does not reach the primary, and then it does die: its replicas say so."""
    operators = list(stage.operator_addresses())
    stage.part(stage.primary.node, both_ways(stage.primary.address, operators))
    stage.sleep(5)
    stage.victims.add(stage.primary.name)
    stage.struck(die(stage.pids[stage.primary.name]))
    stage.wait_moved(30)
    stage.notes.append(f"moved or given up after {time.monotonic() - stage.fault_at:.1f} s")


CALM = Expect("no role moves, no write fails", 0.5, (0, 0), restarts="none", lost_s=0, refused=False)

ROWS = [
    Scenario("part-primary-operator", "10", "primary and operator do not hear each other for 20 s",
             CALM, primary_from_operator, quick=True),
    Scenario("part-all-operator", "10", "no member and the operator hear each other, for 5 min in "
             "a full run", CALM, all_from_operator),
    Scenario("part-operator-one-way", "10", "the primary's answers do not reach the operator for 20 s",
             CALM, one_way_from_operator),
    Scenario("part-primary-api", "10", "the primary's node does not reach the API server for 30 s",
             CALM, node_from_api),
    Scenario("part-operator-api", "10, 14", "the leader loses the API server, then kill -9 of the "
             "primary", Expect("the standby leads after the lease and promotes", 15.0),
             operator_from_api),
    Scenario("part-primary-replicas", "10", "primary and replicas do not hear each other for 20 s",
             Expect("the guard is lifted or one role move; one writer", 7.0, (0, 1),
                    restarts="none"), primary_from_replicas),
    Scenario("part-primary-one-replica", "10",
             "primary and one replica against the other replica and the operator, 20 s",
             Expect("the primary is heard by a replica: it stays", 0.5, (0, 0), restarts="none",
                    lost_s=0, refused=False), primary_with_one_replica),
    Scenario("part-one-way-to-replicas", "10",
             "what the primary sends does not reach its replicas, 20 s",
             Expect("the guard is lifted or one role move; one writer", 7.0, (0, 1),
                    restarts="none"), one_way(True)),
    Scenario("part-one-way-to-primary", "10",
             "what the replicas send does not reach the primary, 20 s",
             Expect("the guard is lifted or one role move; one writer", 7.0, (0, 1),
                    restarts="none"), one_way(False)),
    Scenario("part-operator-then-kill", "10",
             "the primary dies while the operator does not reach it",
             Expect("the kubelet's word and the replicas are enough", 15.0),
             partitioned_then_killed),
    Scenario("flapping", "16", "the primary's node unplugged for 5 s, five times, 4 s apart",
             Expect("at most two role moves, one writer at a time", None, (0, 2), whole_s=120),
             flapping),
]
