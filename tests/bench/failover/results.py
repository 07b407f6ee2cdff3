"""What rounds brought home, as lines of JSON: a run that was broken off goes on where it was."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Iterable

import paths

FOLDER = paths.ROOT / "build" / "bench"


@dataclass
class Result:
    """One round. Times in ms where the name says so, else in seconds."""

    system: str
    fault: str
    data_gb: float
    write_gap_ms: float = 0.0
    kept_gap_ms: float | None = None  # the same without acknowledgements of what was lost
    read_gap_ms: float = 0.0  # of the worst of the reading connections
    read_pool_gap_ms: float = 0.0  # of all of them as one client
    acknowledged: int = 0
    lost: int = 0
    two_writers_s: float = 0.0
    missing: int = 0  # keys of the data set, which every round must leave whole
    whole_s: float | None = None  # from the end of the fault; None: not while it was measured
    stages: dict[str, float] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    extra: dict[str, float] = field(default_factory=dict)  # what only some faults show
    notes: list[str] = field(default_factory=list)
    broken: str = ""  # why the round gave no figures
    load: float = 0.0
    when: str = ""
    version: str = ""

    @property
    def key(self) -> tuple[str, str, float]:
        return self.system, self.fault, self.data_gb


def read(path: Path) -> list[Result]:
    """Fields of other versions of the bench are left out; a line that was cut short is, too."""
    known = {one.name for one in dataclasses.fields(Result)}
    found: list[Result] = []
    for text in path.read_text().splitlines() if path.exists() else []:
        try:
            data = json.loads(text)
        except ValueError:
            continue
        found.append(Result(**{name: value for name, value in data.items() if name in known}))
    return found


def add(path: Path, one: Result) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(dataclasses.asdict(one)) + "\n")


def set_aside(path: Path) -> None:
    """A fresh run keeps the old one's lines under another name."""
    if path.exists():
        stamp = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).strftime("%Y%m%d-%H%M%S")
        path.rename(path.with_name(f"{path.stem}-{stamp}{path.suffix}"))


def published(page: Path) -> Path:
    """The lines that a page was written from, beside it: another machine can go on with them."""
    return page.with_suffix(".jsonl")


def publish(lines: Path, page: Path) -> None:
    published(page).write_text(lines.read_text())


def take_up(lines: Path, page: Path) -> None:
    """The page's rounds count as made here."""
    ours = lines.read_text().splitlines() if lines.exists() else []
    theirs = published(page).read_text().splitlines() if published(page).exists() else []
    lines.parent.mkdir(parents=True, exist_ok=True)
    lines.write_text("".join(line + "\n" for line in dict.fromkeys([*theirs, *ours])))


def counts(results: Iterable[Result]) -> dict[tuple[str, str, float], int]:
    """How many rounds with figures there are of each kind."""
    found: dict[tuple[str, str, float], int] = {}
    for one in results:
        if not one.broken:
            found[one.key] = found.get(one.key, 0) + 1
    return found


def now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def version() -> str:
    """The commit, with a plus sign if the checkout differs from it."""
    words = ["git", "-C", str(paths.ROOT), "describe", "--always", "--dirty=+", "--abbrev=7"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
