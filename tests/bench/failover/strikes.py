"""The faults of the bench: each strikes the primary of whichever system it is given."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Callable

import paths  # noqa: F401
from clients import LoopProcess
from harness import Cluster, die, resume, strike, undo_all
from observer import ObserverLog, ObserverProcess
from operator_control import PODS_PATH, Operator
from results import Result
from systems import PORT, Member, System

QUIET_S = 1.5  # after the fault nothing of ours runs for so long: the measurement comes first
HANG_S = 15.0
DARK_S = 10.0  # a dark node stays dark for so long at least
MOVED_S = 75.0  # Sentinel's default takes more than 30 s
AFTERWARDS_S = 3.0


@dataclass
class Scene:
    """One round's primary and what a strike may do. `undo` takes back all that `later` was told."""

    system: System
    operator: Operator
    primary: Member
    pid: int  # found beforehand, so that a fault's time is that of the signal
    stack: ExitStack
    inner: list[ObserverProcess] = field(default_factory=list)  # inside a cut node
    inside: LoopProcess | None = None  # a client inside a cut node
    patience_s: float = MOVED_S  # how long another primary may take
    undone_at: float = 0.0
    notes: list[str] = field(default_factory=list)
    _undo: list[Callable[[], object]] = field(default_factory=list)

    @property
    def cluster(self) -> Cluster:
        return self.system.cluster

    def later(self, undo: Callable[[], object]) -> None:
        self._undo.append(undo)

    def undo(self) -> None:
        undo_all(self._undo, self.notes)
        self.undone_at = self.undone_at or time.monotonic()

    def wait_moved(self) -> None:
        end = time.monotonic() + self.patience_s
        while not self.system.moved_from(self.primary):
            if time.monotonic() > end:
                self.notes.append(f"no other primary within {self.patience_s:.0f} s")
                return
            time.sleep(0.3)

    def watch_inside(self) -> None:
        """What a client in the node sees: the same label as outside, in a log of its own."""
        node = self.primary.node
        mine = {one.label: f"{one.address}:{PORT}" for one in self.system.members()
                if one.node == node}
        self.inner.append(self.stack.enter_context(
            ObserverProcess(mine, self.cluster.faults.inside(node))))


def nothing_more(*_: object) -> None:
    """Most faults need no more than the figures that every round has."""


@dataclass(frozen=True)
class Strike:
    """`prepare` runs before the clients, `begin` gives the fault's time, `hold` waits while it
    lasts, and `judge` adds what only this fault shows, once the next primary is known."""

    name: str
    words: str
    begin: Callable[[Scene], float]
    hold: Callable[[Scene, float], None] = lambda scene, _: scene.wait_moved()
    prepare: Callable[[Scene], None] = nothing_more
    lasting: bool = False  # it has an end of its own
    judge: Callable[[Scene, Result, float, ObserverLog, Member], None] = nothing_more
    patience_s: float = MOVED_S


def kill(scene: Scene) -> float:
    return die(scene.pid)


def delete(scene: Scene) -> float:
    path = f"/api/v1/namespaces/{scene.system.namespace}/pods/{scene.primary.name}"
    when = time.monotonic()
    scene.cluster.api("DELETE", f"{path}?gracePeriodSeconds=30")
    return when


def hang(scene: Scene) -> float:
    scene.later(lambda: resume(scene.pid))
    return strike(scene.pid, signal.SIGSTOP)


def until_resumed(scene: Scene, fault_at: float) -> None:
    time.sleep(max(0.0, fault_at + HANG_S - time.monotonic()))


def lead_elsewhere(scene: Scene) -> None:
    """A leading operator on the same node would add its lease's time, which is another fault."""
    operator, node = scene.operator, scene.primary.node
    leader = operator.wait_leader()
    if operator.node_of(leader) == node:
        scene.cluster.api("DELETE", f"{PODS_PATH}/{leader}")
        operator.wait_leader(unlike=leader)
        operator.wait_replicas(2)


def cut(scene: Scene) -> float:
    node = scene.primary.node
    scene.watch_inside()
    scene.later(lambda: scene.cluster.faults.heal(node))
    return scene.cluster.faults.cut(node)


def power(scene: Scene) -> float:
    """No FIN, no RST, no acknowledgement, and nothing on the node runs; the primary's process is
    gone when power is back."""
    when = cut(scene)
    scene.later(lambda: scene.cluster.faults.power_back(scene.primary.node, [scene.pid]))
    scene.cluster.faults.freeze_node(scene.primary.node)
    return when


def until_dark_enough(scene: Scene, fault_at: float) -> None:
    scene.wait_moved()
    time.sleep(max(AFTERWARDS_S, fault_at + DARK_S - time.monotonic()))


def planned(scene: Scene) -> float:
    return scene.system.switch()


STRIKES = {one.name: one for one in (
    Strike("kill", "kill -9 of the primary's process", kill),
    Strike("delete", "the primary's pod deleted, grace 30 s", delete),
    Strike("hang", f"SIGSTOP of the primary for {HANG_S:.0f} s", hang, until_resumed,
           lasting=True),
    Strike("power", "the primary's node unplugged and frozen", power, until_dark_enough,
           lead_elsewhere, lasting=True),
    Strike("cut", "the primary's node unplugged; it runs on, alone", cut, until_dark_enough,
           lead_elsewhere, lasting=True),
    Strike("planned", "a planned change of the primary", planned),
)}
USUAL = ["kill", "delete", "hang", "power", "planned"]
