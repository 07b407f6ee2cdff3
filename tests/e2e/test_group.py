"""Bars 3 and 9, and what a group is: zones, endpoints, users, scale, parameters, deletion."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import Any, Callable, Iterator

import pytest
import redis

from group import API, Group, connect, lesson_group, small_group
from harness import ApiError, Cluster, Json, wait_for, within

Say = Callable[[str], None]
MakeGroup = Callable[..., Group]

# What ElastiCache takes away from applications (notes on parity a.6), and samples of what it leaves.
RESTRICTED = [
    "ACL SETUSER x", "ACL LOAD", "ACL SAVE", "ACL DELUSER x", "BGREWRITEAOF", "BGSAVE", "SAVE",
    "CONFIG GET maxmemory", "CONFIG SET maxmemory 1", "DEBUG SLEEP 0", "MIGRATE h 1 k 0 1",
    "PSYNC ? -1", "SYNC", "REPLICAOF NO ONE", "SLAVEOF NO ONE", "SHUTDOWN NOSAVE",
    "CLUSTER ADDSLOTS 1", "CLUSTER DELSLOTS 1", "CLUSTER BUMPEPOCH", "CLUSTER FAILOVER",
    "CLUSTER FLUSHSLOTS", "CLUSTER FORGET x", "CLUSTER LINKS", "CLUSTER MEET h 1",
    "CLUSTER SETSLOT 1 STABLE",
]
ALLOWED = ["INFO", "ROLE", "KEYS nothing*", "FLUSHALL", "ACL WHOAMI", "CLIENT LIST", "SLOWLOG GET",
           "LATENCY LATEST", "MEMORY USAGE x", "WAIT 0 1", "EVAL return(1) 0"]
PASSWORD = "correct-horse"


def reads_what_is_written(group: Group) -> float:
    """Through both endpoints, by two pools, as the lesson has it; gives the time it took in ms."""
    write_client, read_client = group.redis("primary"), group.redis("reader")
    begin = time.monotonic()
    assert write_client.set("lesson", "caching") is True
    wait_for("the reader endpoint reads what was written", 5,
             lambda: ((value := read_client.get("lesson")) == b"caching", value), 0.002)
    return (time.monotonic() - begin) * 1000


def test_lesson_group(make_group: MakeGroup, cluster: Cluster, say: Say) -> None:
    """Bar 3."""
    begin = time.monotonic()
    group = make_group(lesson_group(), wait=False)
    ready_s = group.wait_settled(3, 60) - begin
    members = group.members()
    zones = {member.zone for member in members}
    took_ms = reads_what_is_written(group)
    say(f"bar 3: web-cache Ready after {ready_s:.1f} s (<= 20), {len(members)} members in "
        f"{len(zones)} zones, write to read through both endpoints {took_ms:.0f} ms")
    # The zone that status tells is the zone of the node that the pod really is on.
    nodes = cluster.zones()
    assert all(nodes[member.node] == member.zone for member in members)
    assert len(zones) == min(3, len(set(nodes.values())))
    assert ready_s <= within(20)
    status = group.get()["status"]
    assert status["nodeGroups"][0]["nodeGroupID"] == "0001"
    assert status["nodeGroups"][0]["primaryEndpoint"]["address"].startswith("web-cache-primary.")
    assert [member.role for member in members].count("primary") == 1


@pytest.fixture(scope="module")
def shared(cluster: Cluster, namespace: str) -> Iterator[Group]:
    group = Group(cluster, namespace, "group")
    group.create(small_group("group"))
    yield group
    group.delete()


@pytest.fixture
def group(shared: Group) -> Group:
    """Three members in sync, whatever the test before did."""
    if shared.get()["spec"]["replicasPerNodeGroup"] != 2:
        shared.patch({"replicasPerNodeGroup": 2})
    shared.wait_settled(3, 60)
    return shared


def test_endpoints(group: Group) -> None:
    """Each endpoint's slice holds what it should, with zones, and nothing else."""
    primary = group.primary()
    replicas = {member.address: member for member in group.members() if member != primary}
    writers = group.slice("primary")
    assert [endpoint["addresses"] for endpoint in writers] == [[primary.address]]
    readers = group.slice("reader")
    assert {endpoint["addresses"][0] for endpoint in readers} == set(replicas)
    for endpoint in readers:
        assert endpoint["zone"] == replicas[endpoint["addresses"][0]].zone
        assert endpoint["conditions"]["ready"] is True
    assert connect(primary.address).role()[0] == b"master"
    for address in replicas:
        with pytest.raises(redis.exceptions.ReadOnlyError):
            connect(address).set("not", "here")


def test_reader_without_replica(make_group: MakeGroup) -> None:
    """With no replica the reader endpoint serves the primary, as ElastiCache's does."""
    group = make_group(small_group("lone", replicas=0))
    assert [e["addresses"] for e in group.slice("reader")] == [[group.primary().address]]
    reads_what_is_written(group)


def test_default_user(group: Group, say: Say) -> None:
    """The default user lacks exactly what ElastiCache restricts."""
    link = group.redis()
    for command in RESTRICTED:
        with pytest.raises(redis.exceptions.ResponseError, match="no permissions|not allowed"):
            link.execute_command(*command.split())
    for command in ALLOWED:
        try:
            link.execute_command(*command.split())
        except redis.exceptions.NoPermissionError as error:
            pytest.fail(f"{command} is refused: {error}")
        except redis.exceptions.ResponseError:
            pass  # it was let through, and did not like its arguments
    say(f"  default user: {len(RESTRICTED)} commands refused, {len(ALLOWED)} allowed")


def test_scale(group: Group, say: Say) -> None:
    """2 > 4 > 1 replicas by kubectl scale; the primary stays, and so does the data."""
    group.seed()
    primary, lives = group.primary(), group.incarnations()
    took = []
    for replicas in (4, 1):
        begin = time.monotonic()
        group.scale(replicas)
        group.wait_settled(replicas + 1, 90)
        took.append(time.monotonic() - begin)
        assert group.primary() == primary
    lives_now = group.incarnations()
    assert all(lives_now[name] == life for name, life in lives.items() if name in lives_now)
    assert not group.missing_seeds()
    say(f"  scale: 2 > 4 replicas in {took[0]:.1f} s, 4 > 1 in {took[1]:.1f} s, primary kept")


def test_parameter_change(group: Group, cluster: Cluster, say: Say) -> None:
    """A parameter is changed live on every member, without a restart."""
    before = group.incarnations()
    begin = time.monotonic()
    group.patch({"parameters": {"maxmemory-policy": "allkeys-lfu"}})

    def look() -> tuple[bool, list[str]]:
        policies = [str(connect(member.address).info("memory")["maxmemory_policy"])
                    for member in group.members()]
        return policies == ["allkeys-lfu"] * 3, policies

    wait_for("all members have the new parameter", 20, look, 0.1)
    say(f"  parameter changed on all members after {time.monotonic() - begin:.1f} s, live")
    assert group.incarnations() == before


def test_default_users_password(group: Group, cluster: Cluster, say: Say) -> None:
    """spec.authSecretRef: given and taken back on living members, without a restart."""
    before, address = group.incarnations(), group.primary().address
    secret = {"apiVersion": "v1", "kind": "Secret",
              "metadata": {"name": "lesson-auth", "namespace": group.namespace},
              "stringData": {"password": PASSWORD}}
    cluster.apply(secret)
    begin = time.monotonic()
    group.patch({"authSecretRef": {"name": "lesson-auth"}})

    def closed() -> tuple[bool, str]:
        try:
            return False, str(connect(address).ping())
        except redis.exceptions.AuthenticationError as error:
            return True, str(error)

    wait_for("nobody enters without the password", 20, closed, 0.1)
    took = time.monotonic() - begin
    group.wait_settled(3, 30)
    for kind in ("primary", "reader"):
        with redis.Redis(host=group.vip(kind), password=PASSWORD, socket_timeout=2) as link:
            assert link.ping()
        with redis.Redis(host=group.vip(kind), password="wrong", socket_timeout=2) as link:
            with pytest.raises(redis.exceptions.RedisError, match="WRONGPASS"):
                link.ping()
    group.patch({"authSecretRef": None})
    wait_for("everybody enters again", 20, lambda: (bool(connect(address).ping()), ""), 0.1)
    say(f"  the default user has a password {took:.1f} s after the spec names it")
    assert PASSWORD not in str(group.get()) and group.incarnations() == before


def test_delete_and_recreate(make_group: MakeGroup, cluster: Cluster, namespace: str,
                             say: Say) -> None:
    """Deleted with a finalizer, nothing left behind; made again under the same name, empty."""
    manifest = small_group("again")
    group = make_group(manifest)
    assert group.get()["metadata"]["finalizers"]
    group.seed(10)
    took = group.delete()
    wait_for("nothing of the group is left", 30, lambda: (not (x := leftovers(group)), x), 0.2)
    begin = time.monotonic()
    group.create(manifest)
    group.wait_settled(3, 60)
    say(f"  deleted in {took:.1f} s, made again in {time.monotonic() - begin:.1f} s")
    assert group.redis().keys() == []
    reads_what_is_written(group)


def leftovers(group: Group) -> list[str]:
    """What still carries the group's label, volumes aside (deletionPolicy keeps them)."""
    label = f"labelSelector=regroup.dev/group%3D{group.name}"
    space = f"namespaces/{group.namespace}"
    paths = [f"/api/v1/{space}/{kind}" for kind in ("pods", "services", "configmaps", "secrets")]
    paths += [f"/apis/discovery.k8s.io/v1/{space}/endpointslices",
              f"/apis/policy/v1/{space}/poddisruptionbudgets"]
    return [f"{path.rsplit('/', 1)[1]}/{item['metadata']['name']}"
            for path in paths for item in group.cluster.get(f"{path}?{label}")["items"]]


@dataclass(frozen=True)
class BadInput:
    what: str
    spec: dict[str, Any]  # laid over a good spec; None removes a field
    says: str  # the message must say what to do
    name: str = "bad"


BAD_INPUTS = [
    BadInput("7 replicas", {"replicasPerNodeGroup": 7}, r"0 to 5|at most|less than or equal"),
    BadInput("unknown engine", {"engine": "memcached"}, r"redis.*valkey|supported values"),
    BadInput("newline in a parameter",
             {"parameters": {"maxmemory-policy": "allkeys-lru\nreplicaof 1.2.3.4 6379"}},
             r"newline|control character"),
    BadInput("replicaof as a parameter", {"parameters": {"replicaof": "1.2.3.4 6379"}},
             r"replicaof.*own"),
    BadInput("cacheNodeType and resources", {"cacheNodeType": "cache.r7g.large"}, r"exactly one"),
    BadInput("name too long", {}, r"40 characters|shorter", name="x" * 41),
    BadInput("multi-AZ with no replica", {"replicasPerNodeGroup": 0}, r"needs a replica"),
]


def bad_manifest(bad: BadInput, namespace: str) -> Json:
    manifest = small_group(bad.name)
    manifest["metadata"]["namespace"] = namespace
    manifest["spec"].update(bad.spec)
    return manifest


@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.what.replace(" ", "-"))
def test_bad_input_refused(cluster: Cluster, namespace: str, operator: object, bad: BadInput) -> None:
    """Bar 9: refused by kubectl and by a raw POST, with a message that says what to do."""
    manifest = bad_manifest(bad, namespace)
    said = cluster.kubectl_error("create", "-f", "-", text=json.dumps(manifest))
    assert re.search(bad.says, said, re.S | re.I), f"{bad.what}: kubectl said {said!r}"
    with pytest.raises(ApiError) as refusal:
        cluster.api("POST", f"{API}/namespaces/{namespace}/replicationgroups", manifest)
    assert 400 <= refusal.value.status < 500
    assert re.search(bad.says, refusal.value.message, re.S | re.I), refusal.value.message


def test_bad_change_touches_nothing(group: Group, cluster: Cluster, say: Say) -> None:
    """Bar 9: a bad change of a running group (a downgrade among them) leaves it as it is."""
    lives, epoch = group.incarnations(), group.epoch()
    changes: dict[str, Json] = {
        "downgrade": {"engineVersion": "6.2"}, "7 replicas": {"replicasPerNodeGroup": 7},
        "replicaof": {"parameters": {"replicaof": "1.2.3.4 6379"}},
        "other port": {"port": 6380}, "other engine": {"engine": "valkey"},
    }
    for what, spec in changes.items():
        with pytest.raises(ApiError) as refusal:
            group.patch(spec)
        assert len(refusal.value.message) > 20, what
    time.sleep(2)
    assert group.incarnations() == lives and group.epoch() == epoch
    assert group.settled(3)[0]
    say(f"bar 9: {len(BAD_INPUTS)} bad inputs by kubectl and raw POST and {len(changes)} bad "
        "changes refused with what to do, nothing running touched")
