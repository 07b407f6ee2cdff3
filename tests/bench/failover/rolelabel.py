"""What the role-label controller decides: pure functions over what it sees of the members.

It tells failures apart as Regroup does, by kind and with Regroup's default times, and it is given
what Regroup's record gives: it never forgets who the primary is. What it does not have is the write
guard, so a silent primary is replaced as soon as the time is over and the replicas agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

GONE_S = 1.5  # no TCP acknowledgement: spec.failover.unreachableAfterMilliseconds
HUNG_S = 5.0  # TCP acknowledges, no reply: unresponsiveAfterMilliseconds
STILL_S = 1.5  # a replica that got nothing for so long agrees
PRIMARY, REPLICA = "primary", "replica"


@dataclass(frozen=True)
class Facts:
    """A member as it was last seen."""

    name: str
    address: str
    reach: str = "unknown"  # answering, refused, gone, hung
    ended: bool = False  # its connection ended, and no new one has been answered
    told_at: float = 0.0  # when it said what follows
    run_id: str = ""
    role: str = ""  # "master" or "slave"
    source: str = ""  # whom it follows
    link_up: bool = False
    offset: int = 0
    still_s: float = 0.0  # for how long its offset has stood still
    deleting: bool = False
    label: str = ""

    @property
    def answers(self) -> bool:
        return self.reach == "answering"


@dataclass(frozen=True)
class Plan:
    """What is to be done now; in this order."""

    kind: str  # "wait", "begin", "failover", "handover", "steady"
    why: str = ""
    new: str = ""  # the next primary
    follow: tuple[str, ...] = ()  # members to be pointed to the primary
    labels: tuple[tuple[str, str], ...] = ()  # (member, role)


def fault_of(primary: Facts | None, run_id: str) -> str:
    """Why the primary has failed; empty while it has not. `run_id` is that of the process that was
    made the primary: what was started again has nothing, whatever it says of its role."""
    if primary is None:
        return "its pod is gone"
    if primary.reach == "refused" and primary.ended:
        return "its process died"
    if primary.answers and primary.run_id != run_id:
        return "its process was started again"
    if primary.reach == "gone":
        return "its host does not answer"
    if primary.reach == "hung":
        return "its process does not answer"
    return ""


def agree(replicas: Sequence[Facts]) -> bool:
    """No replica still hears the primary: a failure that the controller alone sees is none."""
    seen = [one for one in replicas if one.answers]
    return bool(seen) and all(not one.link_up or one.still_s >= STILL_S for one in seen)


def candidate(replicas: Sequence[Facts], primary_address: str) -> Facts | None:
    """The follower that has the most; the first name among equals."""
    fit = [one for one in replicas if one.answers and one.role == "slave"
           and one.source == primary_address and not one.deleting]
    return min(fit, key=lambda one: (-one.offset, one.name), default=None)


@dataclass(frozen=True)
class Known:
    """Who the primary is: what a record would say."""

    name: str = ""
    address: str = ""
    run_id: str = ""


def plan(known: Known, members: Sequence[Facts], wanted: str = "") -> Plan:
    """`wanted` is a member that is to become the primary."""
    name, address = known.name, known.address
    if not name:
        return _begin(members)
    primary = next((one for one in members if one.name == name and one.address == address), None)
    replicas = [one for one in members if one is not primary]
    why = fault_of(primary, known.run_id)
    if why:
        silent = primary is not None and primary.reach in ("gone", "hung")
        new = candidate(replicas, address)
        if new is None or silent and not agree(replicas):
            return Plan("wait", why)
        return Plan("failover", why, new.name)
    assert primary is not None
    if primary.answers and (primary.deleting or wanted not in ("", name)):
        new = candidate([one for one in replicas if one.link_up
                         and (primary.deleting or one.name == wanted)], address)
        if new is not None:
            return Plan("handover", "it is deleted" if primary.deleting else "asked for", new.name)
    return _steady(primary, replicas)


def _begin(members: Sequence[Facts]) -> Plan:
    """The very first primary, once all are there."""
    if len(members) < 3 or not all(one.answers for one in members):
        return Plan("wait", "members are missing")
    return Plan("begin", "the first one", min(one.name for one in members))


def _steady(primary: Facts, replicas: Sequence[Facts]) -> Plan:
    strays = tuple(one.name for one in replicas if one.answers and not one.deleting
                   and (one.role == "master" or one.source != primary.address))
    labels = [(primary.name, PRIMARY)] if primary.label != PRIMARY else []
    # A member serves reads once it has the data.
    labels += [(one.name, REPLICA) for one in replicas if one.label != REPLICA and one.answers
               and one.link_up and one.source == primary.address and not one.deleting]
    return Plan("steady", "", primary.name, strays, tuple(labels))
