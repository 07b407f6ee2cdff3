"""The clients against real servers: a kill, a hang, a lost key, and Sentinel's word."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Iterator

import pytest

from client import lost_writes, resp
from clients import reading, writing
from locate import Sentinels, fit_replicas, switched_to
from loopback import Server
from openloop import SEED_KEYS
from replies import Refusal, Replies, Reply
from stats import gap_ms, pooled

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")


def seed(server: Server) -> None:
    server.link.mset({f"seed:{number}": number for number in range(SEED_KEYS)})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    one = Server(tmp_path)
    seed(one)
    yield one
    if one.process.poll() is None:
        one.kill()


def at(port: int) -> list[str]:
    return ["--at", f"127.0.0.1:{port}"]


def test_replies_come_in_pieces() -> None:
    stream = resp("a", "b") + b"+OK\r\n:7\r\n$-1\r\n-READONLY no\r\n*2\r\n+x\r\n*1\r\n:1\r\n"
    whole = list(Replies().feed(stream))
    assert whole[:4] == [[b"a", b"b"], b"OK", 7, None] and whole[5] == [b"x", [1]]
    assert isinstance(whole[4], Refusal) and whole[4].word == "READONLY"
    slow, found = Replies(), []
    for byte in stream:
        found += list(slow.feed(bytes([byte])))
    assert [str(one) for one in found] == [str(one) for one in whole]


def test_sentinels_words() -> None:
    said: Reply = [b"message", b"+switch-master", b"bench 10.0.0.1 6379 10.0.0.2 6380"]
    assert switched_to(said, "bench") == ("10.0.0.2", 6380)
    assert switched_to(said, "other") is None
    assert switched_to([b"subscribe", b"+switch-master", 1], "bench") is None

    def line(ip: str, flags: str) -> list:
        return [b"name", b"x", b"ip", ip.encode(), b"port", b"6379", b"flags", flags.encode()]

    found = fit_replicas([line("10.0.0.3", "slave"), line("10.0.0.2", "slave"),
                          line("10.0.0.4", "s_down,slave,disconnected")])
    assert found == [("10.0.0.2", 6379), ("10.0.0.3", 6379)]


def test_news_of_where_we_are_is_no_news() -> None:
    one = Sentinels([], "bench")
    word: Reply = [b"message", b"+switch-master", b"bench a 1 10.0.0.2 6379"]
    one._heard(word)
    assert one.news.is_set() and asyncio.run(one.find()) == ("10.0.0.2", 6379)
    one._heard(word)  # by the next Sentinel
    assert not one.news.is_set()


def test_a_kill_makes_a_gap_and_nothing_is_made_up_for(server: Server) -> None:
    with writing(at(server.port), 500) as client:
        time.sleep(1.0)
        killed_at = server.kill()
        time.sleep(0.5)
        server.start()
        time.sleep(1.0)
    log = client.logs()[0]
    assert 500 <= gap_ms(log, killed_at, log.stopped) <= 2500
    assert 400 <= len(log.acks) <= 1.05 * 500 * (log.stopped - log.started - 0.5)
    numbers = [number for _, number in log.acks]
    assert numbers == sorted(set(numbers))
    failures = log.failures_in(killed_at)
    assert failures["refused"] > 20
    lost = lost_writes(log, "127.0.0.1", server.port)
    assert len(lost) == sum(when <= killed_at + 0.01 for when, _ in log.acks)


def test_commands_go_out_without_waiting_for_answers(server: Server) -> None:
    """A stop of 50 ms is no time-out, and what was sent meanwhile is answered after it."""
    with writing(at(server.port), 500) as client:
        time.sleep(0.5)
        os.kill(server.process.pid, signal.SIGSTOP)
        time.sleep(0.05)
        when = time.monotonic()
        os.kill(server.process.pid, signal.SIGCONT)
        time.sleep(0.5)
    log = client.logs()[0]
    begin, end = max(log.gaps(when - 0.05, when), key=lambda gap: gap[1] - gap[0])
    assert end - begin >= 0.04
    if not log.failures:  # else the machine was busy elsewhere for longer than 100 ms
        assert sum(end <= when <= end + 0.005 for when, _ in log.acks) >= 15


def test_a_hang_is_a_time_out_and_readers_miss_keys(server: Server) -> None:
    with writing(at(server.port)) as client, reading(at(server.port)) as readers:
        time.sleep(0.5)
        when = time.monotonic()
        os.kill(server.process.pid, signal.SIGSTOP)
        time.sleep(0.7)
        os.kill(server.process.pid, signal.SIGCONT)
        time.sleep(0.5)
        server.link.delete("seed:3")
        time.sleep(0.1)
    log = client.logs()[0]
    assert 650 <= gap_ms(log, when, log.stopped) <= 1700
    assert 2 <= log.failures_in(when)["timeout"] <= 10
    logs = readers.logs()
    assert len(logs) == 3 and len({one.prefix for one in logs}) == 3
    assert 650 <= gap_ms(pooled(logs), when, log.stopped) <= 1700
