"""Everything that one run of a row brought home, and the figures in it: values, pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field

from client import WriteLog
from faults.history import Grant, HistoryLog
from faults.kinds import KindLog
from group import Incarnation
from observer import ObserverLog, Ok

NOT_A_GAP_S = 0.03  # a busy machine makes pauses as long as this by itself
GRANT_SEEN_S = 0.25  # a grant reaches us by a watch, its first write by a socket


@dataclass
class Evidence:
    """Times are CLOCK_MONOTONIC. Members are named "POD/first eight of the UID", as observers do."""

    fault_at: float
    healed_at: float
    whole_at: float | None  # None: not within the time that the row allows
    why_not_whole: str
    client: WriteLog
    lost: list[tuple[float, int]]
    observer: ObserverLog
    history: HistoryLog
    epoch_before: int
    primary_before: str
    lives_before: dict[str, Incarnation]
    lives_after: dict[str, Incarnation]
    victims: set[str]  # pods that the fault itself ends
    missing_seeds: dict[str, int]
    kinds: dict[str, KindLog] = field(default_factory=dict)
    kinds_lost: dict[str, int] = field(default_factory=dict)
    torn: int = 0  # MULTI blocks of which only one half is there
    deletes: list[str] = field(default_factory=list)  # by the operator: "pods NAME", …
    events: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)  # violations that the row itself found
    notes: list[str] = field(default_factory=list)

    @property
    def until(self) -> float:
        return self.client.stopped

    def gap_s(self) -> float:
        return self.client.longest_gap_ms(self.fault_at - 0.01, self.until) / 1000


@dataclass(frozen=True)
class LateWrite:
    """An older primary took a write after a newer one had taken its first."""

    ok: Ok
    after_s: float


def grants_by_epoch(grants: list[Grant]) -> dict[int, Grant]:
    """The first sight of each epoch."""
    found: dict[int, Grant] = {}
    for grant in grants:
        found.setdefault(grant.epoch, grant)
    return found


def went_back(evidence: Evidence) -> set[int]:
    """Epochs of a hand-over that was given up, whose member never took a write, and of its end."""
    found: set[int] = set()
    grants = [grant for epoch, grant in sorted(grants_by_epoch(evidence.history.grants).items())
              if epoch > evidence.epoch_before]
    label = evidence.primary_before
    for there, back in zip(grants, grants[1:]):
        first = evidence.observer.first_ok(there.label, there.when)
        served = first is not None and first.replied < back.when
        if there.stage == "switching" and back.label == label and not served:
            found |= {there.epoch, back.epoch}
        label = there.label
    return found


def moves(evidence: Evidence) -> list[Grant]:
    """New epochs that gave the role to another member than the epoch before."""
    found: list[Grant] = []
    label = evidence.primary_before
    undone = went_back(evidence)
    for epoch, grant in sorted(grants_by_epoch(evidence.history.grants).items()):
        if epoch in undone:
            continue
        if epoch > evidence.epoch_before and grant.label != label:
            found.append(grant)
        if epoch >= evidence.epoch_before:
            label = grant.label
    return found


def late_span_s(late: list[LateWrite]) -> float:
    """For how long members took writes after their term: a stalled one begins when it goes on."""
    times = [one.ok.replied for one in late]
    return max(times) - min(times) if times else 0.0


def late_writes(log: ObserverLog, grants: list[Grant]) -> list[LateWrite]:
    """`+OK` of members whose term was over, by the terms that the record granted."""
    terms: dict[str, list[Grant]] = {}
    for grant in grants_by_epoch(grants).values():
        terms.setdefault(grant.label, []).append(grant)
    newest, since, late = 0, 0.0, []
    for ok in sorted(log.oks, key=lambda one: one.replied):
        if ok.label not in terms:
            continue  # a stranger
        known = [grant.epoch for grant in terms[ok.label]
                 if grant.when <= ok.replied + GRANT_SEEN_S]
        epoch = max(known, default=0)
        if epoch > newest:
            newest, since = epoch, ok.replied
        elif epoch < newest:
            late.append(LateWrite(ok, ok.replied - since))
    return late


def strangers(log: ObserverLog, grants: list[Grant]) -> dict[str, float]:
    """Members that took writes without ever having been granted: for how long, in seconds."""
    granted = {grant.label for grant in grants}
    times: dict[str, list[float]] = {}
    for ok in log.oks:
        if ok.label not in granted:
            times.setdefault(ok.label, []).append(ok.replied)
    return {label: max(seen) - min(seen) for label, seen in times.items()}


def lost_ages(evidence: Evidence) -> list[float]:
    """For each lost write: how long before the next gap it was acknowledged; negative: none came."""
    begins = sorted(begin for begin, end in evidence.client.gaps(evidence.fault_at - 0.05)
                    if end - begin >= NOT_A_GAP_S)
    ages = []
    for when, _ in evidence.lost:
        begin = next((begin for begin in begins if begin >= when), None)
        ages.append(-1.0 if begin is None else begin - when)
    return ages


def changed_lives(evidence: Evidence) -> list[str]:
    """Pods of before that are gone, or run in another container."""
    return sorted(name for name, life in evidence.lives_before.items()
                  if evidence.lives_after.get(name) != life)


def figures(evidence: Evidence) -> dict[str, float]:
    """The measured times, in seconds, of those things that happened."""
    found = {"gap": evidence.gap_s()}
    gone = moves(evidence)
    if gone:
        new, old = gone[0].label, evidence.primary_before
        first = evidence.observer.first_ok(new, evidence.fault_at)
        last = evidence.observer.last_ok(old, first.replied if first else float("inf"))
        if first is not None:
            found["promoted"] = first.replied - evidence.fault_at
        if first is not None and last is not None:
            found["silence"] = first.replied - last.replied
    if evidence.whole_at is not None:
        found["whole"] = max(0.0, evidence.whole_at - evidence.healed_at)
    return found


def time_words(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def measured_words(evidence: Evidence) -> str:
    """The cell of the table: what this run showed."""
    seen = figures(evidence)
    words = [f"gap {time_words(seen['gap'])}"]
    if "promoted" in seen:
        words.append(f"promoted after {time_words(seen['promoted'])}")
    if "silence" in seen:
        words.append(f"silence {time_words(seen['silence'])}")
    count = len(moves(evidence))
    words.append(f"{count} role move{'' if count == 1 else 's'}")
    words.append(f"lost {len(evidence.lost)} of {len(evidence.client.acks)}")
    words.append(f"whole {time_words(seen['whole'])} after" if "whole" in seen else "not whole")
    slow = {name: log.longest_gap_s(evidence.fault_at)
            for name, log in evidence.kinds.items() if name != "idle"}
    if slow:
        worst = max(slow, key=lambda name: slow[name])
        words.append(f"slowest kind {worst} {time_words(slow[worst])}")
    if "idle" in evidence.kinds:
        words.append(f"idle {evidence.kinds['idle'].last_word}")
    return "; ".join(words)
