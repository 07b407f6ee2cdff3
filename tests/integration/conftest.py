import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from apiserver import ApiServer  # noqa: E402


@pytest.fixture(scope="session")
def api():
    """A real kube-apiserver with the CRDs, shared by all tests of the run; each test uses its own names."""
    with ApiServer() as server:
        server.install_crds()
        yield server
