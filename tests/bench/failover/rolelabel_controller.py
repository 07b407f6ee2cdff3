#!/usr/bin/env python3
"""The role-label design as a program: `python3 rolelabel_controller.py NAMESPACE APP --log FILE`.

It watches the pods with the label of APP, keeps a connection to each, and does what
`rolelabel.plan` says. The endpoints are Services that select a role label; Kubernetes' own
EndpointSlice controller and kube-proxy do the rest. A line "switch POD" on stdin asks for a planned
change. Each change of the primary is a line of JSON in the log, with the CLOCK_MONOTONIC time of
each stage.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import threading
import time
import traceback
from dataclasses import replace
from typing import Callable, Protocol

import redis

import paths  # noqa: F401
from harness import TROUBLE, Cluster, Json
from manifests import APP, PORT, ROLE
from rolelabel import PRIMARY, REPLICA, Facts, Known, Plan, plan
from rolelabel_watch import REST_S, SUSPECT_S, Watch

TICK_S = 0.05
ENGINE_S = 0.5
PAUSE_MS = 2000  # longer than any hand-over takes
HAND_OVER_S = 1.0
RELIST_S = 30.0


class Pods:
    """The pods by a watch, and label writes over one kept connection."""

    def __init__(self, cluster: Cluster, namespace: str, app: str,
                 wake: Callable[[], None]) -> None:
        self.known: dict[str, Json] = {}
        self._cluster = cluster
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._query = f"labelSelector={APP.replace('/', '%2F')}%3D{app}"
        self._wake = wake
        self._port = cluster.proxy_port()
        self._link: http.client.HTTPConnection | None = None
        self._list()
        threading.Thread(target=self._follow, daemon=True).start()

    def label(self, name: str, role: str) -> None:
        """A pod that is gone needs no label."""
        body = json.dumps({"metadata": {"labels": {ROLE: role}}})
        for _ in range(2):
            self._link = self._link or http.client.HTTPConnection("127.0.0.1", self._port,
                                                                  timeout=5)
            try:
                self._link.request("PATCH", f"{self._path}/{name}", body,
                                   {"Content-Type": "application/merge-patch+json"})
                answer = self._link.getresponse()
                raw = answer.read()
            except (OSError, http.client.HTTPException):
                self._link.close()
                self._link = None
                continue
            if answer.status < 300:
                self._note("MODIFIED", json.loads(raw))
            return

    def _list(self) -> str:
        listed = self._cluster.get(f"{self._path}?{self._query}")
        self.known = {pod["metadata"]["name"]: pod for pod in listed["items"]}
        return str(listed["metadata"]["resourceVersion"])

    def _follow(self) -> None:
        while True:
            try:
                version = self._list()
                self._wake()
                for event in self._cluster.watch(f"{self._path}?{self._query}&watch=1"
                                                 f"&resourceVersion={version}", RELIST_S):
                    self._note(event["type"], event["object"])
                    self._wake()
            except (*TROUBLE, ValueError, KeyError):
                time.sleep(0.05)

    def _note(self, kind: str, pod: Json) -> None:
        name = pod.get("metadata", {}).get("name", "")
        if kind == "DELETED":
            self.known.pop(name, None)
        elif kind in ("ADDED", "MODIFIED"):
            self.known[name] = pod


class Labelled(Protocol):
    """The pods as the controller needs them."""

    known: dict[str, Json]

    def label(self, name: str, role: str) -> None: ...


class Controller:
    """`changed` is set by whoever has news: pods, watches, people."""

    def __init__(self, pods: Labelled, changed: threading.Event, log: str) -> None:
        self._changed = changed
        self._pods = pods
        self._watches: dict[str, Watch] = {}
        self._log = open(log, "a", encoding="utf-8", buffering=1)
        self._known = Known()
        self._known_at = 0.0
        self._wanted = ""
        self._stopped = False

    def stop(self) -> None:
        self._stopped = True
        self._changed.set()

    def want(self, name: str) -> None:
        self._wanted = name
        self._changed.set()

    def run(self) -> None:
        while not self._stopped:
            self._changed.wait(TICK_S)
            self._changed.clear()
            self._look()
        for one in self._watches.values():
            one.close()
        self._log.close()

    def _look(self) -> None:
        self._watch_all()
        members = self._facts()
        suspect = any(one.quiet() for one in self._watches.values())
        for one in self._watches.values():
            one.hurry(SUSPECT_S if suspect else REST_S)
        found = plan(self._known, members, self._wanted)
        try:
            self._do(found, {one.name: one for one in members})
        except (redis.RedisError, OSError) as error:
            self._tell(event="trouble", kind=found.kind, error=str(error))

    def _watch_all(self) -> None:
        """A watch for each pod's address; those of addresses that are no more end."""
        wanted = {name: pod["status"]["podIP"] for name, pod in list(self._pods.known.items())
                  if pod.get("status", {}).get("podIP")}
        for name, one in list(self._watches.items()):
            if wanted.get(name) != one.address:
                one.close()
                del self._watches[name]
        for name, address in wanted.items():
            if name not in self._watches:
                self._watches[name] = Watch(name, address, PORT, self._changed.set)
                self._watches[name].start()

    def _facts(self) -> list[Facts]:
        found = []
        for name, one in self._watches.items():
            meta = self._pods.known.get(name, {}).get("metadata", {})
            found.append(replace(one.facts(), deleting=bool(meta.get("deletionTimestamp")),
                                 label=meta.get("labels", {}).get(ROLE, "")))
        return found

    # -- what it does -------------------------------------------------------------------------
    def _do(self, found: Plan, members: dict[str, Facts]) -> None:
        if found.kind in ("begin", "failover", "handover"):
            self._change(found, members)
        elif found.kind == "steady":
            for name in found.follow:
                one = members[name]
                if one.told_at > self._known_at:  # else it may follow by now
                    follow(one.address, self._known.address, cut=one.role == "master")
            for name, role in found.labels:
                self._pods.label(name, role)

    def _change(self, found: Plan, members: dict[str, Facts]) -> None:
        noticed, old, new = time.monotonic(), self._known.name, members[found.new]
        if found.kind == "handover":
            hand_over(members[old].address, new.address)
        else:
            promote(new.address)
        self._known, self._wanted = Known(new.name, new.address, new.run_id), ""
        promoted = time.monotonic()
        for one in members.values():
            if one.answers and one.name not in (old, new.name):
                follow(one.address, new.address)
        if old and old in self._pods.known:
            self._pods.label(old, REPLICA)
        self._pods.label(new.name, PRIMARY)
        self._known_at = time.monotonic()
        for watch in self._watches.values():
            watch.ask_now()
        self._tell(event=found.kind, why=found.why, old=old, new=new.name, noticed=noticed,
                   promoted=promoted, labelled=time.monotonic())

    def _tell(self, **fields: object) -> None:
        self._log.write(json.dumps({"at": time.monotonic(), **fields}) + "\n")


def link_to(address: str, port: int = PORT) -> redis.Redis:
    return redis.Redis(host=address, port=port, socket_timeout=ENGINE_S,
                       socket_connect_timeout=ENGINE_S)


def promote(address: str, port: int = PORT) -> None:
    with link_to(address, port) as link:
        link.replicaof("NO", "ONE")


def follow(address: str, primary: str, port: int = PORT, primary_port: int = PORT,
           cut: bool = False) -> None:
    """Who was a primary until now also loses its clients (`cut`), or they would stay with it."""
    with link_to(address, port) as link:
        link.replicaof(primary, primary_port)
        if cut:
            link.client_kill_filter(_type="normal", skipme=True)


def hand_over(old: str, new: str, old_port: int = PORT, new_port: int = PORT) -> None:
    """Nothing acknowledged is lost: writes wait until the next primary has read all."""
    with link_to(old, old_port) as link, link_to(new, new_port) as next_link:
        link.client_pause(PAUSE_MS, all=False)
        try:
            offset = int(link.info("replication")["master_repl_offset"])
            end = time.monotonic() + HAND_OVER_S
            while int(next_link.info("replication")["slave_repl_offset"]) < offset:
                if time.monotonic() > end:
                    raise redis.TimeoutError(f"{new} did not read all in {HAND_OVER_S:g} s")
                time.sleep(0.001)
            next_link.replicaof("NO", "ONE")
            link.replicaof(new, new_port)
        finally:
            link.client_unpause()
        link.client_kill_filter(_type="normal", skipme=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("namespace")
    parser.add_argument("app")
    parser.add_argument("--log", required=True)
    args = parser.parse_args()
    cluster = Cluster()
    try:
        changed = threading.Event()
        pods = Pods(cluster, args.namespace, args.app, changed.set)
        controller = Controller(pods, changed, args.log)
        threading.Thread(target=lambda: _run(controller, cluster), daemon=True).start()
        print("started", flush=True)
        for line in sys.stdin:  # its end is the end of the bench
            verb, _, name = line.strip().partition(" ")
            if verb == "switch":
                controller.want(name)
    finally:
        cluster.close()
    return 0


def _run(controller: Controller, cluster: Cluster) -> None:
    """A bug must not look like a slow failover."""
    try:
        controller.run()
    except BaseException:
        traceback.print_exc()
        cluster.close()  # nothing else is run on the way out
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
