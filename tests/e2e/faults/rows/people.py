"""What people do behind the operator's back, and addresses that come back as somebody else's."""

from __future__ import annotations

import ipaddress
import time

import redis

from faults.scenario import Expect, Scenario
from faults.stage import Stage
from group import condition_of, connect
from harness import Json, wait_for

FOREIGN = "foreign"
FOREIGN_PASSWORD = "another-groups"
FOREIGN_KEYS = 100
SLICES = "/apis/discovery.k8s.io/v1"
ROLE = "regroup.dev/role"


def wait_put_right(stage: Stage, what: str, look, timeout: float = 30) -> None:
    """Notes how long after the fault it was right again; a finding if it was not."""
    try:
        wait_for(what, timeout, look, 0.05)
        stage.notes.append(f"{what} {time.monotonic() - stage.fault_at:.2f} s after the fault")
    except AssertionError as error:
        stage.findings.append(f"L1: {error}")


def second_master(stage: Stage) -> None:
    """REPLICAOF NO ONE on a replica: two members take writes until the unrecorded one is fenced."""
    replica = stage.replicas[0]
    link = stage.operator_link(replica.address)
    when = time.monotonic()
    link.execute_command("REPLICAOF", "NO", "ONE")
    stage.struck(when, quiet=False)
    wait_put_right(stage, f"{replica.name} is a replica again", lambda: (
        (role := connect(replica.address).role()[0]) == b"slave", role))


def demoted_primary(stage: Stage) -> None:
    link = stage.operator_link(stage.primary.address)
    when = time.monotonic()
    link.execute_command("REPLICAOF", "127.0.0.1", "1")
    stage.struck(when)
    stage.sleep(5)


def guard_off_by_hand(stage: Stage) -> None:
    """The record says guarded, the engine is not: the proof by the guard would be wrong."""
    link = stage.operator_link(stage.primary.address)
    link.config_set("min-replicas-to-write", 0)
    stage.struck(quiet=False)
    wait_put_right(stage, "the guard is on again", lambda: (
        (value := link.config_get("min-replicas-to-write")) == {"min-replicas-to-write": "1"}, value))


def labels_edited(stage: Stage) -> None:
    """Both role labels the wrong way round."""
    for member, role in ((stage.primary, "replica"), (stage.replicas[0], "primary")):
        stage.patch(stage.path("pods", member.name), {"metadata": {"labels": {ROLE: role}}})
    stage.struck(quiet=False)

    def right() -> tuple[bool, dict[str, str]]:
        roles = {pod["metadata"]["name"]: pod["metadata"]["labels"].get(ROLE, "")
                 for pod in stage.group.pods()}
        primaries = [name for name, role in roles.items() if role == "primary"]
        return primaries == [stage.primary.name], roles

    wait_put_right(stage, "the labels are right", right)


def slice_edited(stage: Stage) -> None:
    """The primary endpoint is pointed at a replica by hand."""
    name = f"{stage.group.name}-primary"
    path = stage.path("endpointslices", name, SLICES)
    item = stage.cluster.get(path)
    item["endpoints"][0]["addresses"] = [stage.replicas[0].address]
    when = time.monotonic()
    stage.patch(path, {"endpoints": item["endpoints"]})
    stage.struck(when, quiet=False)
    wait_put_right(stage, "the primary's slice is right", lambda: (
        (seen := stage.group.slice("primary")[0]["addresses"]) == [stage.primary.address], seen))


def slice_deleted(stage: Stage) -> None:
    path = stage.path("endpointslices", f"{stage.group.name}-primary", SLICES)
    when = time.monotonic()
    stage.cluster.api("DELETE", path)
    stage.struck(when, quiet=False)
    wait_put_right(stage, "the primary's slice is there", lambda: (
        bool(seen := stage.group.slice("primary")), seen))


def service_deleted(stage: Stage) -> None:
    path = stage.path("services", f"{stage.group.name}-primary")
    when = time.monotonic()
    stage.cluster.api("DELETE", path)
    stage.struck(when, quiet=False)
    wait_put_right(stage, "the Service is there and answers", lambda: (
        bool(connect(stage.group.vip(), 0.5).ping()), ""))


def secret_path(stage: Stage) -> str:
    return stage.path("secrets", f"{stage.group.name}-regroup")


def wait_secret(stage: Stage, right: Json) -> None:
    """The passwords that the members know are in the Secret, and the group is still looked after."""
    def look() -> tuple[bool, str]:
        seen = stage.cluster.find(secret_path(stage))
        return seen is not None and seen["data"] == right["data"], "missing" if not seen else "other"

    wait_put_right(stage, "the Secret is as it was", look)


def wrong_secret(stage: Stage) -> None:
    """The operator's own passwords garbled in the Secret; the engines know the right ones."""
    right = stage.cluster.get(secret_path(stage))
    wrong = {key: "d3Jvbmc=" for key in ("operator-password", "watch-password")}
    stage.patch(secret_path(stage), {"data": {**right["data"], **wrong}})
    stage.struck()
    wait_secret(stage, right)
    stage.last(5)


def secret_deleted(stage: Stage) -> None:
    right = stage.cluster.get(secret_path(stage))
    stage.cluster.api("DELETE", secret_path(stage))
    stage.struck()
    wait_secret(stage, right)
    stage.last(5)


def secret_lost(stage: Stage) -> None:
    """Deleted while no operator runs: nobody knows the members' passwords any more."""
    stage.later(lambda: stage.operator.scale(2))
    right = stage.cluster.get(secret_path(stage))
    stage.operator.scale(0)
    stage.cluster.api("DELETE", secret_path(stage))
    stage.struck()
    stage.operator.scale(2)
    stage.operator.wait_leader()

    def told() -> tuple[bool, Json]:
        stalled = condition_of(stage.group.get(), "Stalled")
        return stalled.get("reason") == "SecretLost", stalled

    wait_put_right(stage, "the condition Stalled says SecretLost", told)
    stage.last(5)
    if stage.cluster.find(secret_path(stage)) is not None:
        stage.findings.append("L1: new passwords were made that no member knows")
        return
    for field in ("resourceVersion", "uid", "creationTimestamp", "managedFields"):
        right["metadata"].pop(field, None)
    stage.cluster.api("POST", stage.path("secrets"), right)  # a human, from a backup


def paused(stage: Stage) -> None:
    """spec.paused: the operator watches and does nothing; taken away, it acts at once."""
    stage.later(lambda: stage.group.patch({"paused": None}))
    stage.group.patch({"paused": True})
    stage.sleep(1)
    stage.struck(stage.kill(stage.primary))
    stage.last(10)
    if stage.group.epoch() > stage.epoch:
        stage.findings.append("L3: a paused group was failed over")
    stage.heal()
    stage.wait_moved(30)


def auth_secret_missing(stage: Stage) -> None:
    """spec.authSecretRef names a Secret that is not there."""
    stage.later(lambda: stage.group.patch({"authSecretRef": None}))
    stage.group.patch({"authSecretRef": {"name": "no-such-secret"}})
    stage.struck()
    stage.last(10)
    ready = [condition for condition in stage.group.get()["status"]["conditions"]
             if "no-such-secret" in condition.get("message", "")]
    if not ready:
        stage.findings.append("L1: no condition tells that the Secret is missing")


def foreign_pod(stage: Stage, node: str) -> Json:
    """A member of somebody else's group on a given node."""
    image = stage.group.pods()[0]["spec"]["containers"][0]["image"]
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": FOREIGN, "namespace": stage.group.namespace},
            "spec": {"nodeName": node, "automountServiceAccountToken": False,
                     "securityContext": {"runAsNonRoot": True, "runAsUser": 999,
                                         "seccompProfile": {"type": "RuntimeDefault"}},
                     "containers": [{"name": "redis", "image": image,
                                     "command": ["redis-server", "--requirepass", FOREIGN_PASSWORD,
                                                 "--save", "", "--dir", "/tmp"],
                                     "imagePullPolicy": "IfNotPresent",
                                     "securityContext": {"allowPrivilegeEscalation": False,
                                                         "capabilities": {"drop": ["ALL"]}}}]}}


def hand_out_next(stage: Stage, node: str, address: str) -> None:
    """Waits until the address is free, and makes the node give it to the next pod."""
    folder = stage.faults.audit_log().parent / "nodes" / node / "ipam" / f"regroup-{node}"
    wait_for(f"{address} is free", 60, lambda: (not (folder / address).exists(), "taken"), 0.2)
    before = ipaddress.ip_address(address) - 1
    (folder / "last_reserved_ip.0").write_text(str(before))


def recycled_address(stage: Stage) -> None:
    """While no operator runs, the primary's address becomes that of a foreign group's member."""
    stage.later(lambda: stage.operator.scale(2))
    stage.operator.scale(0)
    pod = foreign_pod(stage, stage.primary.node)
    path = stage.path("pods", FOREIGN)
    stage.struck(stage.delete_pod(stage.primary.name, 0))
    hand_out_next(stage, stage.primary.node, stage.primary.address)
    stage.later(lambda: stage.cluster.api("DELETE", f"{path}?gracePeriodSeconds=0"))
    stage.cluster.api("POST", stage.path("pods"), pod)
    got = wait_for("the foreign member runs", 30, lambda: (
        bool(seen := stage.cluster.get(path)["status"].get("podIP")), seen), 0.2)
    if got != stage.primary.address:
        stage.findings.append(f"the row failed: {got} was handed out, not {stage.primary.address}")
        return
    link = redis.Redis(host=got, password=FOREIGN_PASSWORD, socket_timeout=2)
    wait_for("the foreign member answers", 20, lambda: (link.ping(), ""), 0.1)
    link.mset({f"foreign:{number}": 1 for number in range(FOREIGN_KEYS)})
    stage.sleep(10)
    for replica in stage.replicas:
        found = connect(replica.address).exists(*[f"foreign:{n}" for n in range(FOREIGN_KEYS)])
        if found:
            stage.findings.append(f"S9: {replica.name} holds {found} keys of a foreign group")
    followers = link.info("replication")["connected_slaves"]
    stage.notes.append(f"the foreign member had {followers} replicas")
    stage.operator.scale(2)
    stage.wait_moved(60)


PUT_RIGHT = Expect("put right within seconds; no role moves", 3.0, (0, 0), restarts="none", lost_s=0)

ROWS = [
    Scenario("human-second-primary", "20",
             "REPLICAOF NO ONE on a replica, with the operator's password",
             Expect("the unrecorded writer is fenced; no role moves", 0.5, (0, 0), restarts="none",
                    lost_s=0, late_s=2.0), second_master),
    Scenario("human-demoted-primary", "20", "REPLICAOF 127.0.0.1 on the primary",
             Expect("granted again, or a replica takes over", 3.0, (0, 1), restarts="none"),
             demoted_primary),
    Scenario("human-guard-off", "20", "CONFIG SET min-replicas-to-write 0 on the primary", PUT_RIGHT,
             guard_off_by_hand),
    Scenario("human-labels", "20", "the role labels of two pods edited", PUT_RIGHT, labels_edited),
    Scenario("human-slice-edited", "20", "the primary's EndpointSlice pointed at a replica", PUT_RIGHT,
             slice_edited, quick=True),
    Scenario("human-slice-deleted", "20", "the primary's EndpointSlice deleted", PUT_RIGHT,
             slice_deleted),
    Scenario("human-service-deleted", "20", "the primary's Service deleted",
             Expect("it is made again; its ClusterIP is a new one", None, (0, 0), restarts="none",
                    lost_s=0, same_service=False), service_deleted),
    Scenario("paused", "20", "spec.paused, and kill -9 of the primary; unpaused after 10 s",
             Expect("nothing while paused; then at once", 15.0), paused),
    Scenario("wrong-secret", "21", "the operator's passwords in the Secret garbled",
             Expect("put right; no role moves, no write fails", 0.5, (0, 0), restarts="none",
                    lost_s=0, refused=False), wrong_secret),
    Scenario("secret-deleted", "21", "the group's own Secret deleted",
             Expect("put right; no role moves, no write fails", 0.5, (0, 0), restarts="none",
                    lost_s=0, refused=False), secret_deleted),
    Scenario("secret-lost", "21",
             "the group's own Secret deleted while no operator runs, and put back after 5 s",
             Expect("Stalled until a human puts it back; no role moves, no write fails", 0.5, (0, 0),
                    restarts="none", lost_s=0, refused=False), secret_lost),
    Scenario("auth-secret-missing", "21", "authSecretRef names a Secret that is not there, 10 s",
             Expect("a condition tells; no write fails", 0.5, (0, 0), restarts="none", lost_s=0,
                    refused=False), auth_secret_missing),
    Scenario("recycled-address", "21",
             "the dead primary's address is given to another group's member",
             Expect("its replicas are refused there; one of them takes over", None, whole_s=90),
             recycled_address),
]
