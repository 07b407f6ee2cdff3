#!/usr/bin/python3
"""A real kube-apiserver with its etcd on loopback ports, for contract and integration tests.

    with ApiServer() as api:
        api.apply(crds); status, body, headers = api.request("POST", path, {...}); api.kubectl("get", "rg")

As a program: `apiserver.py --print-kubeconfig [--crds]` starts both, prints the path of an admin kubeconfig (client
certificate) on one line, and ends both when its standard input closes or it gets SIGTERM. Nothing else of a cluster
runs: no controller, scheduler or kubelet, so objects stay as they are written. The binaries come from
$REGROUP_CACHE/tools/current (default /var/cache/regroup), where tests/cluster/build_tools.sh puts them.
"""
from __future__ import annotations

import argparse
import ctypes
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CRDS = REPOSITORY / "crds"
TOKEN = "integration-test-token"
START_SECONDS = 60
_PR_SET_PDEATHSIG = 1


def tool(name: str) -> str:
    """The path of a built tool, or an error that says how to get it."""
    cache = Path(os.environ.get("REGROUP_CACHE", "/var/cache/regroup"))
    path = cache / "tools" / "current" / name
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(f"{path} is missing; build it with tests/cluster/build_tools.sh (./dev does it)")
    return str(path)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class ApiServer:
    """Starts on entry, ends on exit; the folder with data, keys and logs goes with it unless `keep`."""

    def __init__(self, keep: bool = False, extra_args: tuple[str, ...] = ()):
        self.keep = keep
        self.extra_args = extra_args
        self.folder = Path(tempfile.mkdtemp(prefix="regroup-apiserver-"))
        self.kubeconfig = self.folder / "kubeconfig"
        self.token = TOKEN
        self.url = ""
        self._processes: list[subprocess.Popen] = []

    def __enter__(self) -> "ApiServer":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.stop()

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> None:
        etcd_port, peer_port, port = _free_ports(3)
        self.url = f"https://127.0.0.1:{port}"
        self._make_keys()
        self._write_kubeconfig()
        etcd = f"http://127.0.0.1:{etcd_port}"
        self._spawn("etcd", "--data-dir", self.folder / "etcd", "--listen-client-urls", etcd,
                    "--advertise-client-urls", etcd, "--listen-peer-urls", f"http://127.0.0.1:{peer_port}",
                    "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer_port}",
                    "--initial-cluster", f"default=http://127.0.0.1:{peer_port}",
                    "--unsafe-no-fsync", "--log-level", "warn")
        pki = self.folder / "pki"
        self._spawn("kube-apiserver", f"--etcd-servers={etcd}", f"--secure-port={port}", "--bind-address=127.0.0.1",
                    "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none",
                    "--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=Node,RBAC",
                    "--disable-admission-plugins=ServiceAccount", f"--client-ca-file={pki}/ca.crt",
                    f"--tls-cert-file={pki}/server.crt", f"--tls-private-key-file={pki}/server.key",
                    f"--token-auth-file={pki}/tokens.csv", "--service-account-issuer=https://kubernetes.default.svc",
                    f"--service-account-key-file={pki}/accounts.key",
                    f"--service-account-signing-key-file={pki}/accounts.key", *self.extra_args)
        self._await_ready()

    def stop(self) -> None:
        for process in reversed(self._processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        if not self.keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    def pids(self) -> dict[str, int]:
        return {Path(process.args[0]).name: process.pid for process in self._processes}

    def _spawn(self, name: str, *argv) -> None:
        with open(self.folder / f"{name}.log", "wb") as log:
            self._processes.append(subprocess.Popen(
                [tool(name), *map(str, argv)], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                cwd=self.folder, start_new_session=True, preexec_fn=die_with_parent))

    def _await_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for process in self._processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args[0]} ended with {process.returncode}:\n{self._log_tail(process)}")
            try:
                if self.request("GET", "/readyz")[0] == 200 and self.request("GET", "/api/v1/namespaces/default")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.1)
        raise RuntimeError(f"kube-apiserver is not ready after {START_SECONDS} s:\n{self._log_tail(self._processes[-1])}")

    def _log_tail(self, process: subprocess.Popen) -> str:
        log = self.folder / f"{Path(process.args[0]).name}.log"
        return log.read_text(errors="replace")[-3000:]

    # -- keys ------------------------------------------------------------------------------------

    def _openssl(self, *argv: str) -> None:
        done = subprocess.run(["openssl", *argv], cwd=self.folder / "pki", capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"openssl {argv[0]} failed: {done.stderr[-1000:]}")

    def _sign(self, name: str, subject: str, extensions: str) -> None:
        (self.folder / "pki" / f"{name}.ext").write_text(extensions)
        self._openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                      "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject)
        self._openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                      "-days", "2", "-out", f"{name}.crt", "-extfile", f"{name}.ext")

    def _make_keys(self) -> None:
        pki = self.folder / "pki"
        pki.mkdir(mode=0o700)
        self._openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                      "-keyout", "ca.key", "-out", "ca.crt", "-subj", "/CN=regroup-test-ca")
        self._sign("server", "/CN=kube-apiserver",
                   "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n")
        self._sign("admin", "/O=system:masters/CN=admin", "extendedKeyUsage=clientAuth\n")
        self._openssl("genrsa", "-out", "accounts.key", "2048")
        (pki / "tokens.csv").write_text(f'{TOKEN},token-admin,token-admin,"system:masters"\n')

    def _write_kubeconfig(self) -> None:
        pki = self.folder / "pki"
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "test", "preferences": {},
                  "clusters": [{"name": "test", "cluster": {"server": self.url, "certificate-authority": f"{pki}/ca.crt"}}],
                  "users": [{"name": "admin", "user": {"client-certificate": f"{pki}/admin.crt",
                                                       "client-key": f"{pki}/admin.key"}}],
                  "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin", "namespace": "default"}}]}
        self.kubeconfig.write_text(json.dumps(config, indent=1))  # JSON is YAML

    # -- use -------------------------------------------------------------------------------------

    def request(self, method: str, path: str, body=None, content_type: str = "application/json",
                timeout: float = 30) -> tuple[int, dict | str, dict]:
        """One plain HTTP request with the bearer token; the body of an answer as JSON where it is JSON."""
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers={
            "Authorization": f"Bearer {TOKEN}", "Content-Type": content_type, "Accept": "application/json"})
        context = ssl.create_default_context(cafile=str(self.folder / "pki" / "ca.crt"))
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=context) as answer:
                status, text, headers = answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            status, text, headers = error.code, error.read().decode(), dict(error.headers)
        try:
            return status, json.loads(text), headers
        except ValueError:
            return status, text, headers

    def kubectl(self, *argv: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess:
        done = subprocess.run([tool("kubectl"), "--kubeconfig", str(self.kubeconfig), *argv], input=stdin, text=True,
                              capture_output=True, timeout=60,
                              env={**os.environ, "KUBECACHEDIR": str(self.folder / "kubectl-cache")})
        if check and done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(argv)}: {done.stderr or done.stdout}")
        return done

    def install_crds(self) -> None:
        self.kubectl("apply", "--server-side", "-f", str(CRDS))
        self.kubectl("wait", "--for=condition=Established", "crd/replicationgroups.regroup.dev", "--timeout=30s")


def _main() -> int:
    parser = argparse.ArgumentParser(description="etcd and kube-apiserver on loopback ports until stdin closes")
    parser.add_argument("--print-kubeconfig", action="store_true", help="print the kubeconfig's path (always done)")
    parser.add_argument("--crds", action="store_true", help="install the CRDs before printing")
    parser.add_argument("--keep", action="store_true", help="keep the folder with data, keys and logs")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with ApiServer(keep=options.keep) as api:
        if options.crds:
            api.install_crds()
        print(api.kubeconfig, flush=True)
        while sys.stdin.read(1):
            pass
    return 0


if __name__ == "__main__":
    sys.exit(_main())
