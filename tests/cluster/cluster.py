#!/usr/bin/python3
"""The local Kubernetes cluster: a real one, on this machine alone. See README.md beside this file."""
from __future__ import annotations

import argparse
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

import addons
import control_plane
import faults
import images
import layout
import network
import nodes as node_module
import pki
import processes
from layout import ClusterError, Node
from processes import say

PROGRAMS = ("containerd", "ctr", "runc", "nsenter", "ip", "iptables-save", "iptables-restore", "ip6tables-save",
            "conntrack", "openssl", "gcc", "buildah", "debootstrap", "sysctl", "umount")
PASS_THROUGH = ("kubectl", "helm", "exec-in")


@contextmanager
def locked() -> Iterator[None]:
    """One change at a time, from whichever checkout; `down` deletes the lock file, hence the second look."""
    path = layout.state_dir() / "lock"
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another session that changes the cluster")
            fcntl.flock(file, fcntl.LOCK_EX)
        if path.exists() and os.fstat(file.fileno()).st_ino == path.stat().st_ino:
            break
        file.close()
    try:
        yield
    finally:
        file.close()


def saved_nodes() -> list[Node]:
    """The nodes of the cluster as `up` last made it; none when there is no cluster."""
    try:
        size = json.loads((layout.state_dir() / "cluster.json").read_text())
        return layout.make_nodes(size["nodes"], size["zones"])
    except (OSError, ValueError, KeyError):
        return []


def need_nodes() -> list[Node]:
    nodes = saved_nodes()
    if not nodes:
        raise ClusterError("there is no cluster: run `up` first")
    return nodes


def choose_nodes(asked_nodes: int | None, asked_zones: int | None, saved: list[Node]) -> list[Node]:
    """The wanted size: as asked, else as it is; nodes can be added, not removed, and zones stay."""
    count = asked_nodes or len(saved) or layout.DEFAULT_NODES
    zones = asked_zones or (saved[0].zone_count if saved else layout.DEFAULT_ZONES)
    if saved and (count < len(saved) or zones != saved[0].zone_count):
        raise ClusterError(f"the cluster has {len(saved)} nodes in {saved[0].zone_count} zones: run `down` first")
    return layout.make_nodes(count, zones)


def check_machine() -> None:
    if os.geteuid():
        raise ClusterError("the cluster needs root: run this as root")
    missing = [p for p in PROGRAMS if not shutil.which(p, path=processes.PATH)]
    if missing:
        raise ClusterError(f"missing programs: {', '.join(missing)}; install the packages of tests/packages.txt")


def build_tools() -> None:
    """The Go tools; the script itself knows what is built already."""
    names = ("hyperkube", "helm", "coredns")
    if not all(Path(layout.tool(name)).exists() for name in names):
        say("building the Go tools (minutes, the first time)")
    if subprocess.run([str(layout.HERE / "build_tools.sh"), *names]).returncode:
        raise ClusterError("build_tools.sh failed: see its message above, then run `up` again")


def up(arguments: argparse.Namespace) -> None:
    check_machine()
    build_tools()
    images.ensure_all()
    with locked():
        network.check_owner()
        nodes = choose_nodes(arguments.nodes, arguments.zones, saved_nodes())
        _up_locked(nodes)
    say(f"the cluster is up: {len(nodes)} nodes; KUBECONFIG={layout.kubeconfig()}")


def _up_locked(nodes: list[Node]) -> None:
    (layout.state_dir() / "cluster.json").write_text(
        json.dumps({"nodes": len(nodes), "zones": nodes[0].zone_count}))
    pki.ensure(nodes)
    network.ensure_machine()
    with ThreadPoolExecutor(max_workers=1) as pool:
        planes = pool.submit(control_plane.up)
        for node in nodes:
            node_module.up(node)
        network.ensure_routes(nodes)
        for node in nodes:
            control_plane.wait_healthy(node_module.containerd(node))
        images.load(nodes, images.node_archives())
        planes.result()
    for node in nodes:
        node_module.start_agents(node)
    addons.ensure(nodes)
    for node in nodes:
        node_module.wait_ready(node)
    say("all nodes are Ready")
    for component in control_plane.all_components():
        control_plane.wait_healthy(component)


def down(_: argparse.Namespace) -> None:
    check_machine()
    network.check_owner()
    with locked():
        processes.end(r for r in processes.recorded() if r.name.endswith(("-kubelet", "-containerd")))
        processes.end(r for r in processes.recorded() if not r.name.startswith("node"))
        for node in layout.make_nodes(layout.MOST_NODES, 1):
            if node.folder.exists() or node.veth in network.links() or node_module.cgroup_folders(node):
                say(f"removing {node.name}")
                node_module.remove(node)
        processes.end(processes.strays())
        network.remove_proxy_rules()
        network.remove_machine()
        _remove_state()
    say("nothing is left of the cluster")


def _remove_state() -> None:
    """Empties the state folder, the lock last, and takes shared folders away if nobody else uses them."""
    for path in list(layout.state_dir().iterdir()):
        if path.name != "lock":
            node_module.remove_tree(path) if path.is_dir() else path.unlink()
    (layout.state_dir() / "lock").unlink()
    layout.state_dir().rmdir()
    device_plugins = Path("/var/lib/kubelet/device-plugins")
    if device_plugins.exists():
        for socket in ("kubelet.sock", "kubelet_internal_checkpoint", "DEPRECATION"):
            (device_plugins / socket).unlink(missing_ok=True)
    for folder in (device_plugins, device_plugins.parent, node_module.CNI_CACHE, node_module.CNI_CACHE.parent,
                   node_module.CONTAINER_LOG_LINKS, Path("/run/containerd/s"), Path("/run/containerd")):
        try:
            folder.rmdir()
        except OSError:
            pass


def status(_: argparse.Namespace) -> None:
    nodes = need_nodes()
    rows = [("COMPONENT", "PID", "STATE")]
    for component in control_plane.all_components():
        rows.append((component.name, *_process_state(component.name, component.healthy)))
    for node in nodes:
        rows += [(name, *_process_state(name)) for name in node.components]
    _print_table(rows)
    rows = [("NODE", "ZONE", "READY", "LINK", "ADDRESS", "PODS")]
    for node in nodes:
        there = network.namespace_exists(node)
        rows.append((node.name, node.zone, "yes" if node_module.ready(node) else "no",
                     "up" if there and network.link_is_up(node) else "down", node.address, node.pod_range))
    _print_table(rows)
    _print_table([("IMAGE", "CACHED ARCHIVE")] + [
        (image.name, str(images.archive(image)) if images.archive(image).exists() else "missing: run `images`")
        for image in images.IMAGES.values()])
    _print_table([("ADDRESS", ""), ("API server", layout.API_URL), ("DNS service", layout.DNS_SERVICE_ADDRESS),
                  ("services", layout.SERVICE_RANGE), ("kubeconfig", str(layout.kubeconfig())),
                  ("audit log", str(layout.audit_log())), ("logs", str(layout.state_dir() / "log"))])


def _process_state(name: str, healthy=lambda: True) -> tuple[str, str]:
    record = processes.load(name)
    if not processes.alive(record):
        return "-", "dead"
    if processes.read_stat(record.pid).state == "T":
        return str(record.pid), "stopped"
    return str(record.pid), "healthy" if healthy() else "not healthy"


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    print()


def become(name: str, arguments: list[str]) -> None:
    os.execve(layout.tool(name), [name, *arguments], {**os.environ, "KUBECONFIG": str(layout.kubeconfig())})


def load(arguments: argparse.Namespace) -> None:
    with locked():
        images.load(need_nodes(), [Path(p).resolve() for p in arguments.archive])


def recycle(_: argparse.Namespace) -> None:
    with locked():
        addons.recycle(need_nodes())


def start(arguments: argparse.Namespace) -> None:
    need_nodes()
    with locked():
        control_plane.start(arguments.component)


def restore_etcd(_: argparse.Namespace) -> None:
    need_nodes()
    with locked():
        control_plane.restore_etcd()


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cluster", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, text: str, action, *positional: str, many: str | None = None) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(action=action)
        for argument in positional:
            sub.add_argument(argument)
        if many:
            sub.add_argument(many, nargs="+")
        return sub

    sub = verb("up", "make the cluster, or repair it", up)
    sub.add_argument("--nodes", type=int, help=f"default: as it is, else {layout.DEFAULT_NODES}")
    sub.add_argument("--zones", type=int, help=f"default: as it is, else {layout.DEFAULT_ZONES}")
    verb("down", "leave nothing of it (the caches stay)", down)
    verb("status", "components, nodes, images, addresses", status)
    verb("kubeconfig", "print the path of the admin's kubeconfig", lambda _: print(layout.kubeconfig()))
    verb("audit-log", "print the path of the API server's audit log", lambda _: print(layout.audit_log()))
    verb("images", "build the images that are missing in the cache", lambda _: images.ensure_all())
    verb("load", "import docker or OCI archives on each node", load, many="archive")
    verb("recycle", "empty the volumes whose claims are gone", recycle)
    verb("cut", "unplug a node", lambda a: faults.cut(need_nodes(), a.node), "node")
    verb("heal", "plug it in again", lambda a: faults.heal(need_nodes(), a.node), "node")
    sub = verb("block", "drop what goes from SOURCE to TARGET (addresses, ranges or `any`) in or through a node",
               lambda a: faults.block(need_nodes(), a.node, a.source, a.target, a.port), "node", "source", "target")
    sub.add_argument("--port", type=int, help="only to this TCP port; default: everything")
    verb("unblock", "drop nothing any more; `heal` does it too", lambda a: faults.unblock(need_nodes(), a.node), "node")
    verb("freeze", "SIGSTOP a node or a pod's engine", lambda a: faults.freeze(need_nodes(), a.target), "target")
    verb("thaw", "SIGCONT it", lambda a: faults.thaw(need_nodes(), a.target), "target")
    sub = verb("kill", "signal a pod's engine",
               lambda a: faults.kill(need_nodes(), a.pod, a.signal, a.container), "pod")
    sub.add_argument("--signal", default="KILL")
    sub.add_argument("--container", help="default: the one that runs an engine")
    verb("pid", "print the pid of a pod's engine", lambda a: print(faults.engine(need_nodes(), a.pod).pid), "pod")
    for name, text, action in (
            ("stop", "kill apiserver or etcd, and leave it dead", lambda a: control_plane.stop(a.component)),
            ("start", "bring it back", start),
            ("pause", "SIGSTOP a component, such as apiserver or node1-kubelet",
             lambda a: control_plane.pause(a.component)),
            ("resume", "SIGCONT it", lambda a: control_plane.pause(a.component, resume=True))):
        verbs_parser = verb(name, text, action)
        only = {"choices": ("apiserver", "etcd")} if name in ("stop", "start") else {}
        verbs_parser.add_argument("component", **only)
    verb("save-etcd", "copy etcd's data", lambda _: control_plane.save_etcd())
    verb("restore-etcd", "go back to the copy, as from an old backup", restore_etcd)
    for name, text in (("kubectl", "run kubectl as admin"), ("helm", "run helm as admin"),
                       ("exec-in", "NODE -- COMMAND…: run a command in a node's network")):
        verbs.add_parser(name, help=text, add_help=False)
    return parser


def split_exec(words: list[str]) -> tuple[str, list[str]]:
    """NODE [--] COMMAND…"""
    if not words:
        raise ClusterError("no node: write exec-in NODE -- COMMAND…")
    return words[0], words[2:] if words[1:2] == ["--"] else words[1:]


def main(words: list[str]) -> int:
    try:
        # These take any words, also such that look like options of ours.
        if words and words[0] in PASS_THROUGH:
            if words[0] == "exec-in":
                faults.exec_in(need_nodes(), *split_exec(words[1:]))
            become(words[0], words[1:])
        arguments = make_parser().parse_args(words)
        arguments.action(arguments)
        return 0
    except ClusterError as error:
        print(f"cluster: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cluster: interrupted; run the same verb again to finish", file=sys.stderr)
        return 130


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `status | head` ends quietly
    sys.exit(main(sys.argv[1:]))
