"""The CRD against a real API server: what is refused and with which words, what is kept, what may change later."""
from __future__ import annotations

import copy
import itertools
import json
import re
import time

import pytest
import yaml

from apiserver import CRDS, REPOSITORY, ApiServer

CRD = yaml.safe_load((CRDS / "regroup.dev_replicationgroups.yaml").read_text())
VERSION = CRD["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
PATH = "/apis/regroup.dev/v1alpha1/namespaces/default/replicationgroups"
GOOD = {"engine": "redis", "engineVersion": "7.0", "cacheNodeType": "cache.r7g.large", "replicasPerNodeGroup": 2,
        "automaticFailoverEnabled": True, "multiAZEnabled": True}
REMOVE = object()
_numbers = itertools.count(1)


def group(name: str | None = None, **changes) -> dict:
    spec = {**copy.deepcopy(GOOD), **changes}
    return {"apiVersion": "regroup.dev/v1alpha1", "kind": "ReplicationGroup",
            "metadata": {"name": name or f"group-{next(_numbers)}", "namespace": "default"},
            "spec": {key: value for key, value in spec.items() if value is not REMOVE}}


def create(api: ApiServer, body: dict) -> dict:
    status, answer, _ = api.request("POST", PATH, body)
    assert status == 201, answer
    return answer


def message_of(status: int, answer) -> str:
    assert status == 422, f"expected a refusal with 422, got {status}: {answer}"
    return answer["message"]


def patch(api: ApiServer, name: str, body: dict, subresource: str = ""):
    return api.request("PATCH", f"{PATH}/{name}{subresource}", body, content_type="application/merge-patch+json")


# -- good objects ----------------------------------------------------------------------------------

ACCEPTED = {
    "lesson": {},
    "lesson with numCacheClusters": {"numCacheClusters": 3, "replicasPerNodeGroup": REMOVE},
    "lone member": {"replicasPerNodeGroup": REMOVE, "automaticFailoverEnabled": REMOVE, "multiAZEnabled": REMOVE},
    "valkey with resources": {
        "engine": "valkey", "engineVersion": "8.1", "cacheNodeType": REMOVE,
        "resources": {"requests": {"cpu": 1, "memory": "256Mi"}, "limits": {"cpu": "1500m", "memory": "1Gi"}}},
    "everything": {
        "description": "sessions", "numNodeGroups": 1, "replicasPerNodeGroup": 5, "port": 1024,
        "preferredCacheClusterAZs": ["zone-a", "zone-b", "zone-a"],
        "parameters": {"maxmemory-policy": "allkeys-lru", "notify-keyspace-events": "Ex$", "databases": "1",
                       "slowlog-log-slower-than": "-1", "list-max-listpack-size": "-2", "activedefrag": "no",
                       "maxclients": "65000", "timeout": "0", "active-defrag-cycle-max": "75"},
        "storage": {"size": "10Gi", "storageClassName": "fast"},
        "failover": {"writeGuard": "Off", "writeGuardLagSeconds": 60, "unreachableAfterMilliseconds": 500,
                     "unresponsiveAfterMilliseconds": 1000, "unprovenAfterSeconds": 0,
                     "coolDownSeconds": 0, "testFailoversPerDay": 15},
        "placement": {"nodeSelector": {"disk": "ssd"}, "zoneTopologyKey": "example.com/rack", "zoneWaitSeconds": 0,
                      "priorityClassName": "high",
                      "tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoSchedule"},
                                      {"key": "c", "operator": "Exists", "effect": "NoExecute",
                                       "tolerationSeconds": 30}]},
        "authSecretRef": {"name": "web-cache-auth", "key": "token"}, "primaryClusterID": "", "paused": True, "deletionPolicy": "Delete"},
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_and_stored_as_written(api, case):
    body = group(**ACCEPTED[case])
    stored = create(api, body)
    assert stored["spec"] == body["spec"], "spec must come back as it was written: no defaults, nothing pruned"


def test_every_spec_field_is_in_the_accepted_object():
    covered = set(ACCEPTED["everything"]) | set(GOOD) | {"numCacheClusters", "resources"}
    assert set(SCHEMA["properties"]["spec"]["properties"]) == covered


# -- refused objects: bar 9 and its neighbours -------------------------------------------------------

ZONES = ["a", "b", "c", "d"]
NO_REPLICA = {"replicasPerNodeGroup": 0}
REFUSED = {
    # case: (changes, words that must be in the answer)
    "7 replicas": ({"replicasPerNodeGroup": 7}, ["from 0 to 5", "set a number in that range"]),
    "-1 replicas": ({"replicasPerNodeGroup": -1}, ["from 0 to 5"]),
    "7 members": ({"replicasPerNodeGroup": REMOVE, "numCacheClusters": 7}, ["from 1 to 6"]),
    "0 members": ({"replicasPerNodeGroup": REMOVE, "numCacheClusters": 0}, ["from 1 to 6"]),
    "replicas said twice": ({"numCacheClusters": 3}, ["keep one", "replace numCacheClusters"]),
    "unknown engine": ({"engine": "memcached"}, ['supported values: "redis", "valkey"']),
    "no engine": ({"engine": REMOVE}, ["spec.engine: Required"]),
    "no version": ({"engineVersion": REMOVE}, ["spec.engineVersion: Required"]),
    "version without minor": ({"engineVersion": "7"}, ["must be major.minor in quotes"]),
    "version with patch": ({"engineVersion": "7.0.15"}, ["must be major.minor in quotes"]),
    "version as a number": ({"engineVersion": 7.0}, ["spec.engineVersion", "must be of type string"]),
    "node type and resources": ({"resources": {"requests": {"memory": "1Gi"}}},
                                ["exactly one of spec.cacheNodeType", "spec.resources"]),
    "neither node type nor resources": ({"cacheNodeType": REMOVE}, ["exactly one of spec.cacheNodeType"]),
    "node type with a blank": ({"cacheNodeType": "cache r7g"}, ["for example cache.r7g.large"]),
    "resources without memory": ({"cacheNodeType": REMOVE, "resources": {"requests": {"cpu": "1"}}},
                                 ["needs requests.memory or limits.memory"]),
    "memory that is no quantity": ({"cacheNodeType": REMOVE, "resources": {"requests": {"memory": "1 GB"}}},
                                   ["must be a quantity of at least 32Mi"]),
    "memory of a megabyte": ({"cacheNodeType": REMOVE, "resources": {"requests": {"memory": 1048576}}},
                             ["must be a quantity of at least 32Mi"]),
    "request above limit": ({"cacheNodeType": REMOVE,
                             "resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}},
                            ["requests.memory is more than limits.memory"]),
    "CPU request above limit": ({"cacheNodeType": REMOVE, "resources": {
        "requests": {"memory": "2Gi", "cpu": 2}, "limits": {"cpu": "500m"}}}, ["requests.cpu is more than limits.cpu"]),
    "CPU that is no quantity": ({"cacheNodeType": REMOVE, "resources": {
        "requests": {"memory": "2Gi", "cpu": "fast"}}}, ["cpu must be a quantity above zero"]),
    "multi-AZ without replica": ({**NO_REPLICA, "automaticFailoverEnabled": False},
                                 ["multiAZEnabled needs a replica", "set spec.replicasPerNodeGroup to 1"]),
    "multi-AZ with one member": ({"replicasPerNodeGroup": REMOVE, "numCacheClusters": 1},
                                 ["multiAZEnabled needs a replica"]),
    "multi-AZ without failover": ({"automaticFailoverEnabled": REMOVE},
                                  ["needs spec.automaticFailoverEnabled: true"]),
    "failover without replica": ({**NO_REPLICA, "multiAZEnabled": False},
                                 ["automaticFailoverEnabled needs a replica"]),
    "more zones than members": ({"preferredCacheClusterAZs": ZONES}, ["more zones than the group has members"]),
    "more zones than numCacheClusters": ({"replicasPerNodeGroup": REMOVE, "numCacheClusters": 3,
                                          "preferredCacheClusterAZs": ZONES}, ["more zones than the group has members"]),
    "privileged port": ({"port": 80}, ["from 1024 to 65535"]),
    "port too high": ({"port": 65536}, ["from 1024 to 65535"]),
    "two node groups": ({"numNodeGroups": 2}, ["can only be 1 for now"]),
    "storage without size": ({"storage": {}}, ["spec.storage.size: Required"]),
    "storage size in words": ({"storage": {"size": "ten"}}, ["write for example 10Gi"]),
    "storage of nothing": ({"storage": {"size": "0"}}, ["above zero"]),
    "write guard": ({"failover": {"writeGuard": "On"}}, ['supported values: "Auto", "Off"']),
    "guard lag 0": ({"failover": {"writeGuardLagSeconds": 0}}, ["from 1 to 60"]),
    "unreachable at once": ({"failover": {"unreachableAfterMilliseconds": 1}}, ["from 500 to 60000"]),
    "unresponsive at once": ({"failover": {"unresponsiveAfterMilliseconds": 1}}, ["from 1000 to 600000"]),
    "unproven before": ({"failover": {"unprovenAfterSeconds": -1}}, ["from 0 (never) to 86400"]),
    "zone wait before": ({"placement": {"zoneWaitSeconds": -1}}, ["from 0 to 86400"]),
    "toleration Exists with value": ({"placement": {"tolerations": [{"operator": "Exists", "value": "x", "key": "y"}]}},
                                     ["takes no value"]),
    "toleration without key": ({"placement": {"tolerations": [{"value": "x"}]}}, ["needs operator: Exists"]),
    "toleration seconds": ({"placement": {"tolerations": [{"key": "x", "tolerationSeconds": 5}]}},
                           ["only with effect: NoExecute"]),
    "secret without name": ({"authSecretRef": {"key": "x"}}, ["authSecretRef.name: Required"]),
    "secret name with a slash": ({"authSecretRef": {"name": "other/secret"}}, ["name of a Secret in this namespace"]),
    "secret key with a slash": ({"authSecretRef": {"name": "s", "key": "../x"}}, ["key of the Secret's data"]),
    "pause before": ({"failover": {"coolDownSeconds": -1}}, ["from 0 (no pause) to 3600"]),
    "tests a day": ({"failover": {"testFailoversPerDay": 1001}}, ["from 0 to 1000"]),
    "another group's member as primary": ({"primaryClusterID": "other-001"}, ["must name a member of this group"]),
    "a pod that is no member as primary": ({"primaryClusterID": "x-0001"}, ["must name a member of this group"]),
    "deletion policy": ({"deletionPolicy": "Keep"}, ['supported values: "Retain", "Delete"']),
    "long description": ({"description": "x" * 256}, ["255"]),
    "65 parameters": ({"parameters": {f"x{i}": "1" for i in range(65)}}, ["64"]),
    "newline in a value": ({"parameters": {"maxmemory-policy": "noeviction\nreplicaof 10.0.0.1 6379"}},
                           ["control characters such as a newline", "remove them"]),
    "newline at the end of a value": ({"parameters": {"maxclients": "100\n"}}, ["control characters"]),
    "NUL in a value": ({"parameters": {"notify-keyspace-events": "E\u0000x"}}, ["control characters"]),
    "newline in a name": ({"parameters": {"timeout 0\nreplicaof": "1"}}, ["remove it, or correct it"]),
    "parameter as a number": ({"parameters": {"maxclients": 100}}, ["must be of type string"]),
    "unknown parameter": ({"parameters": {"maxmemory-polici": "noeviction"}},
                          ["not a parameter that can be set", "docs/parameters.md"]),
    "parameter in capitals": ({"parameters": {"REPLICAOF": "10.0.0.1 6379"}}, ["not a parameter that can be set"]),
    "parameter with a blank": ({"parameters": {"replicaof ": "10.0.0.1 6379"}}, ["not a parameter that can be set"]),
    "policy": ({"parameters": {"maxmemory-policy": "lru"}}, ["must be one of volatile-lru"]),
    "yes or no": ({"parameters": {"activedefrag": "true"}}, ['must be "yes" or "no"']),
    "keyspace events": ({"parameters": {"notify-keyspace-events": "Eq!"}}, ["may hold only the letters"]),
    "integer with a unit": ({"parameters": {"timeout": "10s"}}, ["whole number from 0 to 1000000000"]),
    "integer too large": ({"parameters": {"timeout": "1000000001"}}, ["whole number from 0 to 1000000000"]),
}
OWNED = {"replicaof": "who follows whom", "slaveof": "who follows whom", "masterauth": "owned by the operator",
         "masteruser": "owned by the operator", "requirepass": "set spec.authSecretRef", "aclfile": "manages the users",
         "user": "manages the users", "port": "set spec.port", "bind": "owned by the operator",
         "protected-mode": "owned by the operator", "dir": "set spec.storage", "appendonly": "set spec.storage",
         "appendfsync": "set spec.storage", "save": "set spec.storage", "maxmemory": "follows from spec.cacheNodeType",
         "include": "owned by the operator", "loadmodule": "owned by the operator",
         "rename-command": "owned by the operator", "hz": "timing rests on it", "dynamic-hz": "timing rests on it",
         "shutdown-timeout": "timing rests on it", "daemonize": "remove them", "supervised": "remove them",
         "logfile": "remove them", "pidfile": "remove them", "dbfilename": "set spec.storage",
         "repl-timeout": "starts with repl-", "replica-read-only": "replica-", "slave-priority": "slave-",
         "min-replicas-to-write": "min-replicas-", "min-slaves-max-lag": "min-slaves-", "tls-port": "tls-",
         "cluster-enabled": "cluster-", "enable-debug-command": "enable-", "unixsocket": "unixsocket",
         "unixsocketperm": "unixsocket"}
REFUSED.update({f"owned {name}": ({"parameters": {name: "1"}}, ["remove", words.replace("rests on it", "rests on them")])
                for name, words in OWNED.items()})


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_raw_post(api, case):
    changes, words = REFUSED[case]
    status, answer, _ = api.request("POST", PATH, group(**changes))
    message = message_of(status, answer)
    for word in words:
        assert word in message


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_kubectl(api, case):
    changes, words = REFUSED[case]
    body = group(**changes)
    done = api.kubectl("apply", "-f", "-", stdin=json.dumps(body), check=False)
    assert done.returncode != 0
    for word in words:
        assert word in done.stderr
    assert api.request("GET", f"{PATH}/{body['metadata']['name']}")[0] == 404


@pytest.mark.parametrize("name, words", [("a" * 41, "at most 40 characters"), ("web.cache", "start with a lowercase letter"),
                                         ("1-cache", "start with a lowercase letter")])
def test_name(api, name, words):
    assert words in message_of(*api.request("POST", PATH, group(name))[:2])
    assert words in api.kubectl("apply", "-f", "-", stdin=json.dumps(group(name)), check=False).stderr


def test_name_of_40_characters(api):
    create(api, group("a" * 40))


def test_unknown_fields_are_refused_by_kubectl_and_warned_of_over_http(api):
    body = group(replicas=3)
    done = api.kubectl("apply", "-f", "-", stdin=json.dumps(body), check=False)
    assert done.returncode != 0 and 'unknown field "spec.replicas"' in done.stderr
    status, answer, headers = api.request("POST", PATH, body)
    assert status == 201 and "replicas" not in answer["spec"]
    assert 'unknown field "spec.replicas"' in headers.get("Warning", "").replace("\\", "")
    status, answer, _ = api.request("POST", PATH + "?fieldValidation=Strict", group(replicas=3))
    assert status == 400 and 'unknown field "spec.replicas"' in answer["message"]


# -- changes -----------------------------------------------------------------------------------------

def test_what_cannot_change(api):
    body = group(storage={"size": "1Gi"})
    name = create(api, body)["metadata"]["name"]
    for changes, words in [({"engine": "valkey"}, "spec.engine cannot be changed; set it back, or create a new group"),
                           ({"port": 7000}, "spec.port cannot be changed"),
                           ({"storage": None}, "spec.storage cannot be added to or removed"),
                           ({"storage": {"size": "2Gi"}}, "spec.storage cannot be changed"),
                           ({"engineVersion": "6.2"}, "cannot be downgraded"),
                           ({"engineVersion": "2.8"}, "cannot be downgraded")]:
        assert words in message_of(*patch(api, name, {"spec": changes})[:2])
    assert api.request("GET", f"{PATH}/{name}")[1]["spec"] == body["spec"]
    assert patch(api, name, {"spec": {"port": 6379}})[0] == 200, "the default, written out, is no change"
    done = api.kubectl("patch", "rg", name, "--type=merge", "-p", '{"spec":{"engineVersion":"6.2"}}', check=False)
    assert done.returncode != 0 and "cannot be downgraded" in done.stderr


def test_versions_compare_as_numbers(api):
    name = create(api, group(engineVersion="7.2"))["metadata"]["name"]
    assert patch(api, name, {"spec": {"engineVersion": "7.10"}})[0] == 200
    assert "cannot be downgraded" in message_of(*patch(api, name, {"spec": {"engineVersion": "7.9"}})[:2])
    assert patch(api, name, {"spec": {"engineVersion": "10.0"}})[0] == 200


def test_a_mistaken_version_can_be_taken_back_to_what_runs(api):
    name = create(api, group())["metadata"]["name"]
    running = {"observedGeneration": 1, "engineVersionActual": "7.0.15"}
    assert patch(api, name, {"status": running}, "/status")[0] == 200
    assert patch(api, name, {"spec": {"engineVersion": "9.9"}})[0] == 200, "no such image: the operator says so"
    assert "cannot be downgraded" in message_of(*patch(api, name, {"spec": {"engineVersion": "6.2"}})[:2])
    assert patch(api, name, {"spec": {"engineVersion": "7.0"}})[0] == 200


def test_a_version_that_never_ran_can_be_corrected(api):
    name = create(api, group(engineVersion="9.9"))["metadata"]["name"]
    assert patch(api, name, {"status": {"observedGeneration": 1, "engineVersionActual": ""}}, "/status")[0] == 200
    assert patch(api, name, {"spec": {"engineVersion": "7.0"}})[0] == 200


# -- scale -------------------------------------------------------------------------------------------

def test_kubectl_scale(api):
    name = create(api, group())["metadata"]["name"]
    assert patch(api, name, {"status": {"replicas": 2, "selector": f"regroup.dev/group={name}"}}, "/status")[0] == 200
    scale = api.request("GET", f"{PATH}/{name}/scale")[1]
    assert scale["spec"]["replicas"] == 2
    assert scale["status"] == {"replicas": 2, "selector": f"regroup.dev/group={name}"}
    api.kubectl("scale", "rg", name, "--replicas=4")
    assert api.request("GET", f"{PATH}/{name}")[1]["spec"]["replicasPerNodeGroup"] == 4
    for replicas, words in [(7, "from 0 to 5"), (0, "multiAZEnabled needs a replica")]:
        done = api.kubectl("scale", "rg", name, f"--replicas={replicas}", check=False)
        assert done.returncode != 0 and words in done.stderr
    assert api.request("GET", f"{PATH}/{name}")[1]["spec"]["replicasPerNodeGroup"] == 4


def test_kubectl_scale_with_num_cache_clusters_says_what_to_do(api):
    name = create(api, group(replicasPerNodeGroup=REMOVE, numCacheClusters=3))["metadata"]["name"]
    done = api.kubectl("scale", "rg", name, "--replicas=4", check=False)
    assert done.returncode != 0 and "replace numCacheClusters by replicasPerNodeGroup" in done.stderr
    change = {"spec": {"numCacheClusters": None, "replicasPerNodeGroup": 2}}
    assert patch(api, name, change)[0] == 200
    api.kubectl("scale", "rg", name, "--replicas=4")


# -- status ------------------------------------------------------------------------------------------

STATUS = {
    "observedGeneration": 3, "status": "available", "replicas": 2, "selector": "regroup.dev/group=x",
    "engineVersionActual": "7.0.15", "pendingRestartParameters": ["databases"],
    "conditions": [{"type": kind, "status": "True", "reason": "R", "message": "M", "observedGeneration": 3,
                    "lastTransitionTime": "2026-11-25T19:44:04Z"}
                   for kind in ("Ready", "Available", "FailoverReady", "Reconciling", "Stalled")],
    "nodeGroups": [{
        "nodeGroupID": "0001", "status": "available", "epoch": 9007199254740993,
        "primary": {"uid": "u1", "name": "x-001", "runID": "r1", "containerID": "containerd://c1"},
        "lineage": [{"replID": "a" * 40, "upTo": 1234567890123}, {"replID": "b" * 40, "upTo": -1}],
        "writeGuard": True, "inSync": [{"uid": "u2", "runID": "r2"}, {"uid": "u2", "runID": "r2"}],
        "members": ["u1", "u2", "u2"], "suspects": ["u0"],
        "transition": {"id": "t1", "fromUID": "u1", "fromName": "x-001", "toUID": "", "toName": "", "reason": "R",
                       "stage": "switching", "startedAt": "2026-11-25T19:44:04.123000Z"},
        "lastFailover": {"id": "t0", "from": "x-002", "to": "x-001", "reason": "R",
                         "finishedAt": "1969-12-31T23:59:59.-01000Z", "durationMilliseconds": 120, "lostBytesMax": -1},
        "primaryEndpoint": {"address": "x-primary.default.svc", "port": 6379},
        "readerEndpoint": {"address": "x-reader.default.svc", "port": 6379},
        "nodeGroupMembers": [{"cacheClusterID": f"x-00{i}", "uid": f"u{i}", "currentRole": "replica",
                              "status": "available", "preferredAvailabilityZone": "zone-a", "node": "node1",
                              "readEndpoint": {"address": "10.244.1.2", "port": 6379}} for i in (1, 2)]}]}


def test_status_survives_a_put_unpruned(api):
    stored = create(api, group())
    stored["status"] = copy.deepcopy(STATUS)
    status, answer, headers = api.request("PUT", f"{PATH}/{stored['metadata']['name']}/status", stored)
    assert status == 200, answer
    assert "Warning" not in headers
    assert answer["status"] == STATUS
    assert api.request("GET", f"{PATH}/{stored['metadata']['name']}")[1]["status"] == STATUS


def test_the_record_of_a_newer_operator_survives(api):
    stored = create(api, group())
    newer = copy.deepcopy(STATUS)
    newer["nodeGroups"][0]["slots"] = {"ranges": [[0, 16383]]}
    newer["nodeGroups"][0]["transition"]["requiredOffset"] = 5
    stored["status"] = newer
    status, answer, _ = api.request("PUT", f"{PATH}/{stored['metadata']['name']}/status", stored)
    assert status == 200 and answer["status"] == newer


def test_spec_and_status_are_written_apart(api):
    stored = create(api, {**group(), "status": STATUS})
    assert "status" not in stored
    stored["status"], stored["spec"]["paused"] = STATUS, True
    answer = api.request("PUT", f"{PATH}/{stored['metadata']['name']}/status", stored)[1]
    assert "paused" not in answer["spec"] and answer["metadata"]["generation"] == 1


def schema_nodes(schema: dict, path: str = ""):
    """(path, schema) of every field, item and map value."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from schema_nodes(child, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from schema_nodes(schema["items"], path + "[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from schema_nodes(schema["additionalProperties"], path + "{}")


def test_the_operator_writes_no_status_field_that_the_schema_lacks():
    source = (REPOSITORY / "operator" / "model" / "group_json.cc").read_text()
    rendered = source[source.index("Json RenderRecord"):source.index("Group ParseGroup")]
    rendered += source[source.index("Json RenderStatus"):]
    written = set(re.findall(r'\["(\w+)"\]', rendered)) | set(re.findall(r'\{\s*"(\w+)",', rendered))
    known = {path.rsplit(".", 1)[-1] for path, _ in schema_nodes(SCHEMA["properties"]["status"], ".status")}
    assert len(written) > 30
    assert written <= known, f"add to the CRD, or it is lost: {sorted(written - known)}"


# -- the schema itself -------------------------------------------------------------------------------

def test_each_field_has_a_description_and_each_list_a_type():
    for path, schema in schema_nodes(SCHEMA):
        if path == ".metadata":  # the API server puts its own text there, and refuses any other
            continue
        assert schema.get("description", "").strip(), f"{path or 'root'} has no description"
        assert "default" not in schema, f"{path}: no defaults are written into objects"
        if schema.get("type") == "array":
            assert schema.get("x-kubernetes-list-type"), f"{path} has no list type"
        if path.startswith(".spec") and schema.get("type") == "string" and "enum" not in schema:
            assert "maxLength" in schema, f"{path} has no maxLength"
    for path, schema in schema_nodes(SCHEMA["properties"]["spec"], ".spec"):
        leaf = "properties" not in schema and path != ".spec" and "[]" not in path and "{}" not in path
        required = path in (".spec.engine", ".spec.engineVersion", ".spec.authSecretRef.name", ".spec.cacheNodeType")
        if leaf and not required:
            assert re.search(r"[Dd]efault", schema["description"]), f"{path}: the text does not say the default"


def test_each_rule_says_what_to_do():
    for path, schema in schema_nodes(SCHEMA):
        for rule in schema.get("x-kubernetes-validations", []):
            assert re.search(r"\b(set|remove|choose|must|keep|write|lower|replace|may hold only|needs)\b", rule["message"]), \
                f"{path}: {rule['message']}"


def test_status_is_never_refused_by_a_rule():
    for path, schema in schema_nodes(SCHEMA["properties"]["status"], ".status"):
        assert not {"enum", "pattern", "minimum", "maximum", "x-kubernetes-validations", "maxItems", "format"} & set(schema) \
            or schema.get("format") in ("int32", "int64"), path


def test_the_api_server_finds_the_schema_structural_and_serves_its_texts(api):
    crd = api.request("GET", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/replicationgroups.regroup.dev")[1]
    conditions = {c["type"]: c["status"] for c in crd["status"]["conditions"]}
    assert conditions.get("Established") == "True" and conditions.get("NonStructuralSchema", "False") == "False"
    text = api.kubectl("explain", "rg.spec.failover").stdout
    assert "writeGuardLagSeconds" in text and "Default 2." in text


def test_printer_columns(api):
    stored = create(api, group("columns"))
    stored["status"] = copy.deepcopy(STATUS)
    api.request("PUT", f"{PATH}/columns/status", stored)
    header, row = api.kubectl("get", "rg", "columns").stdout.splitlines()
    assert header.split() == ["NAME", "STATUS", "PRIMARY", "ENGINE", "VERSION", "REPLICAS", "READY", "FAILOVER", "AGE"]
    assert row.split()[:8] == ["columns", "available", "x-001", "redis", "7.0.15", "2", "True", "True"]
    assert "EPOCH" in api.kubectl("get", "rg", "columns", "-o", "wide").stdout
    assert "columns" in api.kubectl("get", "all").stdout


# -- ratcheting: an object that breaks a newer rule must not be stuck ----------------------------------

@pytest.fixture
def loose_api():
    """An API server of its own, whose CRD has no rule at all: where the old objects come from."""
    def strip(schema: dict) -> None:
        for _, node in list(schema_nodes(schema)):
            for key in ("x-kubernetes-validations", "enum", "maxLength", "minLength", "maxItems", "maxProperties"):
                node.pop(key, None)
    loose = copy.deepcopy(CRD)
    strip(loose["spec"]["versions"][0]["schema"]["openAPIV3Schema"])
    with ApiServer() as server:
        server.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(loose))
        server.kubectl("wait", "--for=condition=Established", "crd/replicationgroups.regroup.dev", "--timeout=30s")
        yield server


def test_old_objects_that_break_newer_rules_can_still_be_worked_on(loose_api):
    long_name = "b" * 50
    bad = {long_name: group(long_name), "seven": group("seven", replicasPerNodeGroup=7),
           "odd": group("odd", engine="keydb", engineVersion="6", parameters={"replicaof": "1\n2", "x": "y" * 2000}),
           "both": group("both", resources={"requests": {"memory": "1"}}, numCacheClusters=9)}
    for body in bad.values():
        create(loose_api, body)
    loose_api.kubectl("apply", "--server-side", "-f", str(CRDS))
    deadline = time.monotonic() + 30
    while loose_api.request("POST", PATH + "?dryRun=All", group(replicasPerNodeGroup=7))[0] != 422:
        assert time.monotonic() < deadline, "the new rules never came into force"
        time.sleep(0.1)
    for name in bad:
        changes = {"metadata": {"labels": {"team": "web"}, "finalizers": ["regroup.dev/members"]}}
        status, answer, _ = patch(loose_api, name, changes)
        assert status == 200, answer
        status, answer, _ = patch(loose_api, name, {"status": STATUS}, "/status")
        assert status == 200, answer
        assert patch(loose_api, name, {"metadata": {"finalizers": None}})[0] == 200
        assert loose_api.request("DELETE", f"{PATH}/{name}")[0] == 200
    create(loose_api, group("fresh"))


# -- one list of parameters: code, CRD, document -------------------------------------------------------

def parameters_in_code() -> dict[str, tuple]:
    source = (REPOSITORY / "operator" / "model" / "parameters.cc").read_text()
    big = int(re.search(r"kBig = ([\d']+);", source)[1].replace("'", ""))
    number = lambda text: big if text == "kBig" else int(text.replace("'", ""))  # noqa: E731
    found = {name: ("integer", number(low), number(high), "kRequiresRestart" in rest) for name, low, high, rest in re.findall(
        r'Integer\("([\w-]+)", (-?[\w\']+), ([\w\']+)([^)]*)\)', source)}
    found.update({name: ("yes/no",) for name in re.findall(r'YesNo\("([\w-]+)"\)', source)})
    found.update({name: ("enum",) for name in re.findall(r'OneOf\("([\w-]+)"', source)})
    found.update({name: ("text",) for name in re.findall(r'notify\.name = "([\w-]+)"', source)})
    return found


def test_the_crd_allows_the_parameters_that_the_code_allows():
    rules = [rule["rule"] for rule in SCHEMA["properties"]["spec"]["properties"]["parameters"]["x-kubernetes-validations"]]
    allow = next(rule for rule in rules if rule.startswith("self.all(k, k in ["))
    assert set(re.findall(r"'([\w-]+)'", allow)) == set(parameters_in_code())


def test_ranges_in_the_crd_are_those_of_the_code(api):
    for name, rule in parameters_in_code().items():
        if rule[0] != "integer":
            continue
        low, high = rule[1], rule[2]
        for value, expected in [(low, 201), (high, 201), (low - 1, 422), (high + 1, 422)]:
            status, answer, _ = api.request("POST", PATH + "?dryRun=All", group(parameters={name: str(value)}))
            assert status == expected, f"{name}={value}: {answer}"
            if expected == 422:
                assert name.rsplit("-", 1)[0] in answer["message"] or name in answer["message"]


def test_the_operator_owned_names_of_the_code_are_refused_with_a_reason():
    source = (REPOSITORY / "operator" / "model" / "parameters.cc").read_text()
    owned = source[source.index("kOwned{"):source.index("const auto found = kOwned")]
    assert set(re.findall(r'\{"([\w-]+)",', owned)) <= set(OWNED)
    prefixes = source[source.index("for (const char* prefix"):source.index("return \"the operator owns")]
    for prefix in re.findall(r'"([\w-]+)"', prefixes):
        assert any(name.startswith(prefix) for name in OWNED), prefix


def test_the_document_lists_every_parameter():
    document = (REPOSITORY / "docs" / "parameters.md").read_text()
    rows = {row[0]: row for row in (
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in document.splitlines() if line.startswith("| `"))}
    for name, rule in parameters_in_code().items():
        assert name in rows, f"docs/parameters.md lacks {name}"
        if rule[0] == "integer":
            assert rows[name][2] == f"{rule[1]} to {rule[2]}", rows[name]
            assert rows[name][4] == ("after a restart" if rule[3] else "at once"), rows[name]
