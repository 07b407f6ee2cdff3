"""What a row's `play` may do: see the group, break things, wait, leave word. One object a run."""

from __future__ import annotations

import base64
import signal
import threading
import time
from contextlib import ExitStack
from functools import partial
from typing import Any, Callable

import redis

from faults.history import History
from faults.scenario import stretched
from group import Group, MemberView
from harness import TROUBLE, Cluster, Json, die, resume, strike, undo_all, wait_for
from observer import ObserverProcess
from operator_control import Operator

QUIET_S = 1.5  # after the fault nothing of ours runs for so long: the measurement comes first
REFRESH_S = 0.5


class Stage:
    """Made when the group is whole and the clients run; `heal` undoes whatever `later` was told."""

    def __init__(self, group: Group, operator: Operator, history: History,
                 observer: ObserverProcess, stack: ExitStack, scale: float) -> None:
        self.group, self.operator, self.history = group, operator, history
        self.cluster: Cluster = group.cluster
        self.faults = self.cluster.faults
        self.observers = [observer]
        self.scale = scale
        self.primary: MemberView = group.primary()
        self.members = group.members()
        self.replicas = [member for member in self.members if member.uid != self.primary.uid]
        self.epoch = group.epoch()
        # Found beforehand, so that a fault's time is that of the signal.
        self.pids = {member.name: self.faults.pid(group.namespace, member.name)
                     for member in self.members}
        self.victims: set[str] = set()
        self.findings: list[str] = []
        self.notes: list[str] = []
        self.fault_at = 0.0
        self.healed_at = 0.0
        self.control_plane_touched = False
        self._undo: list[Callable[[], Any]] = []
        self._stack = stack
        self._done = threading.Event()
        threading.Thread(target=self._refresh, daemon=True).start()

    # -- time ---------------------------------------------------------------------------------
    def struck(self, when: float | None = None, quiet: bool = True) -> None:
        """The fault begins (the first call counts); then the measurement has the machine."""
        if not self.fault_at:
            self.fault_at = time.monotonic() if when is None else when
        if quiet:
            time.sleep(QUIET_S)

    def long(self, full_s: float, least_s: float = 10.0) -> float:
        return stretched(full_s, self.scale, least_s)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def last(self, seconds: float) -> None:
        """Until so long after the fault."""
        time.sleep(max(0.0, self.fault_at + seconds - time.monotonic()))

    # -- breaking and mending -----------------------------------------------------------------
    def later(self, undo: Callable[[], Any]) -> None:
        self._undo.append(undo)

    def heal(self) -> None:
        """Every undo once, the latest first; one that fails is told and stops no other."""
        if not self._undo:  # all is undone, or a fault that is over by itself, such as a kill
            self.healed_at = self.healed_at or self.fault_at or time.monotonic()
            return
        undo_all(self._undo, self.notes)
        self.healed_at = time.monotonic()

    def close(self) -> None:
        self._done.set()

    def kill(self, *members: MemberView) -> float:
        self.victims |= {member.name for member in members}
        return max(die(self.pids[member.name]) for member in members)

    def freeze(self, *members: MemberView) -> float:
        for member in members:
            self.later(partial(resume, self.pids[member.name]))
        return max(strike(self.pids[member.name], signal.SIGSTOP) for member in members)

    def cut(self, node: str) -> float:
        self.watch_inside(node)
        self.later(lambda: self.faults.heal(node))
        return self.faults.cut(node)

    def part(self, node: str, pairs: list[tuple[str, str]], port: int | None = None) -> float:
        """Drops each (source, target) through the node."""
        self.later(lambda: self.faults.unblock(node))
        return max([self.faults.block(node, source, target, port) for source, target in pairs])

    def pause(self, component: str) -> None:
        self.later(lambda: self.faults.component("resume", component))
        self.faults.component("pause", component)

    def delete_pod(self, name: str, grace: int) -> float:
        self.victims.add(name)
        when = time.monotonic()
        self.cluster.api("DELETE", f"{self.path('pods')}/{name}?gracePeriodSeconds={grace}")
        return when

    # -- seeing -------------------------------------------------------------------------------
    def path(self, kind: str, name: str = "", group: str = "/api/v1") -> str:
        return f"{group}/namespaces/{self.group.namespace}/{kind}" + (f"/{name}" if name else "")

    def watch_inside(self, node: str) -> None:
        """A second observer in the node's network, for the members that run there."""
        mine = {Group.label_of(member): f"{member.address}:6379"
                for member in self.members if member.node == node}
        if mine:
            self.observers.append(self._stack.enter_context(
                ObserverProcess(mine, self.faults.inside(node))))

    def wait_moved(self, timeout: float, above: int | None = None) -> bool:
        """Until another member is recorded as primary and served; False, with a note, if not."""
        least = self.epoch if above is None else above

        def look() -> tuple[bool, str]:
            node_group = self.group.node_group()
            uid = node_group.get("primary", {}).get("uid")
            moved = int(node_group.get("epoch", 0)) > least and uid != self.primary.uid
            return moved and not node_group.get("transition"), f"epoch {node_group.get('epoch')}"

        try:
            wait_for("another primary", timeout, look, 0.2)
            return True
        except AssertionError:
            self.notes.append(f"no other primary within {timeout:.0f} s")
            return False

    def wait_api(self) -> None:
        wait_for("the API server is ready", 90,
                 lambda: (bool(self.cluster.get("/version")), "no answer"), 0.2)

    def operator_link(self, address: str) -> redis.Redis:
        """A human with the operator's own password."""
        data = self.cluster.get(self.path("secrets", f"{self.group.name}-regroup"))["data"]
        password = base64.b64decode(data["operator-password"]).decode()
        return redis.Redis(host=address, username="regroup-operator", password=password,
                           socket_timeout=2)

    def operator_addresses(self) -> dict[str, str]:
        """Pod address -> node, of each of the operator's replicas."""
        return {pod["status"]["podIP"]: pod["spec"]["nodeName"]
                for pod in self.operator.pods() if pod["status"].get("podIP")}

    def patch(self, path: str, body: Json) -> None:
        self.cluster.api("PATCH", path, body, "application/merge-patch+json")

    def _refresh(self) -> None:
        """Tells the outer observer of new pods. An API that is away has none."""
        while not self._done.wait(REFRESH_S):
            if self.fault_at and time.monotonic() < self.fault_at + QUIET_S:
                continue
            try:
                self.observers[0].add(self.group.addresses())
            except (*TROUBLE, ValueError):
                continue
