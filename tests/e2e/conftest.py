"""Session fixtures: the cluster, the installed operator, a namespace for each test file."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, Callable, Generator, Iterator

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from group import Group  # noqa: E402
from harness import Cluster, Json, NeedsLocalCluster, Settings  # noqa: E402
from operator_control import DEPLOYMENT_PATH, Operator  # noqa: E402


DEMO_NAMESPACE = "regroup-demo"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--context", default=os.environ.get("REGROUP_E2E_CONTEXT", ""),
                     help="a kubectl context; default: the local cluster of tests/cluster")
    parser.addoption("--image", default=os.environ.get("REGROUP_E2E_IMAGE", ""),
                     help="the operator's image, as the cluster knows it; default: what is deployed")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, None]:
    """A fault that this cluster cannot have is a skip that names the fault."""
    outcome = yield
    error = outcome.excinfo[1] if outcome.excinfo else None
    if isinstance(error, NeedsLocalCluster):
        outcome.force_exception(pytest.skip.Exception(f"needs the local cluster: {error}"))


@pytest.fixture(scope="session")
def settings() -> Settings:
    return Settings()


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    cluster = Cluster(request.config.getoption("--context"))
    yield cluster
    cluster.close()


@pytest.fixture(scope="session")
def operator(cluster: Cluster, request: pytest.FixtureRequest) -> Operator:
    """Installed by helm (here, or before), both replicas ready, one of them leading."""
    operator = Operator(cluster, request.config.getoption("--image"))
    operator.stop_failpoint()
    if operator.image:
        try:
            operator.install()
        except RuntimeError as error:  # once, instead of once for every test
            pytest.exit(f"the operator cannot be installed: {error}", returncode=1)
    elif cluster.find(DEPLOYMENT_PATH) is None:
        pytest.exit("no operator is deployed: `./dev deploy` first, or --image REF", returncode=2)
    else:
        operator.scale(2)
    operator.wait_leader()
    if cluster.local:  # the demo's kept group holds the memory that bar 3's group needs
        cluster.drop_namespace(DEMO_NAMESPACE)
    return operator


@pytest.fixture(scope="module")
def namespace(cluster: Cluster, operator: Operator,
              request: pytest.FixtureRequest) -> Iterator[str]:
    name = "e2e-" + Path(str(request.path)).stem.removeprefix("test_").replace("_", "-")
    cluster.make_namespace(name)
    yield name
    cluster.drop_namespace(name)


@pytest.fixture
def make_group(cluster: Cluster, namespace: str) -> Iterator[Callable[..., Group]]:
    """Makes a group and waits until all its members are in sync. After the test its deletion
    begins; who makes one of the same name, and the end of the namespace, wait for it."""
    made: list[Group] = []

    def make(manifest: Json, wait: bool = True) -> Group:
        spec = manifest["spec"]
        members = spec.get("numCacheClusters") or spec.get("replicasPerNodeGroup", 0) + 1
        group = Group(cluster, namespace, manifest["metadata"]["name"])
        made.append(group)
        group.wait_gone()
        group.create(manifest)
        if wait:
            group.wait_settled(members, 60)
        return group

    yield make
    for group in made:
        group.delete(wait=False)


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints a figure past pytest's capture: one line a bar."""
    def write(text: str) -> None:
        with capsys.disabled():
            print("\n" + text, flush=True)
    return write
