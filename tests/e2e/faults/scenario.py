"""What a row of the fault matrix is: where it starts, what breaks, and what must come of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Callable

from group import small_group
from harness import Json

if TYPE_CHECKING:
    from faults.stage import Stage
    from harness import Cluster

SEED_KEYS = 1000


@dataclass(frozen=True)
class Start:
    """The group before the fault: whole, with a data set that was acknowledged by every replica."""

    replicas: int = 2
    storage: bool = False
    guard: bool = True
    spec: dict[str, Any] = field(default_factory=dict)  # laid over the rest
    extra: str = ""  # what else is different, in words

    @property
    def members(self) -> int:
        return self.replicas + 1

    def manifest(self, name: str) -> Json:
        spec: dict[str, Any] = dict(self.spec)
        failover = dict(spec.pop("failover", {}))
        if not self.guard:
            failover["writeGuard"] = "Off"
        if failover:
            spec["failover"] = failover
        if self.storage:
            spec = {"storage": {"size": "1Gi"}, "deletionPolicy": "Delete", **spec}
        return small_group(name, replicas=self.replicas, **spec)

    def words(self) -> str:
        parts = [f"1 + {self.replicas}", "storage" if self.storage else "memory"]
        if not self.guard:
            parts.append("guard off")
        return ", ".join(parts + ([self.extra] if self.extra else []))


@dataclass(frozen=True)
class Expect:
    """The outcome that a row must have. What is not bounded here is measured all the same."""

    text: str
    gap_s: float | None  # the writing client's longest time without an acknowledgement
    failovers: tuple[int, int] = (1, 1)  # new epochs of another primary: at least, at most
    # Members that may live on as another pod or container: the fault's own victims ("victims"), or
    # nobody ("none"), or whoever ("any").
    restarts: str = "victims"
    # Acknowledged writes may be lost if they are this much older than the gap (or younger); 0: none.
    lost_s: float = 1.0
    data: str = "whole"  # the seed afterwards: "whole" on every member, or "gone" is allowed, too
    # For how long an older primary that had stalled may still give +OK (a declared limit).
    late_s: float = 0.0
    refused: bool = True  # writes may fail meanwhile
    whole_s: float = 60.0  # from the fault's end until all members are in sync again
    client_s: float = 2.0  # any kind of client goes on so much after the plain one at the latest
    same_service: bool = True  # False: the endpoint gets another ClusterIP, clients must ask DNS
    rewound: bool = False  # True: the API itself goes back in time, and epochs with it


@dataclass(frozen=True)
class Scenario:
    """One row. `play` makes the fault, waits for what must follow, and takes the fault away."""

    name: str
    matrix: str  # the row of the fault matrix that it covers
    fault: str  # a sentence
    expect: Expect
    play: Callable[["Stage"], None]
    start: Start = Start()
    quick: bool = False  # among those that CI runs
    shortfall: str = ""  # why it is known to fail today; empty: it must not
    # What the cluster needs before the group is made; gives the undo, for when the group is gone.
    prepare: Callable[["Cluster"], Callable[[], None]] | None = None


def stretched(full_s: float, scale: float, least_s: float = 10.0) -> float:
    """The length of a long fault in a run of this scale."""
    return max(min(full_s, least_s), full_s * scale)
