"""The guard's table and page out of results: pure functions."""

from __future__ import annotations

from typing import Sequence

import report
from report import Group, grouped, markdown, measured_words, text_table, time_words
from results import Result

FAULTS = {"restart": "the replica is killed and starts again",
          "stall": "the replica stands still for 10 s",
          "away": "the replica is killed while no operator runs, 15 s",
          "loss": "the primary's host is cut off, with a client on it"}
SETTINGS = {"guard-auto": "Auto", "guard-off": "Off"}
REFUSED = "NOREPLICAS"
HEAD = ["what happens", "writeGuard", "rounds", "write gap, median", "worst",
        "rounds with refusals", "lost", "two writers", "cut-off primary took writes for",
        "of these lost", "late"]


def lines(results: Sequence[Result]) -> list[list[str]]:
    """In the order of the faults, Auto beside Off."""
    groups = sorted(grouped(results), key=lambda one: (
        list(FAULTS).index(one.fault) if one.fault in FAULTS else len(FAULTS), one.system))
    return [_cells(one) for one in groups]


def _cells(one: Group) -> list[str]:
    begin = [FAULTS.get(one.fault, one.fault), SETTINGS.get(one.system, one.system),
             str(len(one.rounds)) + (f" ({one.broken} broken)" if one.broken else "")]
    if one.write is None:
        return begin + ["-"] * (len(HEAD) - len(begin))
    refusals = sum(REFUSED in result.failures for result in one.rounds)
    return begin + [time_words(one.write.median), time_words(one.write.worst), str(refusals),
                    f"{one.lost:,} of {one.acknowledged:,}" if one.lost else "0",
                    f"{one.two_writers_s:.1f} s" if one.two_writers_s >= 0.05 else "0",
                    *_inside(one)]


def _inside(one: Group) -> list[str]:
    told = [result.extra for result in one.rounds if result.extra]
    if not told:
        return ["", "", ""]
    longest = max(extra["inside_for_s"] for extra in told)
    lost = sum(int(extra["inside_lost"]) for extra in told)
    taken = sum(int(extra["inside_acknowledged"]) for extra in told)
    return [f"at most {longest:.1f} s", f"{lost:,} of {taken:,}",
            f"{sum(int(extra['late']) for extra in told):,}"]


def terminal(results: Sequence[Result]) -> str:
    return text_table(HEAD, lines(results)) if results else "no rounds yet"


def page(text: str, results: Sequence[Result]) -> str:
    out = [measured_words(results), ""]
    if results:
        out += markdown(HEAD, lines(results))
    return report.between(text, "\n".join(out))
