"""What the API says about one group, version by version, from a watch that runs beside the fault.

Times are CLOCK_MONOTONIC, taken when the event came in. The watch is opened again after an outage;
what changed meanwhile shows as one step, so that rules about "never goes back" still hold.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Callable

from group import Group
from harness import TROUBLE, Json


@dataclass(frozen=True)
class Grant:
    """The record gave an epoch to a member. `label` is the observer's name of the pod."""

    when: float
    epoch: int
    uid: str
    label: str
    stage: str  # of the transition under way; empty: none


@dataclass(frozen=True)
class Served:
    """A version of the primary endpoint's slice."""

    when: float
    epoch: int
    names: tuple[str, ...]


@dataclass
class HistoryLog:
    grants: list[Grant] = field(default_factory=list)
    served: list[Served] = field(default_factory=list)
    conditions: list[tuple[float, str]] = field(default_factory=list)  # "Ready=False (Reason): text"
    breaks: list[float] = field(default_factory=list)  # when a watch ended: something may be missing


def grant_of(when: float, item: Json) -> Grant | None:
    node_group = (item.get("status", {}).get("nodeGroups") or [{}])[0]
    primary = node_group.get("primary") or {}
    if not primary.get("uid"):
        return None
    uid = str(primary["uid"])
    return Grant(when, int(node_group.get("epoch", 0)), uid,
                 f"{primary.get('name', '')}/{uid[:8]}",
                 str((node_group.get("transition") or {}).get("stage", "")))


def served_of(when: float, item: Json) -> Served:
    annotations = item["metadata"].get("annotations") or {}
    names = tuple(endpoint.get("targetRef", {}).get("name") or endpoint["addresses"][0]
                  for endpoint in item.get("endpoints") or [])
    return Served(when, int(annotations.get("regroup.dev/epoch", 0)), names)


def troubles_of(item: Json) -> list[str]:
    """Conditions that are not as in a whole group, in words."""
    found = []
    for condition in item.get("status", {}).get("conditions") or []:
        good = "False" if condition["type"] in ("Reconciling", "Stalled") else "True"
        if condition["status"] != good:
            found.append(f"{condition['type']}={condition['status']} ({condition.get('reason')}: "
                         f"{condition.get('message')})")
    return found


class History:
    """`with History(group) as history: …; history.log`"""

    def __init__(self, group: Group) -> None:
        self.log = HistoryLog()
        self._group = group
        self._stop = threading.Event()
        space = f"namespaces/{group.namespace}"
        watches = {
            f"/apis/regroup.dev/v1alpha1/{space}/replicationgroups"
            f"?watch=1&fieldSelector=metadata.name%3D{group.name}": self._record,
            f"/apis/discovery.k8s.io/v1/{space}/endpointslices?watch=1"
            f"&labelSelector=kubernetes.io/service-name%3D{group.name}-primary": self._slice,
        }
        self._threads = [threading.Thread(target=self._follow, args=pair, daemon=True)
                         for pair in watches.items()]

    def __enter__(self) -> "History":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *unused: object) -> None:
        # The threads are daemons: one that waits for an event of a quiet group is not waited for.
        self._stop.set()

    def _follow(self, path: str, take: Callable[[float, Json], None]) -> None:
        while not self._stop.is_set():
            try:
                for event in self._group.cluster.watch(path, timeout=600):
                    if self._stop.is_set():
                        return
                    if event.get("type") in ("ADDED", "MODIFIED"):
                        take(time.monotonic(), event["object"])
            except (*TROUBLE, ValueError):
                pass
            self.log.breaks.append(time.monotonic())
            self._stop.wait(0.2)

    def _record(self, when: float, item: Json) -> None:
        grant = grant_of(when, item)
        if grant is not None:
            self.log.grants.append(grant)
        for text in troubles_of(item):
            self.log.conditions.append((when, text))

    def _slice(self, when: float, item: Json) -> None:
        self.log.served.append(served_of(when, item))

    def wait_grant(self, above: int, timeout: float, every: float = 0.002) -> Grant | None:
        """The first grant of a higher epoch, as soon as it is written."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            for grant in list(self.log.grants):
                if grant.epoch > above:
                    return grant
            time.sleep(every)
        return None
