"""One row: a fresh group, clients and observers on it, the fault, its end, and what they all saw."""

from __future__ import annotations

import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Callable

from client import Reader, lost_writes
from faults.checks import violations
from faults.evidence import (Evidence, late_span_s, late_writes, measured_words, strangers,
                             time_words)
from faults.history import History
from faults.kinds import KindLog, KindsProcess
from faults.scenario import SEED_KEYS, Scenario
from faults.stage import Stage
from faults.table import Row
from failover import WARM_UP_S
from group import Group
from harness import ROOT, TROUBLE, Cluster
from observer import ObserverProcess
from operator_control import AuditTail, Operator
from timeline import Mark, client_marks, draw, event_marks, log_marks, wall

NAMESPACE = "e2e-faults"
RATE = 500.0  # writes a second of the plain client
STAYS_S = 2.0  # whole counts only if it lasts
LOGS = ROOT / "build" / "faults"


@dataclass(frozen=True)
class Outcome:
    row: Row
    evidence: Evidence | None
    seconds: float


class Runner:
    def __init__(self, cluster: Cluster, operator: Operator, scale: float, version: str) -> None:
        self.cluster, self.operator = cluster, operator
        self.scale = scale
        self.version = version

    def run(self, scenario: Scenario) -> Outcome:
        """Never raises for what a row shows; what stops the row itself is one of its violations."""
        begin = time.monotonic()
        evidence, broken = None, ""
        undo: Callable[[], None] = lambda: None
        group = Group(self.cluster, NAMESPACE, scenario.name)
        try:
            self._ready()
            if scenario.prepare is not None:
                undo = scenario.prepare(self.cluster)
            evidence = self._measure(scenario, group)
        except Exception as error:  # a row that breaks is told, and the next one runs
            traceback.print_exc()
            broken = f"the row did not come to its end: {type(error).__name__}: {error}"
        finally:
            self._clear(group, undo)
        found = [broken] if broken else []
        if evidence is not None:
            found += violations(evidence, scenario.expect)
        return Outcome(self._row(scenario, evidence, found), evidence, time.monotonic() - begin)

    def _ready(self) -> None:
        self.operator.wait_replicas(2, 90)
        self.operator.wait_leader()

    def _clear(self, group: Group, undo: Callable[[], None]) -> None:
        """The next row starts on a clean cluster, whatever this one left."""
        for step in (lambda: group.delete(120) if self.cluster.find(group.path) else None, undo,
                     self.cluster.faults.recycle_volumes):
            try:
                step()
            except (*TROUBLE, AssertionError) as error:
                print(f"  clearing up after {group.name}: {error}", flush=True)

    # -- the run ------------------------------------------------------------------------------
    def _measure(self, scenario: Scenario, group: Group) -> Evidence:
        start, audit = scenario.start, AuditTail(self.cluster)
        group.create(start.manifest(group.name))
        group.wait_settled(start.members, 90)
        group.redis(patience=60).close()  # kube-proxy backs off up to 30 s after an API outage
        group.seed(SEED_KEYS)
        lives = group.incarnations()
        with ExitStack() as stack:
            observer = stack.enter_context(ObserverProcess(group.addresses()))
            history = stack.enter_context(History(group))
            client = stack.enter_context(group.client(RATE))
            kinds = stack.enter_context(KindsProcess(client.host))
            time.sleep(WARM_UP_S)
            stage = Stage(group, self.operator, history, observer, stack, self.scale)
            began = datetime.now(timezone.utc)
            trouble = self._play(scenario, stage)
            whole_at, why = self._wait_whole(scenario, group, stage.healed_at)
            time.sleep(1.0)
            stage.close()
        if stage.control_plane_touched:
            self.cluster.faults.repair()
        evidence = Evidence(
            fault_at=stage.fault_at or stage.healed_at, healed_at=stage.healed_at,
            whole_at=whole_at, why_not_whole=why, client=client.log(), lost=[],
            observer=stage.observers[0].log().merged(*(o.log() for o in stage.observers[1:])),
            history=history.log, epoch_before=stage.epoch,
            primary_before=Group.label_of(stage.primary), lives_before=lives,
            lives_after=group.incarnations(), victims=stage.victims, missing_seeds={},
            kinds=kinds.logs(), deletes=deletes_of(audit, NAMESPACE),
            findings=trouble + stage.findings, notes=stage.notes)
        self._read_back(group, evidence)
        evidence.events = [f"{event.get('reason')}: {event.get('note', '')}"
                           for event in group.events()]
        try:
            self._tell(scenario, group, evidence, began)
        except (*TROUBLE, StopIteration) as error:  # the row itself is whole
            print(f"  no time line: {type(error).__name__}: {error}", flush=True)
        return evidence

    @staticmethod
    def _play(scenario: Scenario, stage: Stage) -> list[str]:
        try:
            scenario.play(stage)
            return []
        except Exception as error:  # what was seen until then still counts
            traceback.print_exc()
            return [f"the fault did not come to its end: {type(error).__name__}: {error}"]
        finally:
            stage.heal()

    @staticmethod
    def _wait_whole(scenario: Scenario, group: Group,
                    healed_at: float) -> tuple[float | None, str]:
        """(since when the group is whole, "") or (None, what it lacks)."""
        since, seen = None, "nothing seen"
        end = healed_at + scenario.expect.whole_s
        while True:
            now = time.monotonic()
            try:
                done, seen = group.settled(scenario.start.members)
            except TROUBLE as error:
                done, seen = False, str(error)
            since = (since or now) if done else None
            if since is not None and now - since >= STAYS_S:
                return since, ""
            if now > end and since is None:
                return None, seen
            time.sleep(0.25)

    @staticmethod
    def _read_back(group: Group, evidence: Evidence) -> None:
        """From the primary itself: a Service that was made anew has another address."""
        try:
            host = group.primary().address
            evidence.lost = lost_writes(evidence.client, host, 6379)
            evidence.kinds_lost, evidence.torn = kinds_lost(evidence.kinds, host)
            evidence.missing_seeds = group.missing_seeds(SEED_KEYS)
        except TROUBLE as error:
            evidence.findings.append(f"L1: the data cannot be read back: {error}")

    # -- what is told -------------------------------------------------------------------------
    def _row(self, scenario: Scenario, evidence: Evidence | None, found: list[str]) -> Row:
        notes = ([f"known shortfall: {scenario.shortfall}"] if scenario.shortfall and found else [])
        if evidence is not None:
            notes += notes_of(evidence)
        day = datetime.now(timezone.utc).strftime("%Y-%m-%d")
        return Row(scenario.name, scenario.matrix, scenario.start.words(), scenario.fault,
                   scenario.expect.text, measured_words(evidence) if evidence else "",
                   "; ".join(found) or "none", "; ".join(notes), f"{day} {self.version}")

    def _tell(self, scenario: Scenario, group: Group, evidence: Evidence, began: datetime) -> None:
        """The time line of the row, for whoever wonders: build/faults/NAME.log."""
        offset = time.time() - time.monotonic()
        zero = wall(evidence.fault_at, offset)
        marks = [Mark(zero, "fault", scenario.fault),
                 Mark(wall(evidence.healed_at, offset), "fault", "undone")]
        if evidence.client.acks:
            marks += client_marks(evidence.client, evidence.fault_at, evidence.until, offset)
        marks += log_marks(self.operator.logs(began), f"{group.namespace}/{group.name}")
        marks += event_marks(group.events())
        marks += [Mark(wall(grant.when, offset), "record",
                       f"epoch {grant.epoch} {grant.label} {grant.stage}")
                  for grant in evidence.history.grants]
        marks += [Mark(wall(when, offset), "status", text)
                  for when, text in evidence.history.conditions]
        for span in evidence.observer.spans():
            if span.last.replied >= evidence.fault_at - 1:
                marks.append(Mark(wall(span.first.replied, offset), "observer",
                                  f"+OK from {span.label} for "
                                  f"{time_words(span.last.replied - span.first.replied)}"))
        LOGS.mkdir(parents=True, exist_ok=True)
        lines = draw(marks, zero, wall(evidence.until, offset), limit=2000)
        (LOGS / f"{scenario.name}.log").write_text("\n".join(
            [scenario.fault, measured_words(evidence), *violations(evidence, scenario.expect),
             "", *(f"{name}: {log.errors_since(evidence.fault_at)}"
                   for name, log in evidence.kinds.items()), "", *lines]) + "\n")


def deletes_of(audit: AuditTail, namespace: str) -> list[str]:
    """What the operator deleted in the namespace: "pods NAME", "persistentvolumeclaims NAME"."""
    found = []
    for write in audit.writes():
        verb, resource, target = write.split(" ", 2)
        if verb.startswith("delete") and target.startswith(f"{namespace}/"):
            found.append(f"{resource} {target.partition('/')[2]}")
    return found


def kinds_lost(kinds: dict[str, KindLog], host: str,
               port: int = 6379) -> tuple[dict[str, int], int]:
    """Acknowledged keys that are gone, by kind; and MULTI blocks of which one half is there."""
    lost: dict[str, int] = {}
    torn = 0
    reader = Reader(host, port)
    try:
        for name, log in kinds.items():
            keys = [key for _, key in log.keys]
            values: list[bytes | None] = []
            for at in range(0, len(keys), 500):
                values += reader.mget(keys[at:at + 500])
            lost[name] = sum(value is None for value in values)
            if name == "MULTI":
                torn = sum((one is None) != (other is None)
                           for one, other in zip(values[::2], values[1::2]))
    finally:
        reader.close()
    return lost, torn


def notes_of(evidence: Evidence) -> list[str]:
    notes = list(evidence.notes)
    late = late_writes(evidence.observer, evidence.history.grants)
    if late:
        last = max(one.after_s for one in late)
        notes.append(f"{len(late)} late +OK over {time_words(late_span_s(late))}, the last "
                     f"{time_words(last)} after the new primary's first")
    for label, seconds in strangers(evidence.observer, evidence.history.grants).items():
        notes.append(f"{label} took writes for {time_words(seconds)} without a grant")
    gone = {name: count for name, count in evidence.kinds_lost.items() if count}
    if gone:
        notes.append("other clients lost " + ", ".join(f"{name} {n}" for name, n in gone.items()))
    told = sorted({text.partition("(")[2].partition(":")[0]
                   for when, text in evidence.history.conditions
                   if text.startswith("Ready=") and when >= evidence.fault_at})
    if told:
        notes.append("Ready was false for " + ", ".join(told))
    reasons = sorted({event.split(":")[0] for event in evidence.events})
    if reasons:
        notes.append("Events: " + ", ".join(reasons))
    return notes


def log_file(name: str) -> Path:
    return LOGS / f"{name}.log"
