"""The groups of the run as the API server shows them: when each was Ready, and where its primary endpoint leads."""
from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bulk import Bulk, Json, Watch
from child import boot_ms

API = "/apis/regroup.dev/v1alpha1"
NAMESPACE = "groups"
SLICES = "/apis/discovery.k8s.io/v1/endpointslices?labelSelector=app.kubernetes.io/managed-by%3Dregroup"


def manifest(name: str) -> Json:
    return {"apiVersion": "regroup.dev/v1alpha1", "kind": "ReplicationGroup", "metadata": {"name": name},
            "spec": {"engine": "redis", "engineVersion": "7.0", "cacheNodeType": "cache.t4g.micro",
                     "replicasPerNodeGroup": 2, "automaticFailoverEnabled": True, "multiAZEnabled": True}}


@dataclass
class Seen:
    created_ms: int = 0
    ready_ms: int = 0       # when it was first seen Ready
    whole: bool = False     # Ready and FailoverReady now
    endpoint: str = ""      # the address behind the primary Service
    endpoint_ms: int = 0    # since when


@dataclass
class Groups:
    bulk: Bulk
    seen: dict[str, Seen] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._watches = [Watch(self.bulk, f"{API}/replicationgroups", self._on_group),
                         Watch(self.bulk, SLICES, self._on_slice)]

    def _on_group(self, kind: str, group: Json) -> None:
        now = boot_ms()
        conditions = {one["type"]: one["status"] for one in group.get("status", {}).get("conditions", [])}
        with self._changed:
            one = self.seen.setdefault(group["metadata"]["name"], Seen())
            one.whole = conditions.get("Ready") == "True" and conditions.get("FailoverReady") == "True"
            if one.whole and one.ready_ms == 0:
                one.ready_ms = now
            self._changed.notify_all()

    def _on_slice(self, kind: str, piece: Json) -> None:
        now = boot_ms()
        labels = piece["metadata"]["labels"]
        if not labels["kubernetes.io/service-name"].endswith("-primary"):
            return
        endpoints = piece.get("endpoints") or []
        address = endpoints[0]["addresses"][0] if endpoints else ""
        with self._changed:
            one = self.seen.setdefault(labels["regroup.dev/group"], Seen())
            if one.endpoint != address:
                one.endpoint, one.endpoint_ms = address, now
            self._changed.notify_all()

    def create(self, names: Iterable[str]) -> None:
        names = list(names)
        began = boot_ms()
        with self._changed:
            for name in names:
                self.seen.setdefault(name, Seen()).created_ms = began
        self.bulk.create(f"{API}/namespaces/{NAMESPACE}/replicationgroups", (manifest(name) for name in names))

    def wait(self, what: str, holds: Callable[[], bool], seconds: float) -> None:
        """Until the condition holds for what the watches showed; never a sleep as a proof."""
        deadline = time.monotonic() + seconds
        with self._changed:
            while not holds():
                for watch in self._watches:
                    if watch.error:
                        raise watch.error
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"{what}: not after {seconds:.0f} s")
                self._changed.wait(min(left, 1))

    def wait_whole(self, names: Iterable[str], seconds: float) -> None:
        wanted = list(names)
        missing = lambda: [name for name in wanted if not self.seen[name].whole]  # noqa: E731
        try:
            self.wait("groups Ready", lambda: not missing(), seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error}; {len(missing())} are not, {missing()[0]} among them") from None
