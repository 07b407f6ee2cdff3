"""What the bench asks of each system under test, whatever moves its endpoint."""

from __future__ import annotations

import abc
import time
from dataclasses import dataclass
from typing import Sequence

import dataset
import paths  # noqa: F401
from harness import TROUBLE, Cluster, Json, wait_for

PORT = 6379
MEMBERS = 3
SETTLE_S = 180.0
SETTLE_S_PER_GB = 90.0
# While a kubelet holds a container back after several kills, nothing else happens for minutes.
HELD_BACK = "CrashLoopBackOff"


@dataclass(frozen=True)
class Member:
    name: str
    uid: str
    node: str
    address: str

    @property
    def label(self) -> str:
        """For the observer: the pod, for good."""
        return f"{self.name}/{self.uid[:8]}"


class System(abc.ABC):
    """A primary and two replicas, one in each zone, and the way in which clients find them."""

    name = ""
    count = MEMBERS

    def __init__(self, cluster: Cluster, namespace: str, data_gb: float) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.data_gb = data_gb

    # -- life ---------------------------------------------------------------------------------
    @abc.abstractmethod
    def create(self) -> None:
        """Makes the objects and waits until all is whole; no data yet."""

    @abc.abstractmethod
    def delete(self) -> None: ...

    @abc.abstractmethod
    def pods(self) -> list[Json]:
        """The members' pods."""

    @abc.abstractmethod
    def primary(self) -> Member:
        """By the system's own record; RuntimeError while it names none."""

    @abc.abstractmethod
    def settled(self) -> tuple[bool, str]:
        """One primary, every replica in sync, all pods ready; else what is lacking."""

    def clean(self) -> tuple[bool, str]:
        """Settled, and nothing is left of earlier faults: what a round begins with."""
        return self.settled()

    # -- clients ------------------------------------------------------------------------------
    @abc.abstractmethod
    def write_target(self) -> list[str]:
        """Words for openloop.py."""

    @abc.abstractmethod
    def read_target(self) -> list[str]: ...

    # -- what rounds do -----------------------------------------------------------------------
    @abc.abstractmethod
    def switch(self) -> float:
        """Begins a planned change of the primary; gives the CLOCK_MONOTONIC time of it."""

    def stages(self, fault_at: float) -> dict[str, float]:
        """The system's own account of the last failover, in ms by stage; empty if it has none."""
        return {}

    def mend(self) -> None:
        """Between two rounds: whatever a human would put right before the next fault."""

    # -- shared -------------------------------------------------------------------------------
    def members(self) -> list[Member]:
        return [member_of(pod) for pod in self.pods() if pod["status"].get("podIP")]

    def member_at(self, address: str) -> Member:
        for member in self.members():
            if member.address == address:
                return member
        raise RuntimeError(f"no pod of {self.name} has the address {address!r}")

    def addresses(self) -> dict[str, str]:
        return {member.label: f"{member.address}:{PORT}" for member in self.members()}

    def prepare(self) -> None:
        """Whole, with its data set in each member."""
        self.create()
        dataset.fill(self.primary().address, self.data_gb, self.count - 1)
        self.rest()

    def rest(self) -> None:
        """Until everything is as before the first round; what no longer lives is helped up."""
        helped = time.monotonic() + 10

        def look() -> tuple[bool, str]:
            nonlocal helped
            if time.monotonic() > helped:
                helped = time.monotonic() + 10
                self._free_held_back()
                self.mend()
            return self.clean()

        self.mend()
        wait_for(f"{self.name} is whole", SETTLE_S + SETTLE_S_PER_GB * self.data_gb, look, 0.5)

    def _free_held_back(self) -> None:
        for pod in self.pods():
            reasons = [status.get("state", {}).get("waiting", {}).get("reason")
                       for status in pod["status"].get("containerStatuses") or []]
            if HELD_BACK in reasons and not pod["metadata"].get("deletionTimestamp"):
                self.cluster.api("DELETE", f"/api/v1/namespaces/{self.namespace}/pods/"
                                           f"{pod['metadata']['name']}?gracePeriodSeconds=0")

    def moved_from(self, old: Member) -> bool:
        try:
            return self.primary().uid != old.uid
        except TROUBLE:
            return False


def member_of(pod: Json) -> Member:
    return Member(pod["metadata"]["name"], pod["metadata"]["uid"], pod["spec"].get("nodeName", ""),
                  pod["status"].get("podIP", ""))


def ready(pod: Json) -> bool:
    return not pod["metadata"].get("deletionTimestamp") and any(
        one["type"] == "Ready" and one["status"] == "True"
        for one in pod["status"].get("conditions") or [])


def all_ready(pods: Sequence[Json], count: int) -> str:
    """Empty if so many pods are there and ready; else what is lacking."""
    fit = sum(ready(pod) for pod in pods)
    return "" if fit == count == len(pods) else f"{fit} of {len(pods)} pods ready, {count} wanted"
