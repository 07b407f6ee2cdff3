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
    # The gap of the fault itself: a busy machine may have made a longer one later.
    failed_at = next((when for when, _ in log.failures if when >= fault_at), None)
    begin, end = (log.longest_gap(fault_at - 0.01, until) if failed_at is None
                  else next(gap for gap in log.gaps(failed_at, failed_at)))
    failures = log.failures_in(begin, end)
    tried = ", ".join(f"{count} x {what}" for what, count in sorted(failures.items()))
    return [Mark(wall(begin, offset), "client", "last write acknowledged by the old primary"),
            Mark(wall(end, offset), "client",
                 "first write acknowledged by the new primary" + (f" (tried: {tried})" if tried
                                                                  else ""))]


def words_of(fields: Json) -> str:
    """A log line of the operator in words (messages of operator/reconcile)."""
    message = str(fields.get("msg", ""))
    if message == "decided":
        return f"decided: {fields.get('reason', '')}"
    if message == "record written":
        return (f"recorded: epoch {fields.get('epoch')}, primary {fields.get('primary')}, "
                f"write guard {fields.get('guard')}")
    if message == "engine changed":
        return f"{fields.get('member')} did {fields.get('change')}"
    if message == "done":
        return str(fields.get("what", ""))
    details = "; ".join(str(fields[key]) for key in ("reason", "error") if fields.get(key))
    return message + (f" ({details})" if details else "")


def log_marks(lines: Iterable[LogLine], group: str) -> list[Mark]:
    """The operator's lines about one group ("namespace/name")."""
    return [Mark(line.when, "operator", words_of(line.fields))
            for line in lines
            # An Event that it wrote is shown as what it is.
            if line.fields.get("group") == group and line.fields.get("effect") != "EmitEvent"]


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
