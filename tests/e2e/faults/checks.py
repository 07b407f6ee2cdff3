"""The invariants of the fault matrix (S1 to S10, L1), judged over one run's evidence: pure functions.

Each check gives sentences that begin with the invariant's name; none means that it holds. What
cannot be seen from outside (S4's offsets, R1 to R4) is the simulator's part.
"""

from __future__ import annotations

from typing import Callable

from faults.evidence import (Evidence, changed_lives, grants_by_epoch, late_span_s, late_writes,
                             lost_ages, moves, strangers, time_words)
from faults.scenario import Expect
from observer import overlaps

Check = Callable[[Evidence, Expect], list[str]]


def one_endpoint(evidence: Evidence, _: Expect) -> list[str]:
    return [f"S1: the primary endpoint served {', '.join(served.names)} at one time"
            for served in evidence.history.served if len(served.names) > 1]


def one_writer(evidence: Evidence, expect: Expect) -> list[str]:
    grants = evidence.history.grants
    found = []
    if expect.late_s == 0:
        found += [f"S2: {overlap}" for overlap in overlaps(evidence.observer.spans())]
    for label, seconds in strangers(evidence.observer, grants).items():
        if seconds > expect.late_s or expect.late_s == 0:
            found.append(f"S2: {label} was never granted and took writes for {time_words(seconds)}")
    late = late_writes(evidence.observer, grants)
    if late and (expect.late_s == 0 or late_span_s(late) > expect.late_s):
        worst = max(late, key=lambda one: one.after_s)
        found.append(f"S2: {len(late)} writes by {worst.ok.label} after its term, over "
                     f"{time_words(late_span_s(late))}, the last {time_words(worst.after_s)} after "
                     "the new primary's first")
    return found


def data_whole(evidence: Evidence, expect: Expect) -> list[str]:
    if expect.data == "gone" or not evidence.missing_seeds:
        return []
    lacks = ", ".join(f"{name} {count}" for name, count in evidence.missing_seeds.items())
    return [f"S3: keys of the seed are missing: {lacks}"]


def losses(evidence: Evidence, expect: Expect) -> list[str]:
    found = []
    if evidence.torn and expect.data != "gone":
        found.append(f"S5: {evidence.torn} MULTI blocks are there by half")
    others = {name: count for name, count in evidence.kinds_lost.items() if count}
    if others and expect.lost_s == 0:
        found.append("S5: acknowledged writes of other clients lost: "
                     + ", ".join(f"{name} {count}" for name, count in others.items()))
    if not evidence.lost or expect.data == "gone":
        return found
    ages = lost_ages(evidence)
    if expect.lost_s == 0:
        found.append(f"S5: {len(ages)} acknowledged writes lost, none may be")
    elif max(ages) > expect.lost_s:
        found.append(f"S5: a write is lost that was acknowledged {time_words(max(ages))} before "
                     f"the end of its primary, {time_words(expect.lost_s)} are allowed")
    if expect.lost_s > 0 and expect.late_s == 0 and min(ages) < 0:
        found.append(f"S5: {sum(age < 0 for age in ages)} writes are lost after the last gap")
    return found


def epochs_grow(evidence: Evidence, expect: Expect) -> list[str]:
    if expect.rewound:
        return []
    found, highest = [], 0
    for grant in evidence.history.grants:
        first = grants_by_epoch(evidence.history.grants)[grant.epoch]
        if grant.uid != first.uid:
            found.append(f"S6: epoch {grant.epoch} belongs to {first.label} and to {grant.label}")
        if grant.epoch < highest:
            found.append(f"S6: the record went back from epoch {highest} to {grant.epoch}")
        highest = max(highest, grant.epoch)
    highest = 0
    for served in evidence.history.served:
        if served.epoch < highest:
            found.append(f"S6: the primary's slice went back from epoch {highest} to "
                         f"{served.epoch}")
        highest = max(highest, served.epoch)
    return sorted(set(found))


def nothing_removed(evidence: Evidence, _: Expect) -> list[str]:
    return [f"S7: the operator deleted {what}" for what in evidence.deletes
            if what.startswith("persistentvolumeclaims")]


def roles(evidence: Evidence, expect: Expect) -> list[str]:
    least, most = expect.failovers
    count = len(moves(evidence))
    # Where no failover may be, it is the operator's view alone that lacked the primary.
    name = "S8" if most == 0 else "L3" if count > most else "L2"
    if least <= count <= most:
        return []
    wanted = f"{least}" if least == most else f"{least} to {most}"
    return [f"{name}: the role moved {count} times, expected {wanted}"]


def lives(evidence: Evidence, expect: Expect) -> list[str]:
    if expect.restarts == "any":
        return []
    allowed = evidence.victims if expect.restarts == "victims" else set()
    return [f"S10: {name} was restarted or replaced"
            for name in changed_lives(evidence) if name not in allowed]


def gap(evidence: Evidence, expect: Expect) -> list[str]:
    found = []
    if expect.gap_s is not None and evidence.gap_s() > expect.gap_s:
        found.append(f"L2: no write acknowledged for {time_words(evidence.gap_s())}, "
                     f"{time_words(expect.gap_s)} are allowed")
    failures = evidence.client.failures_in(evidence.fault_at)
    if not expect.refused and failures:
        told = ", ".join(f"{count} x {what}" for what, count in sorted(failures.items()))
        found.append(f"S10: writes failed ({told})")
    return found


def clients(evidence: Evidence, expect: Expect) -> list[str]:
    if not expect.same_service:
        return []
    allowed = evidence.gap_s() + expect.client_s
    found = [f"L2: {name} clients waited {time_words(waited)}, the plain one "
             f"{time_words(evidence.gap_s())}"
             for name, log in evidence.kinds.items() if name != "idle"
             and (waited := log.longest_gap_s(evidence.fault_at)) > allowed]
    if "idle" in evidence.kinds and evidence.kinds["idle"].last_word == "READONLY":
        found.append("S2: an idle connection was left on a member that is no primary any more")
    return found


def whole_again(evidence: Evidence, expect: Expect) -> list[str]:
    if evidence.whole_at is not None:
        return []
    return [f"L1: not whole {expect.whole_s:.0f} s after the fault's end: {evidence.why_not_whole}"]


CHECKS: list[Check] = [one_endpoint, one_writer, data_whole, losses, epochs_grow, nothing_removed,
                       roles, lives, gap, clients, whole_again]


def violations(evidence: Evidence, expect: Expect) -> list[str]:
    return evidence.findings + [text for check in CHECKS for text in check(evidence, expect)]
