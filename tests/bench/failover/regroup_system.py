"""Regroup itself: a ReplicationGroup in memory, at its defaults or with Sentinel's time-outs."""

from __future__ import annotations

import time
from typing import Any

import manifests
import paths  # noqa: F401
from group import Group, MemberView, small_group
from harness import Cluster, Json
from systems import MEMBERS, PORT, Member, System


class RegroupSystem(System):
    def __init__(self, cluster: Cluster, namespace: str, data_gb: float, name: str,
                 failover: Json | None = None, count: int = MEMBERS) -> None:
        super().__init__(cluster, namespace, data_gb)
        self.name, self.count = name, count
        self.group = Group(cluster, namespace, name)
        self._failover = failover
        self._known = ""  # the last failover before the round
        self._asked = False

    def manifest(self) -> Json:
        spec: dict[str, Any] = {"resources": manifests.resources(self.data_gb)}
        if self._failover:
            spec["failover"] = self._failover
        return small_group(self.name, self.count - 1, **spec)

    def create(self) -> None:
        self.group.create(self.manifest())
        self.group.wait_settled(self.count, 120, 0.3)

    def delete(self) -> None:
        self.group.delete(120)

    def pods(self) -> list[Json]:
        return self.group.pods()

    def primary(self) -> Member:
        return member_of_view(self.group.primary())

    def settled(self) -> tuple[bool, str]:
        return self.group.settled(self.count)

    def write_target(self) -> list[str]:
        return ["--at", f"{self.group.vip('primary')}:{PORT}"]

    def read_target(self) -> list[str]:
        return ["--at", f"{self.group.vip('reader')}:{PORT}"]

    def switch(self) -> float:
        """As people ask for it: the spec names another member."""
        primary = self.group.primary()
        target = next(member.name for member in self.group.members() if member.uid != primary.uid)
        self._asked = True
        when = time.monotonic()
        self.group.patch({"primaryClusterID": target})
        return when

    def stages(self, fault_at: float) -> dict[str, float]:
        last = self._last()
        if last.get("id", "") == self._known:
            return {}
        names = {"detect": "detectMilliseconds", "promote": "promoteMilliseconds",
                 "endpoint": "endpointMilliseconds"}
        return {name: float(last[key]) for name, key in names.items() if last.get(key, -1) >= 0}

    def mend(self) -> None:
        """The wish of a planned round must not pull the role back after the next fault."""
        if self._asked:
            self.group.patch({"primaryClusterID": None})
            self._asked = False

    def rest(self) -> None:
        super().rest()
        self.group.wait_calm()
        self._known = self._last().get("id", "")

    def _last(self) -> Json:
        return self.group.node_group().get("lastFailover") or {}


def member_of_view(view: MemberView) -> Member:
    return Member(view.name, view.uid, view.node, view.address)
