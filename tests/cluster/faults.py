"""Faults in pods and nodes: death, hang and cut, each on exactly the process or link that is named."""
from __future__ import annotations

import datetime
import os
import signal
import time
from pathlib import Path

import images
import layout
import network
import nodes as node_module
import processes
from layout import ClusterError, Node
from processes import Record


def split_pod(text: str) -> tuple[str, str]:
    """NS/POD or POD (namespace default)."""
    namespace, slash, pod = text.rpartition("/")
    if not pod or (slash and not namespace):
        raise ClusterError(f"{text!r} names no pod: write NAMESPACE/POD or POD")
    return namespace or "default", pod


def find_node(nodes: list[Node], name: str) -> Node:
    for node in nodes:
        if node.name == name:
            return node
    raise ClusterError(f"no node {name}: the nodes are {', '.join(n.name for n in nodes)}")


def parse_tasks(text: str) -> dict[str, int]:
    """Container id -> pid, from the table of `ctr tasks ls`."""
    rows = (line.split() for line in text.splitlines()[1:])
    return {row[0]: int(row[1]) for row in rows if len(row) >= 3 and row[2] != "STOPPED"}


def engine(nodes: list[Node], pod_text: str, container: str | None = None) -> Record:
    """The engine's process in a pod, asked of the nodes' containerds: it works without the API server too."""
    namespace, pod = split_pod(pod_text)
    wanted = (f'labels."io.kubernetes.pod.name"=={pod},labels."io.kubernetes.pod.namespace"=={namespace},'
              'labels."io.cri-containerd.kind"==container')
    if container:
        wanted += f',labels."io.kubernetes.container.name"=={container}'
    mains: list[int] = []
    for node in nodes:
        identities = set(images.ctr(node, "containers", "ls", "-q", wanted).split())
        if identities:
            tasks = parse_tasks(images.ctr(node, "tasks", "ls"))
            mains += [pid for identity, pid in tasks.items() if identity in identities and pid]
    if not mains:
        raise ClusterError(f"no running container of pod {namespace}/{pod}: see `kubectl -n {namespace} get pod {pod}`")
    engines = [record for main in mains for record in _engines_in(main)]
    record = engines[0] if engines else processes.identify(mains[0], pod)
    if record is None:
        raise ClusterError(f"the process of pod {namespace}/{pod} died just now: try again")
    return record


def _engines_in(main: int) -> list[Record]:
    """The engines in the cgroup of a container's main process (a wrapper may have started it)."""
    try:
        lines = Path(f"/proc/{main}/cgroup").read_text().splitlines()
        path = next(line.split(":", 2)[2] for line in lines if line.split(":", 2)[1] in ("pids", ""))
        folder = next(p for p in (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup")) if p.exists())
        pids = [int(pid) for pid in (folder / path.lstrip("/") / "cgroup.procs").read_text().split()]
    except (OSError, StopIteration):
        pids = [main]
    found = []
    for pid in pids:
        try:
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            continue
        record = processes.identify(pid, name) if name in layout.ENGINES else None
        if record:
            found.append(record)
    return found


def _stamp(moment: float) -> str:
    clock = datetime.datetime.fromtimestamp(moment, datetime.timezone.utc)
    return f"{moment:.6f} ({clock.strftime('%H:%M:%S.%f')} UTC)"


def kill(nodes: list[Node], pod: str, name: str, container: str | None) -> None:
    number = signal_number(name)
    record = engine(nodes, pod, container)
    moment = time.time()
    if not processes.send(record, number):
        raise ClusterError(f"{record.name} ({record.pid}) was gone before the signal: try again")
    print(f"{pod}: {signal.Signals(number).name} to {record.name or 'process'} {record.pid} at {_stamp(moment)}")


def signal_number(name: str) -> int:
    try:
        return int(name) if name.isdigit() else signal.Signals["SIG" + name.upper().removeprefix("SIG")].value
    except KeyError:
        raise ClusterError(f"no signal {name}: write for example KILL, TERM or STOP") from None


def is_node(nodes: list[Node], target: str) -> bool:
    return any(node.name == target for node in nodes)


def freeze(nodes: list[Node], target: str) -> None:
    if is_node(nodes, target):
        count = node_module.freeze(find_node(nodes, target))
        print(f"{target}: {count} processes frozen at {_stamp(time.time())}")
    else:
        kill(nodes, target, "STOP", None)


def thaw(nodes: list[Node], target: str) -> None:
    if is_node(nodes, target):
        count = node_module.thaw(find_node(nodes, target))
        print(f"{target}: {count} processes go on since {_stamp(time.time())}")
    else:
        kill(nodes, target, "CONT", None)


def cut(nodes: list[Node], name: str) -> None:
    network.cut(find_node(nodes, name))
    print(f"{name} cut at {_stamp(time.time())}")


def heal(nodes: list[Node], name: str) -> None:
    network.heal(find_node(nodes, name), nodes)
    print(f"{name} healed at {_stamp(time.time())}")


def block(nodes: list[Node], name: str, source: str, target: str, port: int | None) -> None:
    network.block(find_node(nodes, name), source, target, port)
    print(f"{name} drops {source} to {target} since {_stamp(time.time())}")


def unblock(nodes: list[Node], name: str) -> None:
    network.unblock(find_node(nodes, name))
    print(f"{name} drops nothing since {_stamp(time.time())}")


def exec_in(nodes: list[Node], name: str, command: list[str]) -> None:
    """Becomes the command, inside the node's network; `ip netns exec` would hide the cgroups."""
    node = find_node(nodes, name)
    if not command:
        raise ClusterError("no command: write exec-in NODE -- COMMAND…")
    os.execvp("nsenter", ["nsenter", f"--net={node.namespace_path}", "--", *command])
