#!/usr/bin/env python3
"""The demo: the lesson's `web-cache` group on a real cluster, and a killed primary that hardly hurts.

Run by `./dev demo`, which brings up the cluster and loads the image first; or, against any other
cluster, `python3 tests/e2e/demo.py --context NAME --image REF`. Exits 0 only if all of it happened.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import yaml  # noqa: E402

from failover import Round, run_round  # noqa: E402
from group import Group, lesson_group  # noqa: E402
from harness import DEFAULT_IMAGE, Cluster, NeedsLocalCluster, die, wait_for  # noqa: E402
from operator_control import Operator  # noqa: E402
from timeline import Mark, client_marks, draw, event_marks, log_marks, wall  # noqa: E402

NAMESPACE = "regroup-demo"
TOOLS_POD = "lesson"
SEEDS = 1000

# The lesson's pattern: one pool for writes on the primary endpoint, one for reads on the reader's.
LESSON = """
import sys, time, redis
primary, reader = sys.argv[1:3]
write_client = redis.Redis(connection_pool=redis.ConnectionPool(host=primary, port=6379, socket_timeout=2))
read_client = redis.Redis(connection_pool=redis.ConnectionPool(host=reader, port=6379, socket_timeout=2))
for client in (write_client, read_client):  # a new endpoint reaches every node within a second or two
    for attempt in range(100):
        try: client.ping(); break
        except redis.exceptions.ConnectionError: time.sleep(0.1)
written = time.strftime("%H:%M:%S")
begin = time.monotonic()
print("write_client.set('greeting', %r) -> %r" % (written, write_client.set("greeting", written)))
while read_client.get("greeting") != written.encode():
    if time.monotonic() - begin > 5: sys.exit("the reader endpoint never showed it")
    time.sleep(0.001)
print("read_client.get('greeting') -> %r, %.0f ms later" % (read_client.get("greeting"), (time.monotonic() - begin) * 1000))
roles = (write_client.role()[0].decode(), read_client.role()[0].decode())
print("write_client is on a %s, read_client on a %s" % roles)
if roles != ("master", "slave"): sys.exit("these are not the roles that the endpoints stand for")
"""


@dataclass
class Screen:
    """What people see: numbered steps, indented findings, and what did not happen."""

    failures: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    _step: int = 0

    def step(self, text: str) -> None:
        self._step += 1
        print(f"\n{self._step}. {text}", flush=True)

    def say(self, text: str) -> None:
        for line in text.splitlines() or [""]:
            print(f"   {line}".rstrip(), flush=True)

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.failures.append(what)
            self.say(f"NOT SO: {what}")

    def skip(self, what: str) -> None:
        self.skipped.append(what)
        self.say(f"left out: {what}")


def table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
                     for row in rows)


def members_table(group: Group) -> str:
    rows = [["MEMBER", "ROLE", "ZONE", "NODE", "ADDRESS", "STATUS"]]
    rows += [[m.name, m.role or "-", m.zone or "-", m.node, m.address, m.status]
             for m in group.members()]
    return table(rows)


def install(screen: Screen, operator: Operator) -> None:
    screen.step("The operator, with helm")
    screen.say(f"helm upgrade --install regroup charts/regroup -n regroup-system  ({operator.image})")
    begin = time.monotonic()
    operator.install()
    leader = operator.wait_leader()
    screen.say(f"{len(operator.pods())} replicas run after {time.monotonic() - begin:.1f} s; "
               f"{leader} on {operator.node_of(leader)} leads, the other one stands by")


def create(screen: Screen, cluster: Cluster, group: Group) -> None:
    screen.step("The lesson's replication group, as YAML")
    manifest = lesson_group(group.name)
    screen.say(yaml.safe_dump(manifest, sort_keys=False).strip())
    if cluster.find(f"/api/v1/namespaces/{NAMESPACE}") is None:
        cluster.make_namespace(NAMESPACE)
    there = cluster.find(group.path) is not None
    begin = group.create(manifest)
    ready_at = group.wait_settled(3, 120)
    screen.say("\nit is there already, and Ready" if there
               else f"\nReady=True after {ready_at - begin:.1f} s")
    screen.say(members_table(group))
    zones = {member.zone for member in group.members()}
    wanted = min(3, len(set(cluster.zones().values())))
    screen.check(len(zones) == wanted, f"three members in {wanted} zones (seen: {sorted(zones)})")
    for kind in ("primary", "reader"):
        endpoint = group.node_group()[f"{kind}Endpoint"]
        behind = ", ".join(e.get("targetRef", {}).get("name", e["addresses"][0])
                           for e in group.slice(kind))
        screen.say(f"{kind} endpoint  {endpoint['address']}:{endpoint['port']}  "
                   f"(ClusterIP {group.vip(kind)}) > {behind}")


def tools_pod(image: str, argv: list[str]) -> dict:
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]},
                "runAsNonRoot": True, "runAsUser": 65534,
                "seccompProfile": {"type": "RuntimeDefault"}}
    return {"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": TOOLS_POD, "namespace": NAMESPACE},
            "spec": {"restartPolicy": "Never", "automountServiceAccountToken": False,
                     "containers": [{"name": "tools", "image": image, "command": argv,
                                     "imagePullPolicy": "IfNotPresent",
                                     "securityContext": security}]}}


def run_in_pod(cluster: Cluster, image: str, argv: list[str], timeout: float = 60) -> str | None:
    """What the program prints in a pod; None where the cluster has no such image."""
    path = f"/api/v1/namespaces/{NAMESPACE}/pods/{TOOLS_POD}"

    def gone() -> tuple[bool, str]:
        if cluster.find(path) is None:
            return True, ""
        cluster.api("DELETE", f"{path}?gracePeriodSeconds=0")
        return False, "the pod of an earlier run is there"

    def ended() -> tuple[bool, str]:
        status = cluster.get(path)["status"]
        waiting = [c.get("state", {}).get("waiting", {}).get("reason", "")
                   for c in status.get("containerStatuses") or []]
        if any("Image" in reason for reason in waiting):
            return True, "NoImage"
        return status.get("phase") in ("Succeeded", "Failed"), str(status.get("phase"))

    wait_for("no tools pod", 30, gone, 0.3)
    cluster.api("POST", path.rsplit("/", 1)[0], tools_pod(image, argv))
    try:
        phase = wait_for(f"the program in pod {TOOLS_POD} ends", timeout, ended, 0.2)
        if phase == "NoImage":
            return None
        output = cluster.kubectl("-n", NAMESPACE, "logs", TOOLS_POD)
        if phase != "Succeeded":
            raise RuntimeError(f"the program in the pod failed: {output.strip()[-500:]}")
        return output.strip()
    finally:
        wait_for("the tools pod is gone", 30, gone, 0.3)


def two_pools(screen: Screen, cluster: Cluster, group: Group, image: str) -> None:
    screen.step("Two connection pools with redis-py, as in the lesson: writes to one endpoint, reads "
                "from the other")
    names = [f"{group.name}-{kind}.{NAMESPACE}.svc" for kind in ("primary", "reader")]
    said = run_in_pod(cluster, image, ["python3", "-c", LESSON, *names])
    if said is not None:
        screen.say(f"in a pod, by {names[0]} and {names[1]}:")
        screen.say(said)
        return
    screen.say(f"the cluster has no image {image}, so from here, through the ClusterIPs:")
    done = subprocess.run([sys.executable, "-c", LESSON, group.vip("primary"), group.vip("reader")],
                          capture_output=True, text=True, timeout=60)
    screen.say(done.stdout.strip())
    screen.check(done.returncode == 0, f"writes and reads work: {done.stderr.strip()[-200:]}")


def failover(screen: Screen, cluster: Cluster, operator: Operator, group: Group) -> None:
    old = group.primary()
    screen.step(f"kill -9 of the primary ({old.name} in {old.zone}), with a client that writes")
    group.seed(SEEDS)
    pid = cluster.faults.pid(NAMESPACE, old.name)
    begin = datetime.now(timezone.utc)
    screen.say(f"{SEEDS} keys are there; the client writes through {group.vip()}:6379, with time-outs of "
               "100 ms …")
    one = run_round(group, lambda _: die(pid), timeout=60)
    report(screen, operator, group, one, begin)


def report(screen: Screen, operator: Operator, group: Group, one: Round, begin: datetime) -> None:
    offset = time.time() - time.monotonic()
    zero = wall(one.fault_at, offset)
    marks = client_marks(one.client, one.fault_at, one.settled_at, offset)
    marks += log_marks(operator.logs(begin), f"{NAMESPACE}/{group.name}")
    marks += event_marks(group.events())
    marks += [Mark(zero, "demo", f"kill -9 of redis-server in {one.old.name}"),
              Mark(wall(one.settled_at, offset), "demo", "all three members in sync again")]
    screen.say("\n".join(draw(marks, zero, wall(one.settled_at, offset) + timedelta(seconds=1))))
    screen.say("")
    screen.say(f"{one.old.name} ({one.old.zone}) > {one.new.name} ({one.new.zone})")
    screen.say(f"longest gap of the client   {one.gap_ms:.0f} ms")
    screen.say(f"acknowledged writes lost    {len(one.lost)} of {len(one.client.acks)}"
               + (f", all from the last {one.lost_ms:.0f} ms before the kill" if one.lost else ""))
    screen.say(f"in sync again after         {one.in_sync_s:.1f} s")
    missing = group.missing_seeds(SEEDS)
    screen.say(f"keys written before         {'all there, on every member' if not missing else missing}")
    screen.say(f"two writers at one time     {'never' if not one.problems else one.problems}")
    screen.say("")
    screen.say(members_table(group))
    screen.check(one.new.uid != one.old.uid, "another member is the primary now")
    screen.check(one.gap_ms < 5000, "the gap is short")
    screen.check(not missing, "no key of before is lost")
    screen.check(not one.problems, "one writer at a time")


def failover_elsewhere(screen: Screen, cluster: Cluster, group: Group, image: str) -> None:
    """Any other cluster: the pod is deleted by force, and the client runs in a pod, if it can."""
    old, epoch = group.primary(), group.epoch()
    screen.step(f"The primary's pod ({old.name}) deleted by force, with a client that writes")
    screen.skip("kill -9 of the primary's process, and the observer of every member (they need the "
                "local cluster)")
    cluster.kubectl("-n", NAMESPACE, "delete", "pod", old.name, "--grace-period=0", "--force",
                    "--wait=false")
    wait_for("another member is the primary", 60,
             lambda: (group.epoch() > epoch and group.primary().uid != old.uid, group.epoch()), 0.3)
    group.wait_settled(3, 120)
    screen.say(f"{old.name} > {group.primary().name}")
    screen.say(members_table(group))
    program = (Path(__file__).resolve().parent / "client.py").read_text()
    said = run_in_pod(cluster, image, ["python3", "-c", program, f"{group.name}-primary.{NAMESPACE}"
                                       ".svc", "6379", "--seconds", "5", "--verify", "--json"])
    if said is None:
        screen.skip(f"a writing client in a pod (no image {image})")
    else:
        summary = json.loads(said.splitlines()[-1])
        screen.say(f"a client in a pod: {summary['acknowledged']} writes acknowledged, "
                   f"{summary['lost']} lost")


def try_next(screen: Screen, cluster: Cluster, keep: bool) -> None:
    tool = "./dev kubectl" if cluster.local else f"kubectl --context {cluster.context}"
    screen.step("What to try next")
    if not keep:
        screen.say("run it again with --keep, so that the group stays; then:")
    screen.say("\n".join([
        f"{tool} -n {NAMESPACE} get rg web-cache -o wide",
        f"{tool} -n {NAMESPACE} get events --field-selector involvedObject.kind=ReplicationGroup",
        f"{tool} -n {NAMESPACE} scale rg/web-cache --replicas=4",
        f"{tool} -n {NAMESPACE} delete pod web-cache-001        # an orderly end of a member",
        f"{tool} explain rg.spec.failover"]))
    if cluster.local:
        screen.say("./dev cluster cut node1 && sleep 20 && ./dev cluster heal node1   # a lost zone\n"
                   "./dev cluster stop apiserver && sleep 20 && ./dev cluster start apiserver   # no member cares")


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave the group running")
    parser.add_argument("--context", default="", help="a kubectl context; default: the local cluster")
    parser.add_argument("--image", default=DEFAULT_IMAGE, help="the operator's image")
    parser.add_argument("--tools-image", default="regroup.dev/tools:local",
                        help="an image with python3 and redis-py, for programs in pods")
    return parser.parse_args()


def play(screen: Screen, cluster: Cluster, args: argparse.Namespace) -> None:
    operator = Operator(cluster, args.image)
    group = Group(cluster, NAMESPACE, "web-cache")
    install(screen, operator)
    create(screen, cluster, group)
    two_pools(screen, cluster, group, args.tools_image)
    if cluster.local:
        failover(screen, cluster, operator, group)
    else:
        failover_elsewhere(screen, cluster, group, args.tools_image)
    try_next(screen, cluster, args.keep)
    if not args.keep:
        cluster.drop_namespace(NAMESPACE)


def main() -> int:
    args = parse_args()
    screen, cluster = Screen(), Cluster(args.context)
    begin = time.monotonic()
    try:
        play(screen, cluster, args)
    except (AssertionError, OSError, RuntimeError, NeedsLocalCluster) as error:
        screen.failures.append(f"{type(error).__name__}: {error}")
    finally:
        cluster.close()
    print(f"\nThe demo took {time.monotonic() - begin:.0f} s.")
    for what in screen.failures:
        print(f"FAILED: {what}")
    return 1 if screen.failures else 0


if __name__ == "__main__":
    sys.exit(main())
