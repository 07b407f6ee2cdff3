"""The role-label controller: its decisions as values, its eyes and hands on real servers."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Iterator

import pytest

import dataset
from harness import wait_for
from loopback import Server
from rolelabel import Facts, Known, Plan, agree, candidate, fault_of, plan
from local_set import LocalFenced
from rolelabel_controller import Controller, follow, hand_over, promote
from rolelabel_system import stages_of
from rolelabel_watch import Watch
from sentinel_system import in_sync

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")

A = Facts("a", "10.0.0.1", "answering", run_id="ra", role="master", offset=100, label="primary")
B = Facts("b", "10.0.0.2", "answering", run_id="rb", role="slave", source=A.address, link_up=True,
          offset=90, label="replica")
C = replace(B, name="c", address="10.0.0.3", run_id="rc", offset=95)
DEAD = replace(A, reach="refused", ended=True)


def decide(*members: Facts, wanted: str = "") -> Plan:
    return plan(Known("a", A.address, "ra"), members, wanted)


def test_at_rest_nothing_is_to_be_done() -> None:
    assert decide(A, B, C) == Plan("steady", "", "a")


def test_the_first_primary_is_made_once_all_are_there() -> None:
    fresh = [replace(one, role="slave", source="127.0.0.1", link_up=False, label="")
             for one in (C, B, A)]
    assert plan(Known(), fresh[:2]).kind == "wait"
    assert plan(Known(), [*fresh[:2], replace(A, reach="unknown")]).kind == "wait"
    assert plan(Known(), fresh) == Plan("begin", "the first one", "a")
    begun = decide(replace(A, label=""), *(replace(one, source="127.0.0.1", link_up=False, label="")
                                           for one in (B, C)))
    assert begun.follow == ("b", "c") and begun.labels == (("a", "primary"),)
    assert decide(A, replace(B, label=""), C).labels == (("b", "replica"),)
    assert decide(A, replace(B, label="", link_up=False), C).labels == ()


def test_a_dead_primary_is_replaced_by_whoever_has_the_most() -> None:
    assert decide(DEAD, B, C) == Plan("failover", "its process died", "c")
    assert decide(DEAD, B, replace(C, offset=90)).new == "b"
    assert decide(DEAD, B, replace(C, reach="hung")).new == "b"
    assert decide(DEAD, B, replace(C, deleting=True)).new == "b"
    assert decide(DEAD, B, replace(C, source="127.0.0.1")).new == "b"
    assert decide(DEAD).kind == "wait"


def test_a_refusal_alone_is_no_death_but_a_fenced_start_is() -> None:
    assert fault_of(replace(A, reach="refused"), "ra") == ""
    assert decide(replace(A, reach="refused"), B, C).kind == "steady"
    born = replace(A, run_id="anew", role="slave", source="127.0.0.1", offset=0)
    assert decide(born, B, C) == Plan("failover", "its process was started again", "c")
    assert decide(replace(A, role="slave"), B, C).kind == "steady"  # it has just been promoted


def test_a_pod_made_anew_under_its_name_is_another_one() -> None:
    anew = replace(A, address="10.0.0.9", role="slave", source="127.0.0.1", offset=0, label="")
    assert decide(anew, B, C) == Plan("failover", "its pod is gone", "c")


@pytest.mark.parametrize("reach", ["gone", "hung"])
def test_silence_counts_once_the_replicas_agree(reach: str) -> None:
    silent = replace(A, reach=reach)
    assert decide(silent, B, C).kind == "wait"
    still = [replace(one, still_s=1.6) for one in (B, C)]
    assert decide(silent, *still).kind == "failover"
    assert decide(silent, still[0], C).kind == "wait"
    assert decide(silent, still[0], replace(C, link_up=False)).kind == "failover"
    assert not agree([]) and not agree([replace(B, reach="gone")])
    assert candidate([replace(B, reach="gone")], A.address) is None


def test_who_comes_back_follows() -> None:
    back = replace(A, name="b", address=B.address, label="replica")
    assert decide(A, back, C).follow == ("b",)
    assert decide(A, replace(back, role="slave", source="10.0.0.3"), C).follow == ("b",)
    assert decide(A, replace(back, reach="hung"), C).follow == ()
    assert decide(A, replace(back, deleting=True), C).follow == ()


def test_planned_changes() -> None:
    assert decide(A, B, C, wanted="b") == Plan("handover", "asked for", "b")
    assert decide(A, B, C, wanted="a").kind == "steady"
    assert decide(A, replace(B, link_up=False), C, wanted="b").kind == "steady"
    assert decide(replace(A, deleting=True), B, C) == Plan("handover", "it is deleted", "c")
    assert decide(replace(DEAD, deleting=True), B, C).kind == "failover"


def test_stages_are_those_of_the_round(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert stages_of(log, 0) == {}
    lines = [{"event": "begin", "noticed": 11, "promoted": 11, "labelled": 11},
             {"event": "failover", "noticed": 9.0, "promoted": 9.1, "labelled": 9.2},
             {"event": "trouble"},
             {"event": "failover", "noticed": 10.25, "promoted": 10.5, "labelled": 11.5}]
    log.write_text("\n".join(json.dumps(one) for one in lines) + "\n")
    assert stages_of(log, 10.0) == {"detect": 250.0, "promote": 250.0, "labels": 1000.0}
    assert stages_of(log, 11.0) == {}


# -- eyes and hands -----------------------------------------------------------------------------
@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[Server]]:
    made = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        made.append(Server(folder))
    yield made
    for one in made:
        if one.process.poll() is None:
            os.kill(one.process.pid, signal.SIGCONT)
            one.kill()


@needs_redis
def test_a_watch_sees_death_and_birth(servers: list[Server]) -> None:
    woken = threading.Event()
    watch = Watch("a", "127.0.0.1", servers[0].port, woken.set)
    watch.start()
    wait_for("the first answer", 5, lambda: (watch.facts().answers, watch.facts()), 0.01)
    assert watch.facts().role == "master" and not watch.facts().ended and not watch.quiet()
    woken.clear()
    run_id = watch.facts().run_id
    assert len(run_id) == 40
    servers[0].kill()
    assert woken.wait(2), "the end of the connection wakes"
    wait_for("it is dead", 2, lambda: (bool(fault_of(watch.facts(), run_id)), watch.facts()), 0.005)
    assert fault_of(watch.facts(), run_id) == "its process died" and watch.quiet()
    servers[0].start()
    servers[0].link.replicaof("127.0.0.1", 1)
    wait_for("it answers again", 5, lambda: (watch.facts().answers, watch.facts()), 0.01)
    wait_for("it is fenced", 5, lambda: (watch.facts().source == "127.0.0.1", watch.facts()), 0.01)
    watch.close()


@needs_redis
def test_a_watch_tells_a_hang_by_its_time(servers: list[Server],
                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rolelabel_watch.HUNG_S", 1.2)
    watch = Watch("a", "127.0.0.1", servers[0].port, lambda: None)
    watch.start()
    wait_for("the first answer", 5, lambda: (watch.facts().answers, ""), 0.01)
    os.kill(servers[0].process.pid, signal.SIGSTOP)
    begin = time.monotonic()
    watch.hurry(0.1)
    wait_for("it hangs", 5, lambda: (watch.facts().reach == "hung", watch.facts()), 0.01)
    assert time.monotonic() - begin >= 1.1
    os.kill(servers[0].process.pid, signal.SIGCONT)
    wait_for("it answers", 5, lambda: (watch.facts().answers, watch.facts()), 0.01)
    watch.close()


@needs_redis
def test_a_watch_tells_a_silent_host() -> None:
    """No host has an address for documentation: a handshake without an answer, or none at all."""
    watch = Watch("a", "192.0.2.1", 6379, lambda: None)
    begin = time.monotonic()
    watch.start()
    wait_for("it is gone", 10, lambda: (watch.facts().reach in ("gone", "refused"), ""), 0.02)
    if watch.facts().reach == "gone":
        assert time.monotonic() - begin >= 1.4
    watch.close()


@needs_redis
def test_roles_move_without_a_loss(servers: list[Server]) -> None:
    old, new = servers
    follow("127.0.0.1", "127.0.0.1", new.port, old.port)
    wait_for("the replica is in sync", 20, lambda: in_sync("127.0.0.1", 1, old.port), 0.05)
    dataset.fill("127.0.0.1", 0.002, 1, old.port)
    idle = old.link.client()
    idle.ping()
    hand_over("127.0.0.1", "127.0.0.1", old.port, new.port)
    assert new.link.role()[0] == b"master"
    wait_for("the old one follows", 20, lambda: in_sync("127.0.0.1", 1, new.port), 0.05)
    assert dataset.missing("127.0.0.1", 0.002, new.port) == 0
    assert old.link.role()[0] == b"slave"
    promote("127.0.0.1", old.port)
    assert old.link.role()[0] == b"master"
    follow("127.0.0.1", "127.0.0.1", old.port, new.port, cut=True)
    wait_for("it follows again", 20, lambda: in_sync("127.0.0.1", 1, new.port), 0.05)


@needs_redis
def test_the_controller_makes_moves_and_mends_the_roles(tmp_path: Path) -> None:
    local, changed = LocalFenced(tmp_path), threading.Event()
    log = tmp_path / "controller.log"
    controller = Controller(local, changed, str(log))
    thread = threading.Thread(target=controller.run, daemon=True)
    thread.start()
    try:
        wait_for("the first primary", 20, local.settled, 0.05)
        first = local.primary()
        dataset.fill(first.address, 0, 2)
        killed_at = time.monotonic()
        first.process.kill()
        wait_for("another primary", 10, lambda: (local.primary() is not first, ""), 0.005)
        moved_s = time.monotonic() - killed_at
        assert moved_s < 2, moved_s
        wait_for("the killed one follows", 20, local.settled, 0.05)
        second = local.primary()
        target = next(name for name, role in local.labels().items() if role == "replica")
        controller.want(target)
        wait_for("the wish is done", 10, lambda: (local.primary().name == target, ""), 0.01)
        wait_for("all follow the wanted one", 20, local.settled, 0.05)
        assert dataset.missing(local.primary().address, 0) == 0
        assert stages_of(log, killed_at)["detect"] < 2000
        events = [json.loads(line) for line in log.read_text().splitlines()]
        assert [one["event"] for one in events if one["event"] != "trouble"] == [
            "begin", "failover", "handover"]
        assert events[-1]["old"] == second.name
    finally:
        controller.stop()
        thread.join(5)
        local.members.stop()


@needs_redis
def test_a_round_leaves_no_keys(servers: list[Server]) -> None:
    link = servers[0].link
    dataset.fill("127.0.0.1", 0.001, 0, servers[0].port)
    link.mset({f"round:{number}": 1 for number in range(1, 2500)})
    dataset.sweep("127.0.0.1", "round", 2600, servers[0].port)
    assert link.dbsize() == dataset.SEED_KEYS + dataset.values_of(0.001)
    link.delete("seed:1", "data:2")
    assert dataset.missing("127.0.0.1", 0.001, servers[0].port) == 2
