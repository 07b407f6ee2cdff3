"""One fault under a writing client and an observer, and what it cost. Shared by tests and demo."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Callable

from client import WriteLog
from group import Group, MemberView
from observer import ObserverLog, ObserverProcess, check_one_writer
from operator_control import endpoint_writes

WARM_UP_S = 2.5  # and a kube-proxy that has just synced the new group waits a second before the next one
SLOW_MS = 300  # a gap above this says what the client and kube-proxy had meanwhile
QUIET_S = 1.5  # after the fault nothing of ours runs for so long: the measurement comes first


@dataclass
class Round:
    """The outcome of one fault."""

    old: MemberView
    new: MemberView
    fault_at: float
    settled_at: float
    client: WriteLog
    observer: ObserverLog
    lost: list[tuple[float, int]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # of "one writer at a time"
    endpoint_writes: list[tuple[float, str]] = field(default_factory=list)  # (when, "user slice")

    @property
    def gap(self) -> tuple[float, float]:
        # The last acknowledgement may be just before the fault's own time stamp.
        return self.client.longest_gap(self.fault_at - 0.01, self.settled_at)

    @property
    def gap_ms(self) -> float:
        begin, end = self.gap
        return (end - begin) * 1000

    @property
    def in_sync_s(self) -> float:
        return self.settled_at - self.fault_at

    @property
    def lost_ms(self) -> float:
        """How long before the gap the first lost write was acknowledged."""
        if not self.lost:
            return 0.0
        begin, _ = self.gap
        return max(0.0, begin - self.lost[0][0]) * 1000

    def line(self) -> str:
        return (f"{self.old.name} > {self.new.name}: gap {self.gap_ms:.0f} ms, in sync again "
                f"after {self.in_sync_s:.1f} s, {len(self.lost)} of {len(self.client.acks)} "
                f"acknowledged writes lost"
                + (f" (the last {self.lost_ms:.0f} ms)" if self.lost else "")
                + (self.story() if self.gap_ms > SLOW_MS else ""))

    def story(self) -> str:
        """What a long gap was made of; times in ms from its begin, two seconds before it included."""
        begin, end = self.gap
        failures = ", ".join(f"{count} {what}" for what, count
                             in self.client.failures_in(begin, end).items())
        writes = "; ".join(f"{(when - begin) * 1000:+.0f} {what}" for when, what
                           in self.endpoint_writes if begin - 2 < when < end)
        return (f" [gap from {(begin - self.fault_at) * 1000:.0f} ms after the fault; the client: "
                f"{failures or 'no failure'}; endpoints written: {writes or 'none known'}]")


def run_round(group: Group, fault: Callable[[MemberView], float], members: int = 3,
              timeout: float = 60, inside: Callable[[MemberView], ObserverProcess] | None = None,
              after: Callable[[], None] | None = None, new_primary: bool = True) -> Round:
    """Writes, breaks the primary by `fault`, waits until all is well again, and reads back.

    `fault` gives the time at which it struck. `inside` makes a second observer (in a node that is
    cut off); `after` undoes the fault once another primary is recorded.
    """
    group.wait_settled(members)
    old, epoch = group.primary(), group.epoch()
    addresses = group.addresses()
    with ExitStack() as stack:
        second = stack.enter_context(inside(old)) if inside else None
        observer = stack.enter_context(ObserverProcess(addresses))
        client = stack.enter_context(group.client())
        time.sleep(WARM_UP_S)
        fault_at = fault(old)
        time.sleep(QUIET_S)
        settled_at = _wait(group, observer, epoch, members, timeout, after, new_primary)
        time.sleep(0.5)
    seen = observer.log()
    if second is not None:
        seen = seen.merged(second.log())
    done = Round(old, group.primary(), fault_at, settled_at, client.log(), seen)
    if done.gap_ms > SLOW_MS and group.cluster.local:
        done.endpoint_writes = endpoint_writes(group.cluster, fault_at - WARM_UP_S)
    try:
        done.lost = client.lost()
    except TimeoutError as error:
        raise AssertionError(f"the primary's ClusterIP does not answer though all is settled; "
                             f"{done.line()}; endpoint {group.slice('primary')}") from error
    done.problems = check_one_writer(seen, group.epoch() - epoch)
    return done


def _wait(group: Group, observer: ObserverProcess, epoch: int, members: int, timeout: float,
          after: Callable[[], None] | None, new_primary: bool) -> float:
    end = time.monotonic() + timeout
    undo, seen = after, "nothing"
    while time.monotonic() < end:
        try:
            observer.add(group.addresses())
            moved = group.epoch() > epoch or not new_primary
            if moved and undo is not None and not group.node_group().get("transition"):
                undo()
                undo = None
            done, seen = group.settled(members)
        except (OSError, RuntimeError) as error:
            moved = done = False
            seen = str(error)
        if moved and done and undo is None:
            return time.monotonic()
        time.sleep(0.25)
    if undo is not None:
        undo()
    raise AssertionError(f"{group.name} is not as wanted {timeout:g} s after the fault: {seen}")
