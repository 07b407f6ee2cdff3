"""The cluster's network: one bridge, a namespace and a link for each node, static routes, and their removal.

Nodes have no default route: nothing that runs in a pod can leave this machine.
"""
from __future__ import annotations

import json
import re
from pathlib import Path

import layout
from layout import ClusterError, Node
from processes import run, say

NAMESPACES = Path("/run/netns")
# Machine-wide settings that the cluster needs; `down` puts the old values back.
SYSCTLS = {
    "net/ipv4/ip_forward": "1",
    # Frames between nodes only cross the bridge; the machine's own packet filter has no business with them.
    "net/bridge/bridge-nf-call-iptables": "0",
    # Three kubelets, containerds and their shims need more than the usual 128.
    "fs/inotify/max_user_instances": "8192",
}


def ip(*argv: str, namespace: str | None = None, check: bool = True) -> str:
    return run("ip", *(("-n", namespace) if namespace else ()), *argv, check=check)


def links(namespace: str | None = None) -> dict[str, dict]:
    """The links of a namespace by name, each with its flags and addresses."""
    found = json.loads(ip("-j", "addr", namespace=namespace) or "[]")
    return {link["ifname"]: link for link in found if "ifname" in link}


def _addresses(link: dict) -> set[str]:
    return {f"{a['local']}/{a['prefixlen']}" for a in link.get("addr_info", []) if a["family"] == "inet"}


def check_owner() -> None:
    """Refuses to touch a cluster that another state folder owns: names and addresses are machine-wide."""
    path = Path(f"/sys/class/net/{layout.BRIDGE}/ifalias")
    owner = path.read_text().strip() if path.exists() else ""
    if owner and owner != str(layout.state_dir()):
        raise ClusterError(f"this machine's cluster lives in {owner}: set REGROUP_CLUSTER_DIR={owner}, "
                           "or run `down` there first")


def ensure_machine() -> None:
    """The bridge with its address, the machine's settings, and the route for services."""
    _set_sysctls()
    link = links().get(layout.BRIDGE)
    if link is None:
        ip("link", "add", layout.BRIDGE, "type", "bridge")
        ip("link", "set", layout.BRIDGE, "alias", str(layout.state_dir()))
        link = {}
    address = f"{layout.MACHINE_ADDRESS}/{layout.NODE_NETWORK_BITS}"
    if address not in _addresses(link):
        ip("addr", "add", address, "dev", layout.BRIDGE)
    if "UP" not in link.get("flags", []):
        ip("link", "set", layout.BRIDGE, "up")
    # kube-proxy rewrites these addresses before they leave; the route only keeps them off the real network.
    ip("route", "replace", layout.SERVICE_RANGE, "dev", layout.BRIDGE)


def _set_sysctls() -> None:
    memory = layout.state_dir() / "sysctls.json"
    before = json.loads(memory.read_text()) if memory.exists() else {}
    for name, wanted in SYSCTLS.items():
        path = Path("/proc/sys") / name
        if not path.exists():
            raise ClusterError(f"the kernel has no {path}: load br_netfilter (modprobe br_netfilter)")
        value = path.read_text().strip()
        if value != wanted:
            before[name] = value
            memory.write_text(json.dumps(before))
            path.write_text(wanted)


def restore_sysctls() -> None:
    memory = layout.state_dir() / "sysctls.json"
    if not memory.exists():
        return
    for name, value in json.loads(memory.read_text()).items():
        path = Path("/proc/sys") / name
        if path.read_text().strip() == SYSCTLS.get(name):
            path.write_text(value)
    memory.unlink()


def namespace_exists(node: Node) -> bool:
    """A namespace is usable only while its file is a mount of it (a reboot can leave a plain file)."""
    return is_mounted(node.namespace_path)


def is_mounted(path: Path) -> bool:
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def add_namespace(node: Node) -> None:
    """`ip netns add` also makes /run/netns a mount of itself: noted, so that `down` can undo it."""
    if not is_mounted(NAMESPACES):
        (layout.state_dir() / "made-netns-folder").touch()
    ip("netns", "add", node.name)


def _remove_namespace_folder() -> None:
    memory = layout.state_dir() / "made-netns-folder"
    if memory.exists() and is_mounted(NAMESPACES) and not any(NAMESPACES.iterdir()):
        run("umount", str(NAMESPACES))
        NAMESPACES.rmdir()


def ensure_node(node: Node) -> None:
    """The node's namespace and link to the bridge, up and with its address."""
    if not namespace_exists(node):
        node.namespace_path.unlink(missing_ok=True)
        add_namespace(node)
    inside, outside = links(node.name), links()
    if "eth0" not in inside or node.veth not in outside:
        ip("link", "del", node.veth, check=False)
        ip("link", "del", "eth0", namespace=node.name, check=False)
        ip("link", "add", node.veth, "type", "veth", "peer", "name", "eth0", "netns", node.name)
        inside, outside = links(node.name), links()
    if outside[node.veth].get("master") != layout.BRIDGE:
        ip("link", "set", node.veth, "master", layout.BRIDGE)
    ip("link", "set", node.veth, "up")
    address = f"{node.address}/{layout.NODE_NETWORK_BITS}"
    if address not in _addresses(inside["eth0"]):
        ip("addr", "add", address, "dev", "eth0", namespace=node.name)
    for link in ("lo", "eth0"):
        ip("link", "set", link, "up", namespace=node.name)
    run("nsenter", f"--net={node.namespace_path}", "--", "sysctl", "-qw", "net.ipv4.ip_forward=1",
        "net.bridge.bridge-nf-call-iptables=1")


def ensure_routes(nodes: list[Node]) -> None:
    """Routes to each node's pods, from the machine and from each other node."""
    for node in nodes:
        ip("route", "replace", node.pod_range, "via", node.address, "dev", layout.BRIDGE)
        ensure_node_routes(node, nodes)


def ensure_node_routes(node: Node, nodes: list[Node]) -> None:
    """The routes inside a node; taking its link down has removed them."""
    wanted = [(layout.MACHINE_RANGE, layout.MACHINE_ADDRESS)]
    wanted += [(other.pod_range, other.address) for other in nodes if other != node]
    for target, gateway in wanted:
        ip("route", "replace", target, "via", gateway, "dev", "eth0", namespace=node.name)


def link_is_up(node: Node) -> bool:
    return "UP" in links(node.name).get("eth0", {}).get("flags", [])


def cut(node: Node) -> None:
    """Unplugs the node: no packet gets in or out, and no peer hears of it."""
    ip("link", "set", "eth0", "down", namespace=node.name)


def heal(node: Node, nodes: list[Node]) -> None:
    unblock(node)
    ip("link", "set", "eth0", "up", namespace=node.name)
    ensure_node_routes(node, nodes)


# The node's own chain of dropped flows: in front of kube-proxy's, and behind the rewriting of ClusterIPs, so
# that a rule names real addresses.
BLOCKS = "RG-BLOCKS"
_HOOKS = ("FORWARD", "INPUT", "OUTPUT")


def _filter(node: Node, *words: str, check: bool = True) -> str:
    return run("nsenter", f"--net={node.namespace_path}", "--", "iptables", "-w", *words, check=check)


def block_rule(source: str, target: str, port: int | None) -> list[str]:
    """The words of one dropped flow; `any` stands for every address."""
    words = [word for option, address in (("-s", source), ("-d", target)) if address != "any"
             for word in (option, address)]
    return [*words, *(["-p", "tcp", "--dport", str(port)] if port else []), "-j", "DROP"]


def block(node: Node, source: str, target: str, port: int | None) -> None:
    """Drops what goes from `source` to `target` in or through the node, in this one direction."""
    if f"-N {BLOCKS}" not in _filter(node, "-S").splitlines():
        _filter(node, "-N", BLOCKS)
        for hook in _HOOKS:
            _filter(node, "-I", hook, "1", "-j", BLOCKS)
    _filter(node, "-A", BLOCKS, *block_rule(source, target, port))


def unblock(node: Node) -> None:
    if f"-N {BLOCKS}" not in _filter(node, "-S").splitlines():
        return
    for hook in _HOOKS:
        _filter(node, "-D", hook, "-j", BLOCKS)
    _filter(node, "-F", BLOCKS)
    _filter(node, "-X", BLOCKS)


def remove_node(node: Node) -> None:
    ip("link", "del", node.veth, check=False)
    if namespace_exists(node):
        ip("netns", "del", node.name)
    node.namespace_path.unlink(missing_ok=True)


def remove_machine() -> None:
    """The bridge goes, and all routes through it."""
    for name in links():
        if re.fullmatch(r"rg-node\d+", name):
            ip("link", "del", name, check=False)
    if layout.BRIDGE in links():
        ip("link", "del", layout.BRIDGE)
    _remove_namespace_folder()
    restore_sysctls()


def _proxy_memory() -> Path:
    return layout.state_dir() / "machine-proxy-rules"


def claim_proxy_rules() -> None:
    """Notes that the machine's KUBE-* chains are ours, unless they were there before us."""
    if _proxy_memory().exists():
        return
    for command in ("iptables-save", "ip6tables-save"):
        if re.search(r"^:KUBE-", run(command), re.MULTILINE):
            raise ClusterError("another kube-proxy (or an old cluster whose state folder was deleted) left KUBE-* "
                               f"chains in this machine's packet filter: see `{command}`; remove them, "
                               "then run `up` again")
    _proxy_memory().parent.mkdir(parents=True, exist_ok=True)
    _proxy_memory().touch()


def proxy_removal(saved: str) -> str:
    """The iptables-restore input that takes kube-proxy's chains, and the jumps to them, out of `saved`."""
    out = []
    for table in re.split(r"^(?=\*)", saved, flags=re.MULTILINE):
        chains = re.findall(r"^:(KUBE-\S+)", table, re.MULTILINE)
        if not chains:
            continue
        out.append(table.splitlines()[0])
        out += [f":{chain} - [0:0]" for chain in chains]
        out += [f"-D {rule}" for rule in re.findall(r"^-A ((?!KUBE-).* -[jg] KUBE-.*)$", table, re.MULTILINE)]
        out += [f"-X {chain}" for chain in chains]
        out.append("COMMIT")
    return "\n".join(out) + "\n" if out else ""


def remove_proxy_rules() -> None:
    """Takes our kube-proxy's rules out of the machine's packet filter; all other rules stay."""
    if not _proxy_memory().exists():
        return
    say("removing kube-proxy's rules from the machine")
    for family in ("iptables", "ip6tables"):
        rules = proxy_removal(run(f"{family}-save", check=False))
        if rules:
            run(f"{family}-restore", "--noflush", stdin=rules)
    _proxy_memory().unlink()
