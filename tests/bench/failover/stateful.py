"""What the two systems that the bench makes by itself share: objects, and their end."""

from __future__ import annotations

from typing import Sequence

import paths  # noqa: F401
from harness import Json, wait_for
from manifests import APP
from systems import System


class StatefulSystem(System):
    def path(self, kind: str, name: str = "") -> str:
        return f"/api/v1/namespaces/{self.namespace}/{kind}" + (f"/{name}" if name else "")

    def apply(self, *objects: Json) -> None:
        self.cluster.apply(*({**item, "metadata": {**item["metadata"],
                                                   "namespace": self.namespace}}
                             for item in objects))

    def pods_of(self, app: str) -> list[Json]:
        selector = f"{APP.replace('/', '%2F')}%3D{app}"
        return self.cluster.get(f"{self.path('pods')}?labelSelector={selector}")["items"]

    def cluster_ip(self, service: str) -> str:
        return str(self.cluster.get(self.path("services", service))["spec"]["clusterIP"])

    def delete_objects(self, objects: Sequence[tuple[str, str]], apps: Sequence[str]) -> None:
        for kind, name in objects:
            self.cluster.kubectl("-n", self.namespace, "delete", kind, name, "--ignore-not-found",
                                 "--wait=false")
        for app in apps:
            # At once: what a member would do before its end is of no use to anybody here.
            self.cluster.kubectl("-n", self.namespace, "delete", "pods", "-l", f"{APP}={app}",
                                 "--force", "--grace-period=0", "--ignore-not-found")
        wait_for(f"{self.name} is gone", 90,
                 lambda: (not (left := sum(len(self.pods_of(app)) for app in apps)), left))
