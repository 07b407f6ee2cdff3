"""Engine processes that die, stop, or do not come to answer."""

from __future__ import annotations

import threading
import time

import redis

from faults.scenario import Expect, Scenario, Start
from faults.stage import QUIET_S, Stage
from group import connect

SCRIPT = ("local e = redis.call('TIME'); local stop = e[1] * 1000000 + e[2] + ARGV[1] * 1000000; "
          "repeat local t = redis.call('TIME') until t[1] * 1000000 + t[2] > stop; return 1")
HANG_S = 5.0 + 3.0  # unresponsiveAfter, and what bar 5 adds
SLOW_END = "a kubelet takes 3 s to end a process that stands still, so 8.1 s were seen now and then"
LATE_S = 1.2  # a declared limit: what a stalled primary may still acknowledge when it goes on


def kill_primary(stage: Stage) -> None:
    stage.struck(stage.kill(stage.primary))
    stage.wait_moved(10)


def kill_stays_down(stage: Stage) -> None:
    stage.pause(f"{stage.primary.node}-kubelet")
    stage.struck(stage.kill(stage.primary))
    stage.wait_moved(20)


def kill_only(stage: Stage) -> None:
    stage.struck(stage.kill(stage.primary))


def kill_replica(stage: Stage) -> None:
    stage.struck(stage.kill(stage.replicas[0]))


def kill_replicas(stage: Stage) -> None:
    stage.struck(stage.kill(*stage.replicas))


def kill_all(stage: Stage) -> None:
    stage.struck(stage.kill(stage.primary, *stage.replicas))


def kill_new_primary(stage: Stage) -> None:
    """The one that was just granted dies before, or while, it is told."""
    when = stage.kill(stage.primary)
    grant = stage.history.wait_grant(stage.epoch, 10)
    if grant is None:
        stage.findings.append("L2: nobody was granted within 10 s")
        return
    new = next(member for member in stage.members if member.uid == grant.uid)
    second = stage.kill(new)
    stage.notes.append(f"{new.name} was killed {(second - when) * 1000:.0f} ms after the first one, "
                       f"stage {grant.stage or 'none'}")
    stage.struck(when)
    stage.wait_moved(30, above=stage.epoch + 1)


def freeze_new_primary(stage: Stage) -> None:
    """The one that was just granted hangs before, or while, it is told."""
    when = stage.kill(stage.primary)
    grant = stage.history.wait_grant(stage.epoch, 10)
    if grant is None:
        stage.findings.append("L2: nobody was granted within 10 s")
        return
    new = next(member for member in stage.members if member.uid == grant.uid)
    stage.victims.add(new.name)
    stage.freeze(new)
    stage.struck(when)
    stage.last(20)


def kill_replicas_then_primary(stage: Stage) -> None:
    """Nobody is left who could take over; the primary's own volume is the only hope."""
    for node in {member.node for member in stage.replicas}:
        stage.pause(f"{node}-kubelet")
    stage.struck(stage.kill(*stage.replicas))
    stage.sleep(3)
    stage.kill(stage.primary)
    stage.sleep(5)


def freeze_primary(seconds: float, moves: bool):
    def play(stage: Stage) -> None:
        stage.victims.add(stage.primary.name)  # a hung member may be killed
        stage.struck(stage.freeze(stage.primary), quiet=seconds > QUIET_S)
        stage.last(seconds)
        stage.heal()
        if moves:
            stage.sleep(2)
    return play


def freeze_replicas(seconds: float, count: int):
    def play(stage: Stage) -> None:
        stage.victims |= {member.name for member in stage.replicas[:count]}
        stage.struck(stage.freeze(*stage.replicas[:count]))
        stage.last(seconds)
    return play


def freeze_candidate(stage: Stage) -> None:
    """With equal offsets the first name is chosen: that one hangs already when the primary dies."""
    chosen = min(stage.replicas, key=lambda member: member.name)
    stage.victims.add(chosen.name)
    stage.freeze(chosen)
    stage.sleep(0.3)
    stage.struck(stage.kill(stage.primary))
    stage.wait_moved(30)
    stage.last(15)


def run_script(seconds: float):
    def play(stage: Stage) -> None:
        link = connect(stage.primary.address, timeout=seconds + 10)

        def evaluate() -> None:
            try:
                link.eval(SCRIPT, 0, str(seconds))
            except (redis.RedisError, OSError) as error:
                stage.notes.append(f"the script ended with {type(error).__name__}")

        thread = threading.Thread(target=evaluate, daemon=True)
        when = time.monotonic()
        thread.start()
        stage.struck(when)
        thread.join(seconds + 10)
        stage.sleep(3)
    return play


def frozen(seconds: float, moves: bool, expect: Expect, shortfall: str = "",
           quick: bool = False) -> Scenario:
    return Scenario(f"freeze-primary-{seconds:g}s", "3", f"SIGSTOP of the primary for {seconds:g} s",
                    expect, freeze_primary(seconds, moves), quick=quick, shortfall=shortfall)


STALL = "no role moves; writes wait for the stall and go on"
HUNG = "another primary within 8 s; what the old one says late is bounded and counted"

ROWS = [
    Scenario("kill-primary", "1, 2", "kill -9 of the primary; the kubelet starts it again at once",
             Expect("a replica takes over, the old one comes back empty and follows", 2.0),
             kill_primary, quick=True),
    Scenario("kill-primary-stays-down", "1", "kill -9 of the primary, whose kubelet stands still",
             Expect("a replica takes over without the kubelet's word", 2.0), kill_stays_down),
    Scenario("kill-primary-storage", "2", "kill -9 of the primary; it starts again with its volume",
             Expect("a replica takes over, or the primary again; nothing is wiped", 2.0, (0, 1)),
             kill_only, Start(storage=True)),
    Scenario("kill-lone-memory", "2", "kill -9 of the only member",
             Expect("it starts again empty, and says so", 30.0, (0, 0), data="gone"), kill_only,
             Start(replicas=0)),
    Scenario("kill-lone-storage", "2", "kill -9 of the only member",
             Expect("it starts again with its data", 30.0, (0, 0), lost_s=1.5), kill_only,
             Start(replicas=0, storage=True)),
    Scenario("kill-replica", "4", "kill -9 of a replica",
             Expect("no write fails, no role moves", 0.5, (0, 0), lost_s=0, refused=False),
             kill_replica),
    Scenario("kill-both-replicas", "15", "kill -9 of both replicas in one breath",
             Expect("the write guard is lifted; no role moves", 3.5, (0, 0), lost_s=0),
             kill_replicas),
    Scenario("kill-replicas-then-primary", "15",
             "both replicas dead and kept down, then kill -9 of the primary",
             Expect("the primary is granted again on its own volume", 30.0, (0, 0), lost_s=1.5),
             kill_replicas_then_primary, Start(storage=True)),
    Scenario("kill-new-primary", "15", "the new primary is killed as soon as its grant is written",
             Expect("the last one takes over", 15.0, (1, 2)), kill_new_primary, quick=True),
    Scenario("freeze-new-primary", "4, 15",
             "the new primary hangs for 20 s as soon as its grant is written",
             Expect("it goes on when it is back, or is replaced on proof; one writer", 25.0, (1, 2),
                    late_s=LATE_S), freeze_new_primary),
    Scenario("kill-all-memory", "17", "kill -9 of all members at once",
             Expect("the group starts again empty, and says so", 30.0, (0, 1), data="gone"), kill_all),
    Scenario("kill-all-storage", "17", "kill -9 of all members at once",
             Expect("the primary comes back on its own volume", 30.0, (0, 1), lost_s=1.5), kill_all,
             Start(storage=True)),
    frozen(1, False, Expect(STALL, 2.5, (0, 0), restarts="none", lost_s=0)),
    frozen(3, False, Expect(STALL, 4.5, (0, 0), restarts="none", lost_s=0), quick=True),
    frozen(15, True, Expect(HUNG, HANG_S, late_s=LATE_S), SLOW_END),
    frozen(60, True, Expect(HUNG, HANG_S, late_s=LATE_S), SLOW_END),
    Scenario("freeze-primary-15s-guard-off", "3", "SIGSTOP of the primary for 15 s",
             Expect(HUNG, HANG_S, late_s=LATE_S), freeze_primary(15, True), Start(guard=False),
             shortfall=SLOW_END),
    Scenario("freeze-replica-15s", "4", "SIGSTOP of a replica for 15 s",
             Expect("no role moves, writes go on", 1.0, (0, 0), lost_s=0), freeze_replicas(15, 1)),
    Scenario("freeze-replica-60s", "4", "SIGSTOP of a replica for 60 s",
             Expect("no role moves, writes go on", 1.0, (0, 0), lost_s=0), freeze_replicas(60, 1)),
    Scenario("freeze-both-replicas-15s", "4", "SIGSTOP of both replicas for 15 s",
             Expect("the write guard is lifted; no role moves", 3.5, (0, 0), lost_s=0),
             freeze_replicas(15, 2)),
    Scenario("freeze-candidate", "4",
             "the replica that would be chosen hangs when the primary is killed",
             Expect("the other one takes over", HANG_S), freeze_candidate),
    Scenario("script-3s", "18", "a Lua script of 3 s on the primary",
             Expect(STALL, 4.5, (0, 0), restarts="none", lost_s=0), run_script(3), quick=True),
    Scenario("busy-12s", "18", "a Lua script of 12 s; the engine answers BUSY after 0.5 s",
             Expect(STALL, 13.5, (0, 0), restarts="none", lost_s=0), run_script(12),
             Start(spec={"parameters": {"lua-time-limit": "500"}}, extra="lua-time-limit 500")),
]
