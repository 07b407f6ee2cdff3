"""Nodes: each with its own containerd, kubelet and kube-proxy, in its own network namespace and cgroups."""
from __future__ import annotations

import datetime
import json
import os
import signal
import time
from pathlib import Path

import yaml

import api
import control_plane
import images
import layout
import network
import processes
from control_plane import Component
from layout import ClusterError, Node
from processes import Record, run, say, wait_for

CNI_CACHE = Path("/var/lib/cni/results")
CONTAINER_LOG_LINKS = Path("/var/log/containers")

CONTAINERD = """version = 2
root = "{folder}/containerd"
state = "{folder}/run"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{socket}"
[debug]
  level = "warn"
[plugins."io.containerd.internal.v1.opt"]
  path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Without CAP_SYS_RESOURCE a negative oom_score_adj is refused, and runc dies of it.
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{folder}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        Root = "{folder}/runc"
"""


def _cni(node: Node) -> str:
    return json.dumps({
        "cniVersion": "1.0.0", "name": node.cni_network, "plugins": [
            {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipMasq": False,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": node.pod_range}]], "routes": [{"dst": "0.0.0.0/0"}],
                      "dataDir": str(node.folder / "ipam")}},
            {"type": "portmap", "capabilities": {"portMappings": True}}]}, indent=1)


def containerd(node: Node) -> Component:
    config, cni = node.folder / "containerd.toml", node.folder / "cni" / "10-bridge.conflist"
    text = CONTAINERD.format(folder=node.folder, socket=node.socket, pause=layout.PAUSE_IMAGE)
    return Component(node.components[0], ["/usr/bin/containerd", f"--config={config}"],
                     {config: text, cni: _cni(node)}, namespace=node.namespace_path,
                     healthy=lambda: containerd_answers(node))


def containerd_answers(node: Node) -> bool:
    try:
        return "Server:" in images.ctr(node, "version")
    except ClusterError:
        return False


def _kubelet_config(node: Node) -> dict:
    pki = layout.pki_dir()
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "failCgroupV1": False, "cgroupDriver": "cgroupfs", "cgroupRoot": f"/{node.cgroup}", "oomScoreAdj": 0,
        "containerRuntimeEndpoint": f"unix://{node.socket}",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                           "x509": {"clientCAFile": f"{pki}/ca.crt"}},
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{pki}/{node.name}.crt", "tlsPrivateKeyFile": f"{pki}/{node.name}.key",
        "failSwapOn": False, "protectKernelDefaults": False, "localStorageCapacityIsolation": False,
        "clusterDNS": [layout.DNS_SERVICE_ADDRESS], "clusterDomain": "cluster.local",
        "resolvConf": str(node.folder / "resolv.conf"),
        # Images cannot be pulled again, and the machine's disk is none of the tests' business: nothing is evicted.
        "evictionHard": {"imagefs.available": "0%", "imagefs.inodesFree": "0%", "nodefs.available": "0%",
                         "nodefs.inodesFree": "0%", "memory.available": "1Mi"},
        "imageGCHighThresholdPercent": 100,
        # A dead node shows within the controller manager's grace period of 10 s.
        "nodeStatusUpdateFrequency": "2s", "nodeStatusReportFrequency": "2s", "nodeLeaseDurationSeconds": 8,
        "podLogsDir": str(node.folder / "pod-logs"), "volumePluginDir": str(node.folder / "volume-plugins"),
        "staticPodPath": str(node.folder / "manifests"),
    }


def kubelet(node: Node) -> Component:
    config = node.folder / "kubelet.yaml"
    return Component(node.components[1], [
        layout.tool("kubelet"), f"--config={config}", f"--kubeconfig={layout.kubeconfig(node.name)}",
        f"--root-dir={node.folder}/kubelet", f"--cert-dir={node.folder}/pki", f"--hostname-override={node.name}",
        f"--node-ip={node.address}", f"--node-labels=topology.kubernetes.io/zone={node.zone}",
    ], {config: yaml.safe_dump(_kubelet_config(node), sort_keys=False),
        node.folder / "resolv.conf": "# no name server but the cluster's own\n"}, namespace=node.namespace_path)


def proxy(node: Node) -> Component:
    return control_plane.proxy(node.components[2], node.name, node.address, node.folder, node.namespace_path)


def cgroup_folders(node: Node, all_of_them: bool = False) -> list[Path]:
    """The node's folder under each cgroup hierarchy of the machine (those that exist, or all)."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ")
        if right.split()[0] in ("cgroup", "cgroup2"):
            found.append(Path(left.split()[4]) / node.cgroup)
    return found if all_of_them else [path for path in found if path.exists()]


def make_cgroups(node: Node) -> None:
    """kubelet wants its root to exist; a new cpuset is useless until its CPUs and memories are named."""
    for folder in cgroup_folders(node, all_of_them=True):
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            file = folder / name
            if file.exists() and not file.read_text().strip():
                file.write_text((folder.parent / name).read_text())


def cgroup_processes(node: Node) -> list[Record]:
    """Every process in a pod of the node."""
    pids: set[int] = set()
    for top in cgroup_folders(node):
        for folder, _, _ in os.walk(top):
            try:
                pids.update(int(pid) for pid in Path(folder, "cgroup.procs").read_text().split())
            except OSError:
                continue
    return [record for record in (processes.identify(pid) for pid in sorted(pids)) if record]


def shims(node: Node) -> list[Record]:
    """The containerd shims of the node, known by the address of its containerd."""
    return [r for r in processes.strays() if str(node.socket) in processes.command_line(r.pid)]


def up(node: Node) -> None:
    """The node's namespace, cgroups and containerd; kubelet comes later, when the images are there."""
    if not network.namespace_exists(node) or not _processes_inside(node):
        reset(node)
    network.ensure_node(node)
    make_cgroups(node)
    for number in range(1, layout.VOLUMES_PER_NODE + 1):
        folder = node.folder / "volumes" / f"volume{number}"
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o777)
    (node.folder / "manifests").mkdir(exist_ok=True)
    if not processes.alive(processes.load(node.components[0])):
        if not shims(node):
            _clear_run(node)
        _mount_store(node)
    thaw(node)
    control_plane.ensure(containerd(node))


def _mount_store(node: Node) -> None:
    """containerd's images and layers live in memory: thousands of small files are slow to make and remove on disk."""
    store = node.folder / "containerd"
    if str(store) in mounts_below(node.folder):
        return
    # After a reboot the folder is empty or stale; either way nothing is loaded any more.
    remove_tree(store)
    store.mkdir()
    run("mount", "-t", "tmpfs", "-o", "mode=711,size=4g", "regroup-store", str(store))


def _processes_inside(node: Node) -> bool:
    """Whether the node's processes live in today's namespace of that name (it may have been made anew)."""
    here = node.namespace_path.stat().st_ino
    records = [r for r in map(processes.load, node.components) if processes.alive(r)]
    return all(os.stat(f"/proc/{r.pid}/ns/net").st_ino == here for r in records)


def start_agents(node: Node) -> None:
    control_plane.ensure(kubelet(node))
    control_plane.ensure(proxy(node))


def ready(node: Node) -> bool:
    """Ready by a kubelet that has reported since it came up (an old Ready may be of a dead one)."""
    agent = processes.load(node.components[1])
    try:
        status = api.call("GET", f"/api/v1/nodes/{node.name}", seconds=3)["status"]
    except ClusterError:
        return False
    if not processes.alive(agent):
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" and
               datetime.datetime.fromisoformat(c["lastHeartbeatTime"]).timestamp() + 1 > processes.started_at(agent)
               for c in status.get("conditions", []))


def wait_ready(node: Node) -> None:
    wait_for(f"node {node.name} Ready", lambda: ready(node), 90, node.components[1], pause=0.3)


def reset(node: Node) -> None:
    """Ends all that belongs to the node except its images and volumes."""
    _end_all(node)
    _clear_run(node)
    network.remove_node(node)


def remove(node: Node) -> None:
    """Leaves nothing of the node."""
    reset(node)
    _remove_cgroups(node)
    if CONTAINER_LOG_LINKS.exists():
        for link in CONTAINER_LOG_LINKS.iterdir():
            if link.is_symlink() and os.readlink(link).startswith(f"{node.folder}/"):
                link.unlink()
    remove_tree(node.folder)


def _end_all(node: Node) -> None:
    components = [r for r in map(processes.load, reversed(node.components)) if r]
    strays = [r for r in processes.strays() if _is_of(node, r)]
    processes.end(components + strays)
    # Only now: a live shim or kubelet would start more.
    for _ in range(100):
        left = cgroup_processes(node)
        if not left:
            break
        processes.end(left)
    for name in node.components:
        processes.forget(name)


def _is_of(node: Node, record: Record) -> bool:
    return any(str(node.folder) + "/" in word for word in processes.command_line(record.pid))


def _clear_run(node: Node) -> None:
    """Removes what runs leave in machine-wide folders and the node's run-time state."""
    tasks = node.folder / "run" / "io.containerd.runtime.v2.task" / "k8s.io"
    for address in tasks.glob("*/address") if tasks.exists() else ():
        Path(address.read_text().strip().removeprefix("unix://")).unlink(missing_ok=True)
    unmount_below(node.folder, keep=node.folder / "containerd")
    for name in ("run", "runc", "ipam", "pod-logs"):
        remove_tree(node.folder / name)
    node.socket.unlink(missing_ok=True)
    if CNI_CACHE.exists():
        for path in CNI_CACHE.glob(f"{node.cni_network}-*-eth0"):
            pod = path.name.removeprefix(f"{node.cni_network}-").removesuffix("-eth0")
            (CNI_CACHE / f"cni-loopback-{pod}-lo").unlink(missing_ok=True)
            path.unlink()


def _remove_cgroups(node: Node) -> None:
    for top in cgroup_folders(node):
        for folder, _, _ in os.walk(top, topdown=False):
            _remove_cgroup(Path(folder))


def _remove_cgroup(folder: Path) -> None:
    for _ in range(100):
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)
    raise ClusterError(f"{folder} is still busy: see its cgroup.procs, then run `down` again")


def mounts_below(folder: Path) -> list[str]:
    """Mount points under a folder, the deepest and latest first."""
    prefix = f"{folder}/"
    points = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return [p.replace("\\040", " ") for p in reversed(points) if p.startswith(prefix)]


def unmount_below(folder: Path, keep: Path | None = None) -> None:
    """Unmounts all below a folder; `keep` itself may stay mounted."""
    for _ in range(5):
        points = [p for p in mounts_below(folder) if p != str(keep)]
        if not points:
            return
        for point in points:
            run("umount", "-l", point, check=False)
    raise ClusterError(f"cannot unmount {mounts_below(folder)}: end what uses it, then run this again")


def remove_tree(folder: Path) -> None:
    """Removes a folder of ours, but never reaches into something that is mounted there."""
    if folder.exists():
        unmount_below(folder)
        if str(folder) in mounts_below(folder.parent):
            run("umount", "-l", str(folder))
        run("rm", "-rf", "--one-file-system", str(folder))


def freeze(node: Node) -> int:
    """Stops every process of the node, as a hung machine would; the agents first, so that they see nothing."""
    stopped: set[tuple[int, int]] = set()
    while True:
        agents = [r for r in map(processes.load, reversed(node.components)) if processes.alive(r)]
        new = [r for r in agents + shims(node) + cgroup_processes(node) if (r.pid, r.start) not in stopped]
        if not new:
            return len(stopped)
        for record in new:
            processes.send(record, signal.SIGSTOP)
            stopped.add((record.pid, record.start))


def thaw(node: Node) -> int:
    """Lets every stopped process of the node go on."""
    agents = [r for r in map(processes.load, node.components) if processes.alive(r)]
    count = 0
    for record in cgroup_processes(node) + shims(node) + agents:
        stat = processes.read_stat(record.pid)
        if stat and stat.state == "T":
            count += processes.send(record, signal.SIGCONT)
    return count
