"""The API server, etcd, and the operator itself: away, late, doubled, or back from an old backup."""

from __future__ import annotations

import copy
import signal

from faults.rows.process import LATE_S
from faults.scenario import Expect, Scenario
from faults.stage import Stage
from harness import Json, die, strike, wait_for
from operator_control import LEASE_PATH, LEASE_S, NAMESPACE, PODS_PATH, Operator, lone_pod

TAKE_OVER_S = LEASE_S + 10  # the bar of the failpoint tests
SECOND = "regroup-second"
RBAC = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}"


def outage(component: str, begin: str, end: str, full_s: float):
    def play(stage: Stage) -> None:
        stage.control_plane_touched = True
        stage.faults.component(begin, component)
        stage.later(stage.wait_api)
        stage.later(lambda: stage.faults.component(end, component))
        stage.struck()
        seconds = stage.long(full_s)
        stage.last(seconds)
        stage.notes.append(f"away for {seconds:.0f} s")
        stage.heal()
        stage.sleep(8)  # what was held up would happen now
    return play


def killed_in_outage(stage: Stage) -> None:
    """With the API server away nothing can be decided; when it is back, it is."""
    stage.control_plane_touched = True
    stage.faults.component("stop", "apiserver")
    stage.later(stage.wait_api)
    stage.later(lambda: stage.faults.component("start", "apiserver"))
    stage.struck(stage.kill(stage.primary))
    stage.last(15)
    stage.heal()
    stage.wait_moved(60)


def etcd_restored(stage: Stage) -> None:
    """A failover happens, then the API forgets it: the record names the former primary again."""
    stage.control_plane_touched = True
    stage.faults.save_etcd()
    stage.sleep(1)
    stage.struck(stage.kill(stage.primary))
    stage.wait_moved(15)
    stage.group.wait_settled(len(stage.members), 60)
    stage.notes.append(f"the data went back from epoch {stage.group.epoch()} to {stage.epoch}")
    stage.faults.restore_etcd()
    stage.wait_api()
    stage.sleep(10)


def leader_killed(stage: Stage) -> None:
    stage.struck(die(stage.operator.pid(stage.operator.wait_leader())))
    stage.last(TAKE_OVER_S)


def leader_and_primary_killed(stage: Stage) -> None:
    pid = stage.operator.pid(stage.operator.wait_leader())
    when = stage.kill(stage.primary)
    die(pid)
    stage.struck(when)
    stage.wait_moved(30)


def leader_frozen(stage: Stage) -> None:
    """The leader stands still past its lease; another one fails over; then the first one goes on."""
    pid = stage.operator.pid(stage.operator.wait_leader())
    strike(pid, signal.SIGSTOP)
    stage.later(lambda: strike(pid, signal.SIGCONT))
    stage.struck(stage.kill(stage.primary))
    stage.wait_moved(30)
    stage.heal()
    stage.sleep(5)


def leader_frozen_inside(stage: Stage) -> None:
    """The leader stands still right after its compare-and-swap, with commands on the way."""
    pid = stage.operator.pid(stage.operator.wait_leader())
    when = stage.kill(stage.primary)
    grant = stage.history.wait_grant(stage.epoch, 10)
    stage.later(lambda: strike(pid, signal.SIGCONT))
    strike(pid, signal.SIGSTOP)
    if grant is None:
        stage.findings.append("L2: nobody was granted within 10 s")
    stage.struck(when)
    stage.wait_moved(30)
    stage.last(TAKE_OVER_S)
    stage.heal()
    stage.sleep(5)


def operator_away(stage: Stage) -> None:
    """Nobody decides: a restarted primary stays fenced until the operator is back."""
    stage.later(lambda: stage.operator.scale(2))
    stage.operator.scale(0)
    stage.struck(stage.kill(stage.primary))
    stage.last(15)
    stage.heal()
    stage.wait_moved(30)


def second_rights(account: str) -> list[tuple[str, Json]]:
    """The chart gives rights on its own Lease alone."""
    rbac = "rbac.authorization.k8s.io"
    meta = {"name": SECOND, "namespace": NAMESPACE}
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
            "resourceNames": [SECOND], "verbs": ["get", "update"]}
    return [
        (f"{RBAC}/roles", {"apiVersion": f"{rbac}/v1", "kind": "Role", "metadata": meta,
                           "rules": [rule]}),
        (f"{RBAC}/rolebindings", {
            "apiVersion": f"{rbac}/v1", "kind": "RoleBinding", "metadata": meta,
            "roleRef": {"apiGroup": rbac, "kind": "Role", "name": SECOND},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}]})]


def second_operator(operator: Operator) -> None:
    """Another one that leads by a lease of its own, as after a careless second installation."""
    template = copy.deepcopy(operator.template())
    container = template["spec"]["containers"][0]
    container["args"] = [f"--lease-name={SECOND}" if word.startswith("--lease-name=") else word
                         for word in container["args"]]
    for path, body in second_rights(str(template["spec"]["serviceAccountName"])):
        operator.cluster.api("POST", path, body)
    operator.cluster.api("POST", PODS_PATH, lone_pod(template, SECOND))

    def leads() -> tuple[bool, str]:
        lease = operator.cluster.find(LEASE_PATH.rsplit("/", 1)[0] + f"/{SECOND}") or {}
        holder = lease.get("spec", {}).get("holderIdentity")
        return holder == SECOND, f"holder {holder}"

    wait_for("the second operator leads by its own lease", 60, leads, 0.2)


def end_second(operator: Operator) -> None:
    path = f"{PODS_PATH}/{SECOND}"
    leases = LEASE_PATH.rsplit("/", 1)[0]
    for item in (f"{path}?gracePeriodSeconds=0", f"{leases}/{SECOND}", f"{RBAC}/roles/{SECOND}",
                 f"{RBAC}/rolebindings/{SECOND}"):
        if operator.cluster.find(item.partition("?")[0]) is not None:
            operator.cluster.api("DELETE", item)
    wait_for("the second operator is gone", 30,
             lambda: (operator.cluster.find(path) is None, path), 0.2)


def two_operators(stage: Stage) -> None:
    stage.later(lambda: end_second(stage.operator))
    second_operator(stage.operator)
    stage.sleep(3)
    stage.struck(stage.kill(stage.primary))
    stage.wait_moved(30)
    stage.sleep(5)


def lease_deleted(stage: Stage) -> None:
    stage.cluster.api("DELETE", LEASE_PATH)
    stage.struck()
    stage.last(10)
    stage.operator.wait_leader()


def lease_stolen(stage: Stage) -> None:
    """A human writes another holder into the lease: nobody leads until it has run out."""
    stage.patch(LEASE_PATH, {"spec": {"holderIdentity": "nobody"}})
    stage.struck(stage.kill(stage.primary))
    stage.wait_moved(30)


CALM = Expect("nothing happens to the group, no write fails", 0.5, (0, 0), restarts="none", lost_s=0,
              refused=False)

ROWS = [
    Scenario("api-killed", "11", "the API server killed, for 5 min in a full run", CALM,
             outage("apiserver", "stop", "start", 300), quick=True),
    Scenario("api-paused", "11", "the API server stands still, for 5 min in a full run", CALM,
             outage("apiserver", "pause", "resume", 300)),
    Scenario("etcd-killed", "11", "etcd killed, for 1 min in a full run", CALM,
             outage("etcd", "stop", "start", 60)),
    Scenario("etcd-paused", "11", "etcd stands still, for 1 min in a full run", CALM,
             outage("etcd", "pause", "resume", 60)),
    Scenario("api-killed-then-primary", "11", "kill -9 of the primary while the API server is away",
             Expect("no failover without the API; then at once", 45.0), killed_in_outage),
    Scenario("leader-killed", "13", "kill -9 of the leading operator at rest", CALM,
             leader_killed),
    Scenario("leader-and-primary-killed", "13", "kill -9 of the leading operator and of the primary",
             Expect("the other one finishes after the lease", TAKE_OVER_S),
             leader_and_primary_killed),
    Scenario("leader-frozen", "14", "the leader stands still past its lease, the primary dies, the "
             "leader goes on", Expect("one failover, by the other one", TAKE_OVER_S), leader_frozen,
             quick=True),
    Scenario("leader-frozen-inside", "14",
             "the leader stands still as soon as it has granted, and goes on 15 s later",
             Expect("the other one finishes; what the first one sends later has no effect",
                    TAKE_OVER_S), leader_frozen_inside),
    Scenario("operator-away", "13", "kill -9 of the primary while no operator runs, 15 s",
             Expect("no failover; when the operator is back, at once", 40.0), operator_away),
    Scenario("two-operators", "14",
             "a second operator leads by another lease; kill -9 of the primary",
             Expect("one failover; neither undoes the other's", 3.0, (1, 2)), two_operators),
    Scenario("lease-deleted", "14", "the Lease deleted", CALM, lease_deleted),
    Scenario("lease-stolen", "14",
             "another holder written into the Lease, and kill -9 of the primary",
             Expect("a failover after the lease", TAKE_OVER_S), lease_stolen),
]

# At the very end: it takes the whole cluster back in time.
LAST = [
    Scenario("etcd-restored", "11", "etcd goes back to its data of before a failover",
             Expect("the present primary is adopted; nothing is lost", None, (1, 4), restarts="any",
                    late_s=LATE_S, whole_s=180, lost_s=3.0, rewound=True), etcd_restored),
]
