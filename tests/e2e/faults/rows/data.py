"""Memory and disks that run out, and volumes that go."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Callable

import redis

from faults.scenario import Expect, Scenario, Start
from faults.stage import Stage
from group import connect
from harness import Cluster, Json, run, wait_for

SPARE_BYTES = 16 << 20
FILLER = "regroup-filler"
SMALL_CLASS = "regroup-small"
SMALL_MIB = 48
OVERRUN_MIB = 300
CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
VOLUMES = "/api/v1/persistentvolumes"


def memory_limit_file(pid: int) -> Path:
    """The limit of the process's own cgroup, v1 or v2."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "memory":
            return Path("/sys/fs/cgroup/memory") / path.lstrip("/") / "memory.limit_in_bytes"
        if controllers == "":
            unified = Path("/sys/fs/cgroup") / path.lstrip("/") / "memory.max"
            if unified.exists():
                return unified
    raise RuntimeError(f"process {pid} is in no memory cgroup")


def usage_of(limit: Path) -> int:
    name = "memory.usage_in_bytes" if limit.name.endswith("_in_bytes") else "memory.current"
    return int((limit.parent / name).read_text())


def out_of_memory(stage: Stage) -> None:
    """The kernel kills the primary: its limit leaves 16 MiB, then 64 MiB are written."""
    limit = memory_limit_file(stage.pids[stage.primary.name])
    limit.write_text(str(usage_of(limit) + SPARE_BYTES))
    stage.victims.add(stage.primary.name)
    link = connect(stage.primary.address)
    when = time.monotonic()
    try:
        for number in range(64):
            when = time.monotonic()
            link.set(f"big:{number}", b"x" * (1 << 20))
    except (redis.RedisError, OSError):
        pass
    stage.struck(when)
    stage.wait_moved(10)
    reasons = [status.get("lastState", {}).get("terminated", {}).get("reason")
               for pod in stage.group.pods() if pod["metadata"]["name"] == stage.primary.name
               for status in pod["status"].get("containerStatuses") or []]
    stage.notes.append(f"the kubelet says {', '.join(map(str, reasons)) or 'nothing'}")


def small_volumes(cluster: Cluster) -> Callable[[], None]:
    """A storage class with one volume a node, each a file system of 48 MiB. Gives the undo."""
    folders: dict[str, Path] = {}
    for item in cluster.get(VOLUMES)["items"]:
        path = Path(item["spec"].get("local", {}).get("path", ""))
        if path.parent.name == "volumes":  # .../NODE/volumes/volume1
            folders[path.parents[1].name] = path.parents[1] / SMALL_CLASS
    undo_class(cluster, folders)
    cluster.api("POST", CLASSES, {
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": SMALL_CLASS},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"})
    for node, folder in folders.items():
        folder.mkdir()
        run(["mount", "-t", "tmpfs", "-o", f"mode=777,size={SMALL_MIB}m", SMALL_CLASS, str(folder)])
        cluster.api("POST", VOLUMES, small_volume(node, folder))
    return lambda: undo_class(cluster, folders)


def small_volume(node: str, folder: Path) -> Json:
    on_node = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    return {"apiVersion": "v1", "kind": "PersistentVolume",
            "metadata": {"name": f"{SMALL_CLASS}-{node}"},
            "spec": {"capacity": {"storage": f"{SMALL_MIB}Mi"}, "accessModes": ["ReadWriteOnce"],
                     "storageClassName": SMALL_CLASS, "persistentVolumeReclaimPolicy": "Retain",
                     "local": {"path": str(folder)},
                     "nodeAffinity": {"required": {"nodeSelectorTerms": [
                         {"matchExpressions": [on_node]}]}}}}


def is_gone(cluster: Cluster, path: str) -> tuple[bool, str]:
    return cluster.find(path) is None, "still there"


def undo_class(cluster: Cluster, folders: dict[str, Path]) -> None:
    for path in (f"{CLASSES}/{SMALL_CLASS}",
                 *(f"{VOLUMES}/{SMALL_CLASS}-{node}" for node in folders)):
        if cluster.find(path) is not None:
            cluster.api("DELETE", path)
            wait_for(f"{path} is gone", 30, partial(is_gone, cluster, path))
    for folder in folders.values():
        if folder.exists():
            run(["umount", str(folder)], check=False)
            folder.rmdir()


def volume_folder(stage: Stage, pod: str) -> Path:
    """Where a member's data lie on this machine."""
    claim = stage.cluster.get(stage.path("persistentvolumeclaims", f"data-{pod}"))
    volume = stage.cluster.get(f"{VOLUMES}/{claim['spec']['volumeName']}")
    return Path(volume["spec"]["local"]["path"])


def fill(stage: Stage, pod: str) -> float:
    filler = volume_folder(stage, pod) / FILLER
    stage.later(lambda: filler.unlink(missing_ok=True))
    with filler.open("wb", buffering=0) as file:
        try:
            for _ in range(SMALL_MIB * 32):
                file.write(b"x" * (1 << 15))
        except OSError:
            return time.monotonic()
    raise RuntimeError(f"{filler} did not fill its volume")


def disk_full(of_primary: bool):
    def play(stage: Stage) -> None:
        victim = stage.primary if of_primary else stage.replicas[0]
        stage.victims.add(victim.name)
        stage.struck(fill(stage, victim.name))
        stage.last(15)
        stage.notes.append("after 15 s the full member says: " + last_write_status(victim.address))
    return play


def last_write_status(address: str) -> str:
    try:
        facts = connect(address).info("persistence")
        return ", ".join(f"{name} {facts.get(name)}" for name in (
            "aof_enabled", "aof_last_write_status", "aof_last_bgrewrite_status"))
    except (redis.RedisError, OSError) as error:
        return type(error).__name__


def claim_deleted(of_primary: bool):
    """The claim goes once its pod does: then the member's data are gone for good."""
    def play(stage: Stage) -> None:
        victim = stage.primary if of_primary else stage.replicas[0]
        stage.cluster.api("DELETE", stage.path("persistentvolumeclaims", f"data-{victim.name}"))
        stage.struck(stage.delete_pod(victim.name, 0))
        stage.sleep(5)
    return play


def output_overrun(stage: Stage) -> None:
    """A replica stands still while more is written than the primary keeps for it (256 MB)."""
    stage.struck(stage.freeze(stage.replicas[0]))
    link = connect(stage.primary.address, 5)
    for _ in range(OVERRUN_MIB):
        link.set("overrun", b"x" * (1 << 20))
    followers = link.info("replication")["connected_slaves"]
    stage.notes.append(f"{OVERRUN_MIB} MiB written; then {followers} replicas were connected")
    stage.heal()
    stage.sleep(3)


def volume_corrupted(stage: Stage) -> None:
    """Garbage at the head of each append-only file of a replica, which then has to read them."""
    replica = stage.replicas[0]
    for path in (volume_folder(stage, replica.name) / "appendonlydir").iterdir():
        if path.suffix != ".manifest":
            with path.open("r+b") as file:
                file.write(b"no append-only file")
    stage.struck(stage.kill(replica))
    stage.sleep(5)


SMALL = Start(storage=True, extra=f"volumes of {SMALL_MIB} MiB",
              spec={"storage": {"size": "40Mi", "storageClassName": SMALL_CLASS}})

ROWS: list[Scenario] = [
    Scenario("oom-primary", "5", "the kernel ends the primary for want of memory (memory limit)",
             Expect("a replica takes over, the old one starts fenced", 2.5), out_of_memory),
    Scenario("output-overrun", "5",
             "a replica stands still while 300 MiB are written",
             Expect("the primary lets go of it and lives; it copies anew", 3.0, (0, 0),
                    restarts="none", lost_s=0), output_overrun),
    Scenario("disk-full-primary", "6", "the primary's volume is full for 15 s",
             Expect("the role moves to a replica whose disk takes writes; data whole", 4.0,
                    lost_s=1.5), disk_full(True), SMALL, prepare=small_volumes),
    Scenario("disk-full-replica", "6", "a replica's volume is full for 15 s",
             Expect("no role moves, writes go on", 1.0, (0, 0), lost_s=0), disk_full(False), SMALL,
             prepare=small_volumes),
    Scenario("claim-deleted-replica", "7", "a replica's PVC and pod deleted",
             Expect("it is made anew and copies the primary", 1.0, (0, 0), lost_s=0),
             claim_deleted(False), Start(storage=True)),
    Scenario("claim-deleted-primary", "7", "the primary's PVC and pod deleted by force",
             Expect("a replica takes over; the old one is made anew and copies it", 2.5),
             claim_deleted(True), Start(storage=True)),
    Scenario("volume-corrupted-replica", "7",
             "a replica's append-only file is garbage, and its process is killed",
             Expect("it is made anew and copies the primary", 1.0, (0, 0), lost_s=0, whole_s=120),
             volume_corrupted, Start(storage=True)),
]
