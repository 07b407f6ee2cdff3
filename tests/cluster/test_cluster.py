"""Tests of the cluster's pure parts: they need no root, start nothing but a `sleep`, and take a second."""
import signal
import subprocess
from dataclasses import replace

import pytest

import addons
import cluster
import control_plane
import faults
import images
import layout
import network
import processes
from layout import ClusterError


@pytest.fixture
def sleeper():
    child = subprocess.Popen(["sleep", "60"])
    yield child
    child.kill()
    child.wait()


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("REGROUP_CLUSTER_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("REGROUP_CACHE", str(tmp_path / "cache"))


def test_stat_of_a_command_with_spaces_and_parentheses():
    rest = " ".join(["S", "7", *["0"] * 17, "4711", "0"])
    stat = processes.parse_stat(f"12 (a) b (c) {rest}")
    assert (stat.state, stat.parent, stat.start) == ("S", 7, 4711)


def test_a_record_is_the_process_only_with_its_start_and_boot(sleeper):
    record = processes.identify(sleeper.pid, "sleep")
    assert processes.alive(record)
    assert not processes.alive(None)
    for other in (replace(record, start=record.start + 1), replace(record, boot="before")):
        assert not processes.alive(other)
        assert not processes.send(other, signal.SIGKILL)
    assert sleeper.poll() is None


def test_end_ends_the_process_and_a_zombie_counts_as_gone(sleeper):
    record = processes.identify(sleeper.pid, "sleep")
    processes.end([record])
    assert not processes.alive(record)
    assert sleeper.wait() == -signal.SIGKILL


def test_records_survive_on_disk_and_broken_ones_are_ignored(sleeper):
    record = processes.identify(sleeper.pid, "etcd", "digest")
    processes.save(record)
    assert processes.load("etcd") == record
    (layout.state_dir() / "processes" / "half.json").write_text('{"name": "ha')
    assert processes.recorded() == [record]
    processes.forget("etcd")
    assert processes.load("etcd") is None


def test_strays_are_found_by_their_mark():
    child = subprocess.Popen(["sleep", "60"], env=processes.clean_environment())
    try:
        deadline = 100
        while child.pid not in [r.pid for r in processes.strays()] and deadline:
            deadline -= 1
        assert [r.pid for r in processes.strays()] == [child.pid]
    finally:
        child.kill()
        child.wait()


def test_layout_gives_each_node_its_own_addresses():
    nodes = layout.make_nodes(5, 3)
    assert [n.name for n in nodes] == ["node1", "node2", "node3", "node4", "node5"]
    assert [n.zone for n in nodes] == ["zone-a", "zone-b", "zone-c", "zone-a", "zone-b"]
    assert nodes[2].address == "172.30.0.13" and nodes[2].pod_range == "10.244.3.0/24"
    for field in ("address", "pod_range", "veth", "cgroup", "folder", "socket", "cni_network"):
        assert len({getattr(n, field) for n in nodes}) == 5
    assert all(len(n.veth) <= 15 for n in layout.make_nodes(layout.MOST_NODES, 1))


@pytest.mark.parametrize("count,zones", [(0, 3), (10, 3), (3, 0), (3, 27)])
def test_layout_refuses_impossible_sizes(count, zones):
    with pytest.raises(ClusterError):
        layout.make_nodes(count, zones)


def test_size_grows_but_does_not_shrink():
    saved = layout.make_nodes(4, 2)
    assert cluster.choose_nodes(None, None, []) == layout.make_nodes(3, 3)
    assert cluster.choose_nodes(None, None, saved) == saved
    assert len(cluster.choose_nodes(6, None, saved)) == 6
    for asked in ((3, None), (None, 3)):
        with pytest.raises(ClusterError, match="down"):
            cluster.choose_nodes(*asked, saved)


def test_audit_policy_shows_service_accounts_and_all_writes():
    policy = layout.audit_policy()
    accounts, writes, rest = policy["rules"]
    assert accounts == {"level": "Metadata", "userGroups": ["system:serviceaccounts"]}
    assert writes["level"] == "Metadata" and set(writes["verbs"]) >= {"create", "update", "patch", "delete"}
    assert rest == {"level": "None"}
    # Nothing is left out by its kind: leases and events stay visible.
    assert not any("resources" in rule for rule in policy["rules"])


@pytest.mark.parametrize("words", [
    ["up"], ["up", "--nodes", "2", "--zones", "1"], ["down"], ["status"], ["kubeconfig"], ["audit-log"], ["images"],
    ["load", "a.tar", "b.tar"], ["recycle"], ["cut", "node1"], ["heal", "node1"], ["freeze", "ns/pod"],
    ["thaw", "node2"], ["kill", "pod"], ["kill", "ns/pod", "--signal", "TERM"], ["pid", "ns/pod"],
    *([verb, part] for verb in ("stop", "start", "pause", "resume") for part in ("apiserver", "etcd"))])
def test_every_verb_parses(words):
    assert callable(cluster.make_parser().parse_args(words).action)


@pytest.mark.parametrize("words", [[], ["fly"], ["load"], ["cut"], ["stop", "scheduler"], ["up", "--nodes", "x"]])
def test_wrong_words_are_refused(words):
    with pytest.raises(SystemExit):
        cluster.make_parser().parse_args(words)


def test_exec_in_takes_any_command():
    assert cluster.split_exec(["node1", "--", "ip", "-4", "--", "a"]) == ("node1", ["ip", "-4", "--", "a"])
    assert cluster.split_exec(["node1", "ip", "a"]) == ("node1", ["ip", "a"])
    with pytest.raises(ClusterError):
        cluster.split_exec([])


def test_pod_names():
    assert faults.split_pod("ns/pod") == ("ns", "pod")
    assert faults.split_pod("pod") == ("default", "pod")
    for wrong in ("", "ns/", "/pod"):
        with pytest.raises(ClusterError):
            faults.split_pod(wrong)


def test_signal_names():
    assert [faults.signal_number(n) for n in ("KILL", "SIGTERM", "stop", "9")] == [9, 15, 19, 9]
    with pytest.raises(ClusterError):
        faults.signal_number("BOO")


def test_tasks_of_containerd():
    text = "TASK    PID     STATUS\nabc     12      RUNNING\ndef     0       STOPPED\n"
    assert faults.parse_tasks(text) == {"abc": 12}


def test_only_the_proxys_rules_are_removed():
    saved = ("*nat\n:PREROUTING ACCEPT [0:0]\n:KUBE-SERVICES - [0:0]\n:MINE - [0:0]\n"
             '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES\n'
             "-A PREROUTING -j MINE\n-A KUBE-SERVICES -j KUBE-SVC\nCOMMIT\n"
             "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -j DROP\nCOMMIT\n")
    assert network.proxy_removal(saved).splitlines() == [
        "*nat", ":KUBE-SERVICES - [0:0]",
        '-D PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        "-X KUBE-SERVICES", "COMMIT"]
    assert network.proxy_removal("*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n") == ""


def test_volumes_are_bound_to_their_node():
    node = layout.Node(2)
    body = addons.volume(node, 3)
    terms = body["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    assert terms["values"] == ["node2"] and body["spec"]["local"]["path"].startswith(str(node.folder))


def test_an_image_is_keyed_by_what_it_is_built_on():
    assert "debian:bookworm-slim" in images.recipe_text(images.IMAGES["redis"])
    assert images.recipe_text(images.IMAGES["bookworm"]) in images.recipe_text(images.IMAGES["tools"])
    assert len({images.archive(image).parent for image in images.IMAGES.values()}) == len(images.IMAGES)


def test_no_recipe_names_a_registry_or_mirror():
    for path in images.RECIPES.iterdir():
        assert "://" not in path.read_text()


def test_a_block_names_one_direction_and_any_address():
    assert network.block_rule("10.244.1.5", "10.244.2.7", None) == [
        "-s", "10.244.1.5", "-d", "10.244.2.7", "-j", "DROP"]
    assert network.block_rule("any", "172.30.0.1", 6443) == [
        "-d", "172.30.0.1", "-p", "tcp", "--dport", "6443", "-j", "DROP"]
    assert network.block_rule("any", "any", None) == ["-j", "DROP"]


def test_restore_without_a_copy_says_what_to_do():
    with pytest.raises(ClusterError, match="save-etcd"):
        control_plane.restore_etcd()
