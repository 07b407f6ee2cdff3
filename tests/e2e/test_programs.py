"""The measuring programs themselves, against plain redis-server processes: no cluster is needed.

A check that cannot fail proves nothing: here two members do take writes at one time, and
acknowledged writes are lost, and the programs must say so.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Iterator

import pytest

from client import ClientProcess, WriteLog
from harness import wait_for
from loopback import Server
from observer import ObserverLog, ObserverProcess, Ok, check_one_writer, overlaps


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[list[Server]]:
    """A primary and its replica."""
    if shutil.which("redis-server") is None:
        pytest.skip("needs redis-server")
    servers = [Server(tmp_path) for _ in range(2)]
    servers[1].link.replicaof("127.0.0.1", servers[0].port)
    wait_for("the replica follows", 15, lambda: (
        servers[1].link.info("replication")["master_link_status"] == "up", ""), 0.05)
    yield servers
    for server in servers:
        if server.process.poll() is None:
            server.kill()


def watch(servers: list[Server]) -> ObserverProcess:
    return ObserverProcess({f"m{n}": f"127.0.0.1:{server.port}"
                            for n, server in enumerate(servers)})


def test_client_sees_the_gap_and_the_loss(pair: list[Server]) -> None:
    with ClientProcess("127.0.0.1", pair[0].port) as client:
        time.sleep(1)
        killed_at = pair[0].kill()
        time.sleep(0.3)
        pair[0].start()  # empty: all that was acknowledged is lost
        time.sleep(0.5)
    log = client.log()
    assert log.rate() >= 50
    assert 300 <= log.longest_gap_ms(killed_at - 0.01) <= 5000
    assert log.longest_gap_ms(0, killed_at - 0.2) < 300
    before = [ack for ack in log.acks if ack[0] <= killed_at]
    assert abs(len(client.lost()) - len(before)) <= 1
    assert log.failures_in(killed_at)


def test_client_counts_an_open_gap() -> None:
    log = WriteLog("p", [(1.0, 1), (1.1, 2)], [], started=0.9, stopped=3.1)
    assert log.longest_gap(1.05) == (1.1, 3.1)
    assert log.longest_gap(0, 0.95) == (0.9, 1.0)


def test_observer_accepts_a_clean_failover(pair: list[Server]) -> None:
    with watch(pair) as observer:
        time.sleep(0.4)
        pair[0].kill()
        pair[1].link.replicaof("NO", "ONE")
        time.sleep(0.4)
    log = observer.log()
    assert log.writers() == ["m0", "m1"]
    assert not check_one_writer(log, 1)
    assert check_one_writer(log, 0)  # without a new term the same is wrong


def test_observer_finds_two_writers(pair: list[Server]) -> None:
    with watch(pair) as observer:
        time.sleep(0.3)
        pair[1].link.replicaof("NO", "ONE")  # nobody fenced the other one
        time.sleep(0.3)
        pair[0].kill()
    log = observer.log()
    found = overlaps(log.spans())
    assert found and found[0].certain and "both took writes" in str(found[0])
    assert check_one_writer(log, 1)


def test_observer_takes_new_members(pair: list[Server]) -> None:
    with watch(pair[:1]) as observer:
        time.sleep(0.1)
        observer.add({"late": f"127.0.0.1:{pair[0].port}"})
        time.sleep(0.3)
    assert observer.log().first_ok("late") is not None


def test_spans_end_at_any_other_outcome() -> None:
    oks = [Ok(t, t + 0.001, "a") for t in (1.0, 1.1, 1.3)]
    log = ObserverLog(oks, [(1.2, "a", "READONLY"), (1.05, "b", "READONLY")])
    assert [(span.first.sent, span.last.sent) for span in log.spans()] == [(1.0, 1.1), (1.3, 1.3)]
