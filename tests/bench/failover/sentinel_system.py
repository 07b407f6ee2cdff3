"""Redis Sentinel: three members, three Sentinels, and clients that ask them for the primary."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import redis

import manifests
import paths
from harness import TROUBLE, Cluster, Json, wait_for
from manifests import APP, PORT, SENTINEL_PORT
from stateful import StatefulSystem
from systems import MEMBERS, Member, all_ready

SET = "bench"  # the set's name, in the scripts as well
ASK_S = 1.0


@dataclass(frozen=True)
class View:
    """What one Sentinel says."""

    primary: str
    flags: str
    replicas: frozenset[str]
    others: int  # further Sentinels that it knows
    tilt: bool


def sentinel_conf(primary: str, down_after_ms: int, failover_timeout_ms: int) -> str:
    return "\n".join([
        f"port {SENTINEL_PORT}", "protected-mode no", "dir /data",
        "sentinel resolve-hostnames no", f"sentinel monitor {SET} {primary} {PORT} 2",
        f"sentinel down-after-milliseconds {SET} {down_after_ms}",
        f"sentinel failover-timeout {SET} {failover_timeout_ms}",
        f"sentinel parallel-syncs {SET} 1", ""])


def scripts(*names: str) -> dict[str, str]:
    return {name: (paths.HERE / "scripts" / name).read_text() for name in names}


class SentinelSystem(StatefulSystem):
    def __init__(self, cluster: Cluster, namespace: str, data_gb: float, name: str,
                 down_after_ms: int, failover_timeout_ms: int) -> None:
        super().__init__(cluster, namespace, data_gb)
        self.name = name
        self.app, self.watchers = f"{name}-redis", f"{name}-watch"
        self._down_after_ms = down_after_ms
        self._failover_timeout_ms = failover_timeout_ms

    # -- life ---------------------------------------------------------------------------------
    def create(self) -> None:
        """The members wait for a Sentinel's word; the Sentinels are told of the first member."""
        self.apply(manifests.service(self.watchers, {APP: self.watchers}, SENTINEL_PORT))
        self.apply(*self.member_objects(self.cluster_ip(self.watchers)))
        first = wait_for("the members have addresses", 60, self._first_address, 0.2)
        self.apply(*self.watcher_objects(first))
        wait_for(f"{self.name} is whole", 120, self.settled, 0.5)

    def member_objects(self, sentinels: str) -> list[Json]:
        conf = {"redis.conf": manifests.redis_conf(self.data_gb)}
        return [manifests.config_map(self.app, {**scripts("redis.sh", "pre-stop.sh"), **conf}),
                manifests.stateful_set(
                    self.app, ["sh", "/etc/bench/redis.sh"], self.app, PORT,
                    manifests.resources(self.data_gb), {"SENTINELS": sentinels},
                    {"exec": {"command": ["sh", "/etc/bench/pre-stop.sh"]}})]

    def watcher_objects(self, first: str) -> list[Json]:
        conf = sentinel_conf(first, self._down_after_ms, self._failover_timeout_ms)
        return [manifests.config_map(self.watchers,
                                     {**scripts("sentinel.sh"), "sentinel.conf": conf}),
                manifests.stateful_set(self.watchers, ["sh", "/etc/bench/sentinel.sh"],
                                       self.watchers, SENTINEL_PORT, manifests.resources(0))]

    def delete(self) -> None:
        self.delete_objects([("statefulsets", self.watchers), ("statefulsets", self.app),
                             ("configmaps", self.watchers), ("configmaps", self.app),
                             ("services", self.watchers)], [self.watchers, self.app])

    def pods(self) -> list[Json]:
        return self.pods_of(self.app)

    def _first_address(self) -> tuple[bool, Any]:
        members = sorted(self.members(), key=lambda member: member.name)
        return len(members) == MEMBERS, members[0].address if members else "none"

    # -- what it says -------------------------------------------------------------------------
    def sentinels(self) -> list[str]:
        return sorted(pod["status"]["podIP"] for pod in self.pods_of(self.watchers)
                      if pod["status"].get("podIP"))

    def primary(self) -> Member:
        """What most Sentinels say; those that do not answer have no vote."""
        votes: list[str] = []
        for host in self.sentinels():
            try:
                votes.append(view(host).primary)
            except TROUBLE:
                continue
        address = max(set(votes), key=votes.count, default="")
        if votes.count(address) * 2 <= MEMBERS:
            raise RuntimeError(f"the Sentinels of {self.name} name {votes}")
        return self.member_at(address)

    def settled(self) -> tuple[bool, str]:
        """A replica that was replaced may still be in Sentinel's books."""
        return self._look(False)

    def clean(self) -> tuple[bool, str]:
        return self._look(True)

    def _look(self, strict: bool) -> tuple[bool, str]:
        lacking = (all_ready(self.pods(), MEMBERS)
                   or all_ready(self.pods_of(self.watchers), MEMBERS))
        if lacking:
            return False, lacking
        views = [view(host) for host in self.sentinels()]
        lacking = disagreement(views, frozenset(one.address for one in self.members()), strict)
        return (False, lacking) if lacking else in_sync(views[0].primary)

    def mend(self) -> None:
        """Sentinel never forgets a replica: who replaced a pod must tell each of them."""
        here = {member.address for member in self.members()}
        for host in self.sentinels():
            try:
                if view(host).replicas - here:
                    with sentinel(host) as link:
                        link.execute_command("SENTINEL", "RESET", SET)
                    time.sleep(1.5)  # until it has asked the primary for its replicas
            except TROUBLE:
                continue

    # -- clients and rounds -------------------------------------------------------------------
    def write_target(self) -> list[str]:
        words = ["--name", SET]
        for host in self.sentinels():
            words += ["--sentinel", f"{host}:{SENTINEL_PORT}"]
        return words

    def read_target(self) -> list[str]:
        return self.write_target()

    def switch(self) -> float:
        with sentinel(self.sentinels()[0]) as link:
            when = time.monotonic()
            link.execute_command("SENTINEL", "FAILOVER", SET)
        return when


def sentinel(host: str, port: int = SENTINEL_PORT) -> redis.Redis:
    return redis.Redis(host=host, port=port, socket_timeout=ASK_S,
                       socket_connect_timeout=ASK_S)


def view(host: str, port: int = SENTINEL_PORT) -> View:
    with sentinel(host, port) as link:
        state = link.sentinel_master(SET)
        replicas = link.sentinel_slaves(SET)
        tilt = link.info("sentinel").get("sentinel_tilt", 0)
    return View(str(state["ip"]), str(state["flags"]),
                frozenset(str(one["ip"]) for one in replicas),
                int(state["num-other-sentinels"]), bool(int(tilt)))


def disagreement(views: list[View], members: frozenset[str], strict: bool) -> str:
    """Empty if all Sentinels see the same whole set, and if `strict`, nothing else; else what is
    lacking."""
    primaries = {one.primary for one in views}
    if len(primaries) != 1:
        return f"the Sentinels name {sorted(primaries)}"
    for one in views:
        if strict and one.tilt:
            return "a Sentinel is in tilt mode"
        if one.others != MEMBERS - 1:
            return f"a Sentinel knows {one.others} others"
        if one.flags != "master":
            return f"the primary's flags are {one.flags}"
        known = one.replicas | {one.primary}
        if members - known or one.primary in one.replicas or strict and known != members:
            return f"a Sentinel knows {sorted(one.replicas)} as replicas"
    return ""


def in_sync(address: str, replicas: int = MEMBERS - 1, port: int = PORT) -> tuple[bool, str]:
    """By the primary's own word: so many replicas, all online and not behind for seconds."""
    with redis.Redis(host=address, port=port, socket_timeout=ASK_S,
                     socket_connect_timeout=ASK_S) as link:
        info = link.info("replication")
    lines = [info[f"slave{number}"] for number in range(int(info.get("connected_slaves", 0)))]
    online = [one for one in lines if one.get("state") == "online" and int(one.get("lag", 9)) <= 2]
    done = info["role"] == "master" and len(online) == len(lines) == replicas
    return done, f"{address} is {info['role']} with {len(online)} replicas in sync"
