"""What a run found, and how it is told."""
from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from statistics import median

from percentiles import percentile

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


def spread(values: Sequence[float], unit: str = "ms", digits: int = 0) -> str:
    return (f"{median(values):.{digits}f} / {percentile(values, 0.99):.{digits}f} / {max(values):.{digits}f} {unit} "
            f"(n={len(values)})")


def load() -> str:
    return f"{os.getloadavg()[0]:.1f}"


class Audit:
    """The operator's requests since the last look, from the API server's audit log."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def _entries(self) -> Iterator[tuple[tuple[str, str], float]]:
        """((verb, resource), how long the answer took in ms) of each request that was answered."""
        with self._path.open("rb") as log:
            log.seek(self._at)
            for line in log:
                if not line.endswith(b"\n"):
                    break
                self._at += len(line)
                entry = json.loads(line)
                # A watch is answered when it begins; what comes when it ends is no second request.
                if entry["verb"] == "watch" and entry["stage"] != "ResponseStarted":
                    continue
                target = entry.get("objectRef", {})
                resource = "/".join(filter(None, (target.get("resource", "-"), target.get("subresource"))))
                took = datetime.fromisoformat(entry["stageTimestamp"]) - datetime.fromisoformat(
                    entry["requestReceivedTimestamp"])
                yield (entry["verb"], resource), took.total_seconds() * 1000

    def requests(self) -> Counter[tuple[str, str]]:
        """How often each (verb, resource) was answered."""
        return Counter(key for key, _ in self._entries())

    def times(self) -> str:
        """One line for each (verb, resource): how often, and how long the API server took."""
        found: dict[tuple[str, str], list[float]] = {}
        for key, took in self._entries():
            found.setdefault(key, []).append(took)
        return "\n".join(f"    {len(took):5} {verb} {resource}: {spread(took)}"
                         for (verb, resource), took in sorted(found.items(), key=lambda one: -sum(one[1])))


def writes_but_lease(requests: Counter[tuple[str, str]]) -> Counter[tuple[str, str]]:
    return Counter({key: n for key, n in requests.items() if key[0] in WRITES and key[1] != "leases"})


@dataclass
class Row:
    """One line of the table: what was measured, the bar if there is one, and the load average beside it."""

    what: str
    value: str
    bar: str = ""
    held: bool = True
    load: str = field(default_factory=load)

    def text(self) -> str:
        verdict = f"  [{'ok' if self.held else 'MISSED'}: {self.bar}]" if self.bar else ""
        return f"  {self.what:<58} {self.value:<44} load {self.load:>5}{verdict}"


def table(title: str, rows: Iterable[Row]) -> str:
    return "\n".join([title, *(row.text() for row in rows)])
