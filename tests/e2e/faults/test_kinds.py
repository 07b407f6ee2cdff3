"""The clients of every kind against plain redis-servers: they must see an outage, and its end."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Iterator

import pytest

from faults.kinds import KindsProcess
from faults.runner import kinds_lost
from loopback import Server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server")
    server = Server(tmp_path)
    yield server
    if server.process.poll() is None:
        server.kill()


def test_every_kind_sees_the_outage_and_goes_on(server: Server) -> None:
    with KindsProcess("127.0.0.1", server.port) as kinds:
        time.sleep(1.0)
        killed_at = server.kill()
        time.sleep(1.0)
        server.start()  # empty: all that was acknowledged before is lost
        time.sleep(2.5)
    logs = kinds.logs()
    assert set(logs) == {"pooled", "pipelined", "MULTI", "BLPOP", "pub/sub", "idle"}
    for name, log in logs.items():
        if name == "idle":
            assert log.last_word == "closed"
            continue
        assert 0.9 <= log.longest_gap_s(killed_at) <= 3.4, name
        assert log.beats[-1] > killed_at + 1.0 and log.errors, name
    lost, torn = kinds_lost(logs, "127.0.0.1", server.port)
    for name in ("pooled", "pipelined", "MULTI"):
        before = sum(when <= killed_at for when, _ in logs[name].keys)
        assert before > 0 and abs(lost[name] - before) <= 10, name
    assert torn == 0
    server.link.delete(logs["MULTI"].keys[-1][1])
    assert kinds_lost(logs, "127.0.0.1", server.port)[1] == 1


def test_an_idle_connection_on_a_living_primary_still_works(server: Server) -> None:
    with KindsProcess("127.0.0.1", server.port) as kinds:
        time.sleep(0.3)
    assert kinds.logs()["idle"].last_word == "OK"


def test_an_idle_connection_on_a_demoted_primary_is_told(server: Server) -> None:
    with KindsProcess("127.0.0.1", server.port) as kinds:
        time.sleep(0.3)
        server.link.replicaof("127.0.0.1", 1)
        time.sleep(0.3)
    assert kinds.logs()["idle"].last_word == "READONLY"
