"""Which rounds a run makes, and in which order: pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterator, Mapping, Sequence

from strikes import USUAL

SYSTEMS = ["regroup", "sentinel", "role-label", "sentinel-default", "regroup-tuned"]
RIVALS = ["regroup", "sentinel", "role-label"]
DEFAULT_ROUNDS = {0: 20, 1: 10, 4: 5}
SLOW_ROUNDS = 3  # of Sentinel at its default, where nothing is to be learnt from more
MEMORY_SPARE = 0.75  # of what the machine has available; forks and buffers take the rest


@dataclass(frozen=True)
class Step:
    system: str
    fault: str
    number: int  # from 1
    of: int


@dataclass(frozen=True)
class Part:
    """Rounds with one size of data."""

    data_gb: float
    systems: tuple[str, ...]
    faults: tuple[str, ...]
    rounds: int

    def rounds_of(self, system: str) -> int:
        return min(self.rounds, SLOW_ROUNDS) if system == "sentinel-default" else self.rounds

    def steps(self, done: Mapping[tuple[str, str, float], int]) -> Iterator[Step]:
        """Each round of every fault takes all systems in turn, so that what the machine does beside
        it meets all of them. Rounds that were done before are left out."""
        for number in range(1, self.rounds + 1):
            for fault in self.faults:
                for system in self.systems:
                    of = self.rounds_of(system)
                    if done.get((system, fault, self.data_gb), 0) < number <= of:
                        yield Step(system, fault, number, of)

    def alone(self, available_gb: float) -> bool:
        """Whether the systems must live one after the other, for want of memory."""
        return self.data_gb * 3 * len(self.systems) > available_gb * MEMORY_SPARE


def part(data_gb: float, systems: Sequence[str] = (), faults: Sequence[str] = (),
         rounds: int = 0) -> Part:
    """What is not said is as the issue of the figures asks for it."""
    if data_gb == 0:
        usual, kinds = [*RIVALS, "sentinel-default"], USUAL
    elif data_gb <= 1:
        usual, kinds = RIVALS, ["kill", "planned"]
    else:
        usual, kinds = RIVALS[:2], ["kill"]
    least = max(size for size in DEFAULT_ROUNDS if size <= data_gb)
    return Part(data_gb, tuple(systems or usual), tuple(faults or kinds),
                rounds or DEFAULT_ROUNDS[least])


def names(text: str) -> list[str]:
    return [one for one in text.split(",") if one]


def unknown(given: Sequence[str], known: Sequence[str], what: str) -> str:
    """What is wrong with names that were given; empty if nothing."""
    for name in given:
        if name not in known:
            return f"no {what} {name}; there are {', '.join(known)}"
    return ""
