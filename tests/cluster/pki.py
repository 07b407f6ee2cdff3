"""Certificates and kubeconfigs: one CA of the cluster's own, made by openssl, each file made once."""
from __future__ import annotations

import base64
import tempfile
from pathlib import Path

import yaml

import layout
from layout import Node
from processes import run, say

# kubeconfig name -> subject; the groups and users are those that Kubernetes' own roles are bound to.
USERS = {
    "admin": "/O=system:masters/CN=admin",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    "coredns": "/CN=system:coredns",
}
DAYS = "3650"


def ensure(nodes: list[Node]) -> None:
    """Makes whatever certificate, key or kubeconfig is missing."""
    folder = layout.pki_dir()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not (folder / "ca.crt").exists():
        say("making certificates")
        _key("ca")
        run("openssl", "req", "-x509", "-new", "-key", f"{folder}/ca.key", "-days", DAYS,
            "-subj", "/CN=regroup-cluster", "-out", f"{folder}/ca.crt")
    if not (folder / "sa.pub").exists():
        run("openssl", "genrsa", "-out", f"{folder}/sa.key", "2048")
        run("openssl", "rsa", "-in", f"{folder}/sa.key", "-pubout", "-out", f"{folder}/sa.pub")
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local",
             "localhost"]
    addresses = ["127.0.0.1", layout.MACHINE_ADDRESS, layout.API_SERVICE_ADDRESS]
    _certificate("apiserver", "/CN=kube-apiserver", [f"DNS:{n}" for n in names] + [f"IP:{a}" for a in addresses])
    for user, subject in USERS.items():
        _certificate(user, subject, [])
        _kubeconfig(user)
    for node in nodes:
        _certificate(node.name, f"/O=system:nodes/CN=system:node:{node.name}",
                     [f"IP:{node.address}", f"DNS:{node.name}"])
        _kubeconfig(node.name)


def _key(name: str) -> None:
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{layout.pki_dir()}/{name}.key")


def _certificate(name: str, subject: str, alternatives: list[str]) -> None:
    folder = layout.pki_dir()
    if (folder / f"{name}.crt").exists():
        return
    _key(name)
    extensions = "extendedKeyUsage=serverAuth,clientAuth\n"
    if alternatives:
        extensions += f"subjectAltName={','.join(alternatives)}\n"
    with tempfile.TemporaryDirectory() as work:
        Path(work, "extensions").write_text(extensions)
        run("openssl", "req", "-new", "-key", f"{folder}/{name}.key", "-subj", subject, "-out", f"{work}/csr")
        run("openssl", "x509", "-req", "-in", f"{work}/csr", "-CA", f"{folder}/ca.crt", "-CAkey", f"{folder}/ca.key",
            "-set_serial", f"0x{_serial()}", "-days", DAYS, "-extfile", f"{work}/extensions", "-out", f"{work}/crt")
        (folder / f"{name}.crt.part").write_text(Path(work, "crt").read_text())
    (folder / f"{name}.crt.part").rename(folder / f"{name}.crt")


def _serial() -> str:
    return run("openssl", "rand", "-hex", "8").strip()


def _kubeconfig(user: str) -> None:
    """A kubeconfig that holds its keys itself, so that a copy of it works anywhere on the machine."""
    path = layout.kubeconfig(user)
    if path.exists():
        return

    def inline(file: str) -> str:
        return base64.b64encode((layout.pki_dir() / file).read_bytes()).decode()

    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "regroup",
        "clusters": [{"name": "regroup", "cluster": {"server": layout.API_URL,
                                                     "certificate-authority-data": inline("ca.crt")}}],
        "users": [{"name": user, "user": {"client-certificate-data": inline(f"{user}.crt"),
                                          "client-key-data": inline(f"{user}.key")}}],
        "contexts": [{"name": "regroup", "context": {"cluster": "regroup", "user": user}}],
    }
    part = path.with_suffix(".part")
    part.touch(mode=0o600)
    part.write_text(yaml.safe_dump(config, sort_keys=False))
    part.rename(path)
