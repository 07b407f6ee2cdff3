"""etcd, the API server, controllers, scheduler, DNS and the machine's own kube-proxy, all in the machine's network."""
from __future__ import annotations

import hashlib
import json
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

import yaml

import api
import layout
import network
import processes
from layout import ClusterError
from processes import say, wait_for

COREFILE = """.:53 {{
    bind {address}
    errors
    health 127.0.0.1:8080
    ready 127.0.0.1:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {kubeconfig}
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
        ttl 30
    }}
    cache 30 {{
        disable success cluster.local
        disable denial cluster.local
    }}
}}
"""


@dataclass
class Component:
    """A process with all that decides its behaviour: a change of either makes `up` start it anew."""

    name: str
    argv: list[str]
    files: dict[Path, str] = field(default_factory=dict)
    healthy: Callable[[], bool] = lambda: True
    namespace: Path | None = None
    seconds: float = 60

    def digest(self) -> str:
        program = str(Path(self.argv[0]).resolve())
        text = json.dumps([program, self.argv, {str(k): v for k, v in self.files.items()}])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def ensure(component: Component) -> bool:
    """Starts the component unless it already runs in the wanted form; True when it started it."""
    record = processes.load(component.name)
    if processes.alive(record):
        if record.digest == component.digest():
            if processes.read_stat(record.pid).state == "T":
                say(f"resuming {component.name}, which was stopped")
                processes.send(record, signal.SIGCONT)
            return False
        say(f"{component.name} is to change")
        processes.end([record], grace=10)
    for path, text in component.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    say(f"starting {component.name}")
    processes.start(component.name, component.argv, component.digest(), component.namespace)
    return True


def wait_healthy(component: Component) -> None:
    wait_for(component.name, component.healthy, component.seconds, component.name)


def etcd() -> Component:
    return Component("etcd", [
        layout.tool("etcd"), f"--data-dir={layout.state_dir()}/etcd", "--unsafe-no-fsync", "--log-level=warn",
        f"--listen-client-urls={layout.ETCD_URL}", f"--advertise-client-urls={layout.ETCD_URL}",
        f"--listen-peer-urls={layout.ETCD_PEER_URL}", f"--initial-advertise-peer-urls={layout.ETCD_PEER_URL}",
        f"--initial-cluster=default={layout.ETCD_PEER_URL}",
    ], healthy=lambda: api.plain_ok(layout.ETCD_URL + "/health"))


def apiserver() -> Component:
    pki, policy = layout.pki_dir(), layout.state_dir() / "audit-policy.yaml"
    return Component("apiserver", [
        layout.tool("kube-apiserver"), f"--etcd-servers={layout.ETCD_URL}",
        f"--advertise-address={layout.MACHINE_ADDRESS}", f"--bind-address={layout.MACHINE_ADDRESS}",
        f"--secure-port={layout.API_PORT}", f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt", f"--tls-private-key-file={pki}/apiserver.key", f"--cert-dir={pki}",
        f"--service-account-key-file={pki}/sa.pub", f"--service-account-signing-key-file={pki}/sa.key",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-cluster-ip-range={layout.SERVICE_RANGE}", "--authorization-mode=Node,RBAC",
        f"--kubelet-client-certificate={pki}/admin.crt", f"--kubelet-client-key={pki}/admin.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        # Nodes have no DNS names: without this, exec and logs fail.
        "--kubelet-preferred-address-types=InternalIP", "--allow-privileged=true",
        f"--audit-policy-file={policy}", f"--audit-log-path={layout.audit_log()}", "--audit-log-format=json",
        "--audit-log-maxsize=1024", "--audit-log-maxbackup=1",
    ], {policy: yaml.safe_dump(layout.audit_policy(), sort_keys=False)}, healthy=api.healthy)


def controller_manager() -> Component:
    pki, config = layout.pki_dir(), layout.kubeconfig("controller-manager")
    return Component("controller-manager", [
        layout.tool("kube-controller-manager"), f"--kubeconfig={config}", f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}", "--bind-address=127.0.0.1", f"--cert-dir={pki}", "--leader-elect=false",
        "--use-service-account-credentials", f"--service-account-private-key-file={pki}/sa.key",
        f"--root-ca-file={pki}/ca.crt", f"--cluster-signing-cert-file={pki}/ca.crt",
        f"--cluster-signing-key-file={pki}/ca.key", "--allocate-node-cidrs=false",
        "--node-monitor-grace-period=10s", "--node-monitor-period=2s",
    ], healthy=lambda: api.plain_ok("https://127.0.0.1:10257/healthz", api.unverified()))


def scheduler() -> Component:
    config = layout.kubeconfig("scheduler")
    return Component("scheduler", [
        layout.tool("kube-scheduler"), f"--kubeconfig={config}", f"--authentication-kubeconfig={config}",
        f"--authorization-kubeconfig={config}", "--bind-address=127.0.0.1", "--leader-elect=false",
    ], healthy=lambda: api.plain_ok("https://127.0.0.1:10259/healthz", api.unverified()))


def coredns() -> Component:
    path = layout.state_dir() / "Corefile"
    text = COREFILE.format(address=layout.MACHINE_ADDRESS, kubeconfig=layout.kubeconfig("coredns"))
    return Component("coredns", [layout.tool("coredns"), "-conf", str(path)], {path: text},
                     healthy=lambda: api.plain_ok("http://127.0.0.1:8181/ready"))


def proxy(name: str, hostname: str, address: str, folder: Path, namespace: Path | None = None) -> Component:
    """kube-proxy at its defaults, for a node or for the machine itself."""
    config = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(layout.kubeconfig("proxy"))},
        "mode": "iptables", "clusterCIDR": layout.POD_RANGE, "hostnameOverride": hostname, "bindAddress": address,
        "healthzBindAddress": "127.0.0.1:10256", "metricsBindAddress": "127.0.0.1:10249", "oomScoreAdj": 0,
        "conntrack": {"maxPerCore": 0},
    }
    if namespace is None:
        # On the machine itself no setting may change that `down` would not know of.
        config["conntrack"].update(tcpEstablishedTimeout="0s", tcpCloseWaitTimeout="0s")
        config["iptables"] = {"localhostNodePorts": False}
    path = folder / "proxy.yaml"
    return Component(name, [layout.tool("kube-proxy"), f"--config={path}"],
                     {path: yaml.safe_dump(config, sort_keys=False)}, namespace=namespace)


def machine_proxy() -> Component:
    """Makes ClusterIPs work for programs on the machine; it waits 30 s for a Node object that never comes."""
    component = proxy("proxy", "machine", layout.MACHINE_ADDRESS, layout.state_dir())
    component.healthy = lambda: api.plain_ok("http://127.0.0.1:10256/livez")
    component.seconds = 90
    return component


def all_components() -> list[Component]:
    return [etcd(), apiserver(), controller_manager(), scheduler(), coredns(), machine_proxy()]


def up() -> None:
    """Brings the control plane up; the machine's kube-proxy is only started, for it takes its time."""
    ensure(etcd())
    wait_healthy(etcd())
    ensure(apiserver())
    wait_healthy(apiserver())
    network.claim_proxy_rules()
    started = [machine_proxy(), controller_manager(), scheduler(), coredns()]
    for component in started:
        ensure(component)
    for component in started[1:3]:
        wait_healthy(component)


def by_name(name: str) -> Component:
    known = {"apiserver": apiserver, "etcd": etcd}
    if name not in known:
        raise ClusterError(f"no component {name}: use apiserver or etcd")
    return known[name]()


def stop(name: str) -> None:
    """Kills the component as a crash would; it stays away until `start` or `up`."""
    record = processes.load(by_name(name).name)
    if not processes.alive(record):
        raise ClusterError(f"{name} does not run: nothing to stop")
    moment = time.time()
    processes.end([record])
    print(f"{name} killed at {moment:.6f}")


def start(name: str) -> None:
    component = by_name(name)
    ensure(component)
    wait_healthy(component)
    print(f"{name} healthy at {time.time():.6f}")


def pause(name: str, resume: bool = False) -> None:
    """Also of a node's own parts, such as node1-kubelet."""
    record = processes.load(name)
    if not processes.alive(record):
        raise ClusterError(f"{name} does not run: see `status` for the names, and `up` for bringing it back")
    processes.send(record, signal.SIGCONT if resume else signal.SIGSTOP)
    print(f"{name} {'resumed' if resume else 'paused'} at {time.time():.6f}")


def _etcd_data() -> Path:
    return layout.state_dir() / "etcd"


def save_etcd() -> None:
    """Copies etcd's data as a power cut would leave it: the process stands still meanwhile."""
    copy = layout.state_dir() / "etcd-saved"
    shutil.rmtree(copy, ignore_errors=True)
    pause("etcd")
    try:
        shutil.copytree(_etcd_data(), copy)
    finally:
        pause("etcd", resume=True)


def restore_etcd() -> None:
    """Puts the saved data back, with its older resource versions, under a new etcd and a new API server."""
    copy = layout.state_dir() / "etcd-saved"
    if not copy.exists():
        raise ClusterError("nothing to restore: run `save-etcd` first")
    for name in ("apiserver", "etcd"):
        if processes.alive(processes.load(by_name(name).name)):
            stop(name)
    shutil.rmtree(_etcd_data())
    copy.rename(_etcd_data())
    for name in ("etcd", "apiserver"):
        start(name)
