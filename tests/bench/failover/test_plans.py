"""Which rounds are made, and the objects and scripts that they are made with."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

import manifests
import paths
import plans
from harness import Json
from sentinel_system import View, disagreement, sentinel_conf
from strikes import STRIKES, USUAL
from systems import all_ready, member_of

SCRIPTS = paths.HERE / "scripts"


def test_what_the_issue_asks_for() -> None:
    empty, one, four = plans.part(0), plans.part(1), plans.part(4)
    assert empty.rounds == 20 and list(empty.faults) == USUAL
    assert "sentinel-default" in empty.systems
    assert (one.rounds, one.faults, len(one.systems)) == (10, ("kill", "planned"), 3)
    assert (four.rounds, four.faults, four.systems) == (5, ("kill",), ("regroup", "sentinel"))
    assert set(USUAL) < set(STRIKES)
    assert plans.part(2, ["regroup"], ["hang"], 2) == plans.Part(2, ("regroup",), ("hang",), 2)
    assert plans.unknown(["kill", "x"], list(STRIKES), "fault").startswith("no fault x")
    assert plans.unknown(plans.RIVALS, plans.SYSTEMS, "system") == ""


def test_systems_take_turns_and_done_rounds_are_left_out() -> None:
    part = plans.Part(0, ("regroup", "sentinel-default"), ("kill", "hang"), 5)
    steps = list(part.steps({}))
    assert [(one.number, one.fault, one.system) for one in steps[:4]] == [
        (1, "kill", "regroup"), (1, "kill", "sentinel-default"), (1, "hang", "regroup"),
        (1, "hang", "sentinel-default")]
    assert len(steps) == 2 * 5 + 2 * 3 and steps[1].of == 3
    done = {("regroup", "kill", 0.0): 4, ("sentinel-default", "hang", 0.0): 9}
    left = list(part.steps(done))
    assert [one.number for one in left if (one.system, one.fault) == ("regroup", "kill")] == [5]
    assert len(left) == 1 + 5 + 3


def test_large_sets_live_one_after_the_other() -> None:
    assert not plans.part(1).alone(20.0) and plans.part(4).alone(20.0)
    assert not plans.part(0).alone(0.1)


def test_members_have_room_for_their_data() -> None:
    for data_gb in (0, 1, 4):
        conf = dict(line.split(" ", 1) for line in manifests.redis_conf(data_gb).splitlines())
        memory, limit = int(conf["maxmemory"]), manifests.limit_mi(data_gb) << 20
        assert data_gb * 1e9 * 1.05 < memory <= limit * 0.75
        assert int(conf["repl-backlog-size"]) >= 64 << 20
    assert manifests.resources(0)["limits"] == {"memory": "512Mi"}


def test_pods_are_on_nodes_of_their_own_and_restricted() -> None:
    made = manifests.stateful_set("x", ["sh"], "conf", 6379, manifests.resources(0), {"A": "b"},
                                  {"sleep": {"seconds": 6}})
    spec = made["spec"]["template"]["spec"]
    rule = spec["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0]
    assert rule["topologyKey"] == "kubernetes.io/hostname"
    assert rule["labelSelector"] == made["spec"]["selector"]
    container = spec["containers"][0]
    assert container["lifecycle"]["preStop"] == {"sleep": {"seconds": 6}}
    assert {"name": "A", "value": "b"} in container["env"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert spec["securityContext"]["runAsNonRoot"]


def test_pods_as_the_api_has_them() -> None:
    pod: Json = {"metadata": {"name": "a-0", "uid": "0123456789"}, "spec": {"nodeName": "node1"},
           "status": {"podIP": "10.1.1.1", "conditions": [{"type": "Ready", "status": "True"}]}}
    assert member_of(pod).label == "a-0/01234567"
    assert all_ready([pod], 1) == "" and "1 of 1" in all_ready([pod], 3)
    gone = {**pod, "metadata": {**pod["metadata"], "deletionTimestamp": "now"}}
    assert all_ready([gone], 1)


def test_sentinels_that_do_not_agree() -> None:
    members = frozenset({"a", "b", "c"})
    good = View("a", "master", frozenset({"b", "c"}), 2, False)
    assert disagreement([good, good, good], members, True) == ""
    for left in (View("a", "master", frozenset({"b", "c", "old"}), 2, False),
                 View("a", "master", frozenset({"b", "c"}), 2, True)):
        assert disagreement([left], members, False) == "" != disagreement([left], members, True)
    for bad in (View("b", "master", frozenset({"a", "c"}), 2, False),
                View("a", "master,o_down", frozenset({"b", "c"}), 2, False),
                View("a", "master", frozenset({"b"}), 2, False),
                View("a", "master", frozenset({"b", "c", "old"}), 2, False),
                View("a", "master", frozenset({"b", "c"}), 1, False),
                View("a", "master", frozenset({"b", "c"}), 2, True)):
        assert disagreement([good, good, bad], members, True), bad
    conf = sentinel_conf("10.1.1.1", 1000, 3000)
    assert "sentinel monitor bench 10.1.1.1 6379 2" in conf
    assert "down-after-milliseconds bench 1000" in conf and "failover-timeout bench 3000" in conf


# -- the members' start, with stand-ins for the programs ------------------------------------------
@pytest.fixture
def stand_ins(tmp_path: Path) -> dict[str, str]:
    """redis-cli answers what the file `says` holds; redis-server writes down how it was called."""
    programs = {"redis-cli": 'cat "$HERE/says"', "redis-server": 'echo "$@" > "$HERE/ran"'}
    for name, body in programs.items():
        file = tmp_path / name
        file.write_text(f"#!/bin/sh\n{body}\n")
        file.chmod(0o755)
    (tmp_path / "data").mkdir()
    (tmp_path / "redis.conf").write_text("port 6379\n")
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "HERE": str(tmp_path),
            "DATA": str(tmp_path / "data"), "CONF": str(tmp_path), "SENTINELS": "10.0.0.9",
            "POD_IP": "10.1.1.1"}


def start(env: dict[str, str]) -> subprocess.Popen:
    return subprocess.Popen(["sh", str(SCRIPTS / "redis.sh")], env=env)


def test_the_first_primary_and_a_replica_start(stand_ins: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "says").write_text("10.1.1.1\n6379\n")
    assert start(stand_ins).wait(10) == 0
    assert (tmp_path / "data" / "redis.conf").read_text() == "port 6379\n"
    (tmp_path / "says").write_text("10.1.1.2\n6379\n")
    assert start(stand_ins).wait(10) == 0
    assert (tmp_path / "data" / "redis.conf").read_text().endswith("replicaof 10.1.1.2 6379\n")
    assert (tmp_path / "ran").read_text().strip() == str(tmp_path / "data" / "redis.conf")


def test_a_killed_primary_waits_for_another_one(stand_ins: dict[str, str], tmp_path: Path) -> None:
    """With its empty memory it would be taken for the primary again, and its replicas emptied."""
    (tmp_path / "data" / "started").touch()
    (tmp_path / "says").write_text("10.1.1.1\n6379\n")
    process = start(stand_ins)
    time.sleep(0.6)
    assert process.poll() is None and not (tmp_path / "ran").exists()
    (tmp_path / "says").write_text("")  # no Sentinel answers
    time.sleep(0.4)
    assert process.poll() is None
    (tmp_path / "says").write_text("10.1.1.3\n6379\n")
    assert process.wait(10) == 0
    assert "replicaof 10.1.1.3 6379" in (tmp_path / "data" / "redis.conf").read_text()
