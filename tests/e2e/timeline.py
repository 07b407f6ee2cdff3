"""The time line of one failover, from the operator's log, its Events, and the writing client."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Iterable

from client import WriteLog
from harness import Json
from operator_control import LogLine, parse_time


@dataclass(frozen=True)
class Mark:
    when: datetime
    source: str  # client, operator, event, demo
    text: str


def wall(monotonic: float, offset: float) -> datetime:
    """`offset` = time.time() - time.monotonic() on this machine."""
    return datetime.fromtimestamp(monotonic + offset, timezone.utc)


def client_marks(log: WriteLog, fault_at: float, until: float, offset: float) -> list[Mark]:
    begin, end = log.longest_gap(fault_at - 0.01, until)
    failures = log.failures_in(begin, end)
    tried = ", ".join(f"{count} x {what}" for what, count in sorted(failures.items()))
    return [Mark(wall(begin, offset), "client", "last write acknowledged by the old primary"),
            Mark(wall(end, offset), "client",
                 "first write acknowledged by the new primary" + (f" (tried: {tried})" if tried
                                                                  else ""))]


def log_marks(lines: Iterable[LogLine], group: str) -> list[Mark]:
    """The operator's lines about one group ("namespace/name"); details of a line follow in brackets."""
    marks = []
    for line in lines:
        if line.fields.get("group") not in (group, group.split("/")[1]):
            continue
        detail = [str(line.fields[key]) for key in ("why", "effect", "member", "reason")
                  if line.fields.get(key) and str(line.fields[key]) not in line.text]
        marks.append(Mark(line.when, "operator",
                          line.text + (f" ({'; '.join(detail)})" if detail else "")))
    return marks


def event_marks(events: Iterable[Json]) -> list[Mark]:
    return [Mark(parse_time(event["eventTime"]), "event",
                 f"{event.get('reason')}: {event.get('note', '')}")
            for event in events if event.get("eventTime")]


def draw(marks: Iterable[Mark], zero: datetime, until: datetime, limit: int = 40) -> list[str]:
    """One line a mark, in order, with milliseconds since the fault; repeats are folded."""
    window = sorted((mark for mark in marks
                     if zero - timedelta(milliseconds=50) <= mark.when <= until),
                    key=lambda mark: mark.when)
    lines: list[str] = []
    last = ""
    for mark in window:
        text = f"{mark.source:<9} {mark.text}"
        if text == last:
            continue
        last = text
        ms = (mark.when - zero) / timedelta(milliseconds=1)
        lines.append(f"{ms:+9.0f} ms  {text}")
    if len(lines) > limit:
        lines = lines[:limit] + [f"          … and {len(lines) - limit} lines more"]
    return lines
