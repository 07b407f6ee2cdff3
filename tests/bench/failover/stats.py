"""Figures out of logs and rounds: pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Iterable, Sequence

import paths  # noqa: F401
from client import WriteLog
from percentiles import percentile
from observer import ObserverLog

Interval = tuple[float, float]


@dataclass(frozen=True)
class Spread:
    """Median, p99 and worst of so many values; of fewer than 100 the p99 is the worst one."""

    count: int
    median: float
    p99: float
    worst: float


def spread(values: Sequence[float]) -> Spread | None:
    if not values:
        return None
    return Spread(len(values), median(values), percentile(values, 0.99), max(values))


def gap_ms(log: WriteLog, fault_at: float, until: float) -> float:
    """The longest time without an acknowledgement; the last one may be just before the fault."""
    return log.longest_gap_ms(fault_at - 0.01, until)


def kept_gap_ms(log: WriteLog, lost: Sequence[tuple[float, int]], fault_at: float,
                until: float) -> float:
    """The same between writes that survived: what is lost afterwards was never served."""
    gone = set(lost)
    kept = [ack for ack in log.acks if ack not in gone]
    return gap_ms(WriteLog(log.prefix, kept, log.failures, log.started, log.stopped), fault_at,
                  until)


def pooled(logs: Sequence[WriteLog]) -> WriteLog:
    """Several connections as one client that takes whichever answers."""
    return WriteLog("pool", sorted(ack for log in logs for ack in log.acks),
                    sorted(bad for log in logs for bad in log.failures),
                    min(log.started for log in logs), max(log.stopped for log in logs))


def union(intervals: Iterable[Interval]) -> list[Interval]:
    out: list[Interval] = []
    for begin, end in sorted(intervals):
        if out and begin <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((begin, end))
    return out


def two_writers_s(logs: Sequence[ObserverLog]) -> float:
    """For how long two members took writes at one time. Each observer's log is looked at by itself
    first: outside a cut node nothing answers, and that breaks no span that was seen inside."""
    by_member: dict[str, list[Interval]] = {}
    for log in logs:
        for span in log.spans():
            by_member.setdefault(span.label, []).append((span.first.replied, span.last.replied))
    edges = sorted((when, step) for intervals in by_member.values()
                   for begin, end in union(intervals) for when, step in ((begin, 1), (end, -1)))
    total, writers, since = 0.0, 0, 0.0
    for when, step in edges:
        if writers >= 2:
            total += when - since
        writers += step
        since = when
    return total


def ratio(value: float, to: float) -> float | None:
    return value / to if to > 0 else None
