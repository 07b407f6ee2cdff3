"""The chart as helm renders it: rights, pod security, catalogue, schema of the values, one CRD."""
from __future__ import annotations

import json
import subprocess
import tarfile

import pytest
import yaml

from apiserver import CRDS, REPOSITORY, tool

CHART = REPOSITORY / "charts" / "regroup"


def helm(*argv: str, check: bool = True) -> subprocess.CompletedProcess:
    done = subprocess.run([tool("helm"), *argv], capture_output=True, text=True, timeout=60)
    if check and done.returncode != 0:
        raise AssertionError(done.stderr or done.stdout)
    return done


def render(*argv: str) -> list[dict]:
    out = helm("template", "regroup", str(CHART), "--namespace", "regroup-system", *argv).stdout
    return [document for document in yaml.safe_load_all(out) if document]


def of_kind(objects: list[dict], *kinds: str) -> list[dict]:
    return [one for one in objects if one["kind"] in kinds]


@pytest.fixture(scope="module")
def objects() -> list[dict]:
    return render()


def test_lint():
    out = helm("lint", "--strict", str(CHART)).stdout
    assert "0 chart(s) failed" in out


def test_no_wildcards_in_rights(objects):
    roles = of_kind(objects, "ClusterRole", "Role")
    assert len(roles) == 5
    for role in roles:
        for rule in role["rules"]:
            for part in ("apiGroups", "resources", "verbs", "resourceNames"):
                assert "*" not in "".join(rule.get(part, [])), role["metadata"]["name"]
            assert not {"escalate", "bind", "impersonate", "deletecollection"} & set(rule["verbs"])
            assert "pods/exec" not in rule["resources"]


def test_rights_are_the_ones_that_the_operator_needs(objects):
    manager = next(one for one in of_kind(objects, "ClusterRole") if one["metadata"]["name"].endswith("-manager"))
    rights = {(group, resource): set(rule["verbs"])
              for rule in manager["rules"] for group in rule["apiGroups"] for resource in rule["resources"]}
    owned = {"get", "list", "watch", "create", "patch", "delete"}
    assert rights == {
        ("regroup.dev", "replicationgroups"): {"get", "list", "watch", "patch", "update"},
        ("regroup.dev", "replicationgroups/status"): {"get", "update", "patch"},
        ("regroup.dev", "replicationgroups/finalizers"): {"update"},
        **{("", name): owned for name in ("pods", "services", "configmaps", "secrets", "persistentvolumeclaims")},
        ("discovery.k8s.io", "endpointslices"): owned | {"update"},
        ("policy", "poddisruptionbudgets"): owned,
        ("", "events"): {"create", "patch"}, ("events.k8s.io", "events"): {"create", "patch"}}
    lease = of_kind(objects, "Role")[0]
    assert lease["metadata"]["namespace"] == "regroup-system"
    assert {verb for rule in lease["rules"] for verb in rule["verbs"]} == {"create", "get", "update"}
    assert {name for rule in lease["rules"] for name in rule.get("resourceNames", [])} == {"regroup"}


def test_openshift_gets_its_extra_right():
    with_routes = render("--api-versions", "route.openshift.io/v1")
    assert "endpointslices/restricted" in json.dumps(with_routes)
    assert "endpointslices/restricted" not in json.dumps(render())


def test_one_namespace_limits_the_rights():
    objects = render("--set", "watchNamespace=shop")
    assert [one["metadata"]["name"] for one in of_kind(objects, "ClusterRoleBinding")] == ["regroup-nodes"]
    bindings = {one["metadata"]["name"]: one["metadata"]["namespace"] for one in of_kind(objects, "RoleBinding")}
    assert bindings == {"regroup-manager": "shop", "regroup-leader-election": "regroup-system"}
    container = of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    assert "--namespace=shop" in container["args"]


def test_every_binding_names_a_role_and_the_service_account(objects):
    names = {(one["kind"], one["metadata"]["name"]) for one in objects}
    account = of_kind(objects, "ServiceAccount")[0]["metadata"]
    for binding in of_kind(objects, "ClusterRoleBinding", "RoleBinding"):
        assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) in names
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account["name"], "namespace": "regroup-system"}]


def test_pods_meet_the_restricted_standard(objects):
    spec = of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]
    assert spec["securityContext"] == {"runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532,
                                       "seccompProfile": {"type": "RuntimeDefault"}}
    for container in spec["containers"]:
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                "capabilities": {"drop": ["ALL"]}}
        assert container["resources"] == {"requests": {"cpu": "50m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}}
    assert not any("hostPath" in volume for volume in spec["volumes"])


def test_two_operators_apart_and_soon_replaced(objects):
    deployment = of_kind(objects, "Deployment")[0]
    pod = deployment["spec"]["template"]["spec"]
    assert deployment["spec"]["replicas"] == 2
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 1}
    assert {one["topologyKey"] for one in pod["topologySpreadConstraints"]} == {
        "kubernetes.io/hostname", "topology.kubernetes.io/zone"}
    assert all(one["whenUnsatisfiable"] == "ScheduleAnyway" for one in pod["topologySpreadConstraints"])
    assert pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0]["weight"] == 100
    assert {(one["key"], one["tolerationSeconds"]) for one in pod["tolerations"]} == {
        ("node.kubernetes.io/not-ready", 5), ("node.kubernetes.io/unreachable", 5)}
    assert of_kind(objects, "PodDisruptionBudget")[0]["spec"]["minAvailable"] == 1
    assert not of_kind(render("--set", "replicas=1"), "PodDisruptionBudget")


def test_selectors_find_the_pods(objects):
    labels = of_kind(objects, "Deployment")[0]["spec"]["template"]["metadata"]["labels"].items()
    for selector in (of_kind(objects, "Deployment")[0]["spec"]["selector"]["matchLabels"],
                     of_kind(objects, "PodDisruptionBudget")[0]["spec"]["selector"]["matchLabels"],
                     of_kind(objects, "Service")[0]["spec"]["selector"]):
        assert selector.items() <= labels


def test_flags_and_probes(objects):
    container = of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "regroup.dev/operator:0.1.0" and container["imagePullPolicy"] == "IfNotPresent"
    assert container["command"] == ["/usr/local/bin/regroup-operator"]
    assert container["args"] == [
        "--catalogue=/etc/regroup/catalogue.json", "--lease-namespace=$(POD_NAMESPACE)", "--lease-name=regroup",
        "--identity=$(POD_NAME)", "--admin-address=0.0.0.0", "--admin-port=8080", "--workers=4", "--log-level=info",
        "--lease-milliseconds=5000", "--renew-deadline-milliseconds=3000", "--retry-milliseconds=1000"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_extra_environment():
    objects = render("--set", "extraEnv[0].name=REGROUP_FAILPOINT", "--set", "extraEnv[0].value=x",
                     "--set", "image.tag=test", "--set", "extraArgs[0]=--x=1")
    container = of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]
    assert {"name": "REGROUP_FAILPOINT", "value": "x"} in container["env"]
    assert container["image"].endswith(":test") and container["args"][-1] == "--x=1"


def catalogue(objects: list[dict]) -> dict:
    return json.loads(of_kind(objects, "ConfigMap")[0]["data"]["catalogue.json"])


def test_catalogue(objects):
    data = catalogue(objects)
    assert data["images"]["redis"]["7.0"] == "docker.io/library/redis:7.0"
    assert data["images"]["valkey"]["8.1"] == "docker.io/valkey/valkey:8.1"
    assert data["classes"]["cache.r7g.large"] == {"memory": "13.07Gi", "vcpu": 2, "maxmemoryBytes": 10527885772}
    assert {name.split(".")[1] for name in data["classes"]} == {"t3", "t4g", "m5", "m6g", "m7g", "r5", "r6g", "r7g"}
    for name, node_class in data["classes"].items():
        memory = float(node_class["memory"].removesuffix("Gi")) * 2**30
        assert isinstance(node_class["maxmemoryBytes"], int), name
        assert 0.74 < node_class["maxmemoryBytes"] / memory < 0.76, f"{name}: 25 percent are reserved"


def test_a_changed_catalogue_restarts_the_operator(objects):
    def checksum(rendered):
        return of_kind(rendered, "Deployment")[0]["spec"]["template"]["metadata"]["annotations"]["checksum/catalogue"]
    changed = render("--set", r"engines.redis.7\.2=registry.example.com/redis:7.2")
    assert catalogue(changed)["images"]["redis"]["7.2"] == "registry.example.com/redis:7.2"
    assert checksum(changed) != checksum(objects)


@pytest.mark.parametrize("setting, words", [
    ("replica=3", "replica"), ("image.repo=x", "repo"), ("logLevel=verbose", "logLevel"), ("workers=0", "workers"),
    ("engines.keydb.x=y", "keydb"), ("leaderElection.leaseMs=1", "leaseMs"), ("engines.redis.seven=x", "seven"),
    ("cacheNodeTypes.mine.memory=4Gi", "vcpu")])
def test_the_schema_refuses_a_typo(setting, words):
    done = helm("template", "regroup", str(CHART), "--set", setting, check=False)
    assert done.returncode != 0 and words in done.stderr


def test_the_chart_carries_the_one_crd(tmp_path):
    with_crds = render("--include-crds")
    source = yaml.safe_load((CRDS / "regroup.dev_replicationgroups.yaml").read_text())
    assert of_kind(with_crds, "CustomResourceDefinition") == [source]
    helm("package", str(CHART), "--destination", str(tmp_path))
    with tarfile.open(next(tmp_path.glob("*.tgz"))) as archive:
        packed = archive.extractfile("regroup/crds/regroup.dev_replicationgroups.yaml").read()
    assert yaml.safe_load(packed) == source
    packaged = helm("template", "regroup", str(next(tmp_path.glob("*.tgz"))), "--include-crds").stdout
    assert "replicationgroups.regroup.dev" in packaged


def test_a_real_api_server_takes_every_object(api):
    api.kubectl("create", "namespace", "regroup-system")
    out = helm("template", "regroup", str(CHART), "--namespace", "regroup-system").stdout
    done = api.kubectl("apply", "--server-side", "--validate=strict", "-f", "-", stdin=out)
    assert "serverside-applied" in done.stdout and "Warning" not in done.stderr
    api.kubectl("label", "namespace", "regroup-system", "pod-security.kubernetes.io/enforce=restricted")
    deployment = api.request("GET", "/apis/apps/v1/namespaces/regroup-system/deployments/regroup")[1]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x-", "namespace": "regroup-system"},
           "spec": deployment["spec"]["template"]["spec"]}
    status, answer, _ = api.request("POST", "/api/v1/namespaces/regroup-system/pods", pod)
    assert status == 201, answer


def test_helm_installs_and_upgrades(api):
    flags = ["--kubeconfig", str(api.kubeconfig), "--namespace", "shop", "--create-namespace", "--set", "fullnameOverride=shop"]
    helm("upgrade", "--install", "shop", str(CHART), *flags)
    notes = helm("upgrade", "--install", "shop", str(CHART), *flags, "--set", "logLevel=debug").stdout
    assert "web-cache-primary:6379" in notes
    helm("uninstall", "shop", *flags[:4])
    assert api.kubectl("get", "crd", "replicationgroups.regroup.dev").returncode == 0
