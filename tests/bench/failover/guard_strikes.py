"""The faults of the guard's bench: a replica that is away for a while, and a host that is lost."""

from __future__ import annotations

import signal
import time

import dataset
from client import lost_writes
from clients import writing
from harness import die, resume, strike
from observer import ObserverLog
from results import Result
from strikes import Scene, Strike, cut, lead_elsewhere, until_dark_enough
from systems import PORT, Member

STALL_S = 10.0
AWAY_S = 15.0
WATCHED_S = 8.0  # a restart is over after that
LOST_S = 100.0  # without the guard nothing is promoted for a minute
INSIDE_PER_S = 100.0  # writes of the client beside a primary that is cut off


def replica_pid(scene: Scene) -> int:
    replica = next(one for one in scene.system.members() if one.uid != scene.primary.uid)
    return scene.cluster.faults.pid(scene.system.namespace, replica.name)


def find_replica(scene: Scene) -> None:
    """Beforehand, so that the fault's time is that of the signal."""
    scene.pid = replica_pid(scene)


def restart(scene: Scene) -> float:
    return die(scene.pid)


def stall(scene: Scene) -> float:
    scene.later(lambda: resume(scene.pid))
    return strike(scene.pid, signal.SIGSTOP)


def send_operator_away(scene: Scene) -> None:
    find_replica(scene)
    scene.later(lambda: scene.operator.scale(2))
    scene.operator.scale(0)


def write_inside(scene: Scene) -> None:
    """A client on the primary's own node, which a cut does not part from it."""
    lead_elsewhere(scene)
    target = ["--at", f"{scene.primary.address}:{PORT}"]
    scene.inside = scene.stack.enter_context(
        writing(target, INSIDE_PER_S, scene.cluster.faults.inside(scene.primary.node)))


def lasting(seconds: float):
    def hold(_: Scene, fault_at: float) -> None:
        time.sleep(max(0.0, fault_at + seconds - time.monotonic()))
    return hold


def judge_inside(scene: Scene, result: Result, fault_at: float, seen: ObserverLog,
                 new: Member) -> None:
    """What the cut-off primary acknowledged to its neighbour, and what became of it."""
    assert scene.inside is not None
    log = scene.inside.logs()[0]
    after = [when for when, _ in log.acks if when > fault_at]
    first = None if new.uid == scene.primary.uid else seen.first_ok(new.label, fault_at)
    healed_at = scene.undone_at
    alone = [when for when in after if when < healed_at]
    result.extra = {
        "inside_acknowledged": len(alone),
        "inside_lost": len([when for when, _ in lost_writes(log, new.address, PORT)
                            if fault_at < when < healed_at]),
        "inside_for_s": max(alone, default=fault_at) - fault_at,
        "late": sum(first is not None and when > first.replied for when in alone)}
    dataset.sweep(new.address, log.prefix, max((number for _, number in log.acks), default=0) + 100)


STRIKES = {one.name: one for one in (
    Strike("restart", "kill -9 of the replica; the kubelet starts it again", restart,
           lasting(WATCHED_S), find_replica),
    Strike("stall", f"SIGSTOP of the replica for {STALL_S:.0f} s", stall, lasting(STALL_S),
           find_replica, lasting=True),
    Strike("away", f"kill -9 of the replica while no operator runs, for {AWAY_S:.0f} s", restart,
           lasting(AWAY_S), send_operator_away, lasting=True),
    Strike("loss", "the primary's node unplugged; it runs on, with a client on it", cut,
           until_dark_enough, write_inside, lasting=True, judge=judge_inside, patience_s=LOST_S),
)}
