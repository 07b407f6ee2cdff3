"""The data set in each member: a seed that readers read, and so many GB of large values."""

from __future__ import annotations

import os

import redis

from openloop import SEED_KEYS

VALUE_BYTES = 100_000
BATCH = 160  # values in one pipeline: 16 MB
ACKNOWLEDGED_MS = 60_000


def values_of(data_gb: float) -> int:
    return round(data_gb * 1e9 / VALUE_BYTES)


def link_to(host: str, port: int = 6379, timeout: float = 90.0) -> redis.Redis:
    return redis.Redis(host=host, port=port, socket_timeout=timeout, socket_connect_timeout=2.0)


def fill(host: str, data_gb: float, replicas: int, port: int = 6379) -> None:
    """Through the primary. Replicas acknowledge each batch, or their buffers would run over."""
    link = link_to(host, port)
    link.mset({f"seed:{number}": number for number in range(SEED_KEYS)})
    body = os.urandom(VALUE_BYTES)
    count = values_of(data_gb)
    for begin in range(0, count, BATCH):
        pipe = link.pipeline(transaction=False)
        for number in range(begin, min(begin + BATCH, count)):
            pipe.set(f"data:{number}", body)
        pipe.execute()
        if replicas:
            link.wait(replicas, ACKNOWLEDGED_MS)
    if replicas and link.wait(replicas, ACKNOWLEDGED_MS) < replicas:
        raise RuntimeError(f"not all replicas of {host} took the data set")


def missing(host: str, data_gb: float, port: int = 6379) -> int:
    """How many keys of the data set the member lacks."""
    link = link_to(host, port)
    keys = [f"seed:{number}" for number in range(SEED_KEYS)]
    keys += [f"data:{number}" for number in range(values_of(data_gb))]
    there = 0
    for begin in range(0, len(keys), 500):
        there += int(link.exists(*keys[begin:begin + 500]))
    return len(keys) - there


def sweep(host: str, prefix: str, last: int, port: int = 6379) -> None:
    """Takes a round's keys away again, also those of unknown outcome."""
    link = link_to(host, port)
    for begin in range(1, last + 1, 1000):
        link.unlink(*(f"{prefix}:{number}" for number in range(begin, min(begin + 1000, last + 1))))
