"""Whole rounds on a Sentinel set of local processes: code, scripts and clients of the bench."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any, Iterator

import pytest

import results
from local_set import DOWN_AFTER_MS, LocalSentinels
from locate import Sentinels, ask
from manifests import SENTINEL_PORT
from plans import Part
from replies import Refusal
from results import Result
from runner import Runner
from sentinel_system import SET
from strikes import STRIKES, Strike

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="needs redis-server")


class NoOperator:
    """These rounds have none."""

    def wait_replicas(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSentinels]:
    one = LocalSentinels(tmp_path_factory.mktemp("set"))
    try:
        one.prepare()
        yield one
    finally:
        one.delete()


def play(system: LocalSentinels, strikes: dict[str, Strike], faults: list[str],
         file: Path) -> list[Result]:
    nothing: Any = NoOperator()
    runner = Runner(system.cluster, nothing, lambda *_: system, strikes, 0, False)
    runner._living["sentinel"] = system  # made before, and not taken away: the tests here share it
    runner._drop = lambda name: None  # type: ignore[method-assign]
    steps = Part(0, ("sentinel",), tuple(faults), 1).steps(results.counts(results.read(file)))
    runner.play_all(steps, file)
    return results.read(file)


def test_rounds_of_a_kill_and_of_a_planned_change(system: LocalSentinels, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    kill, planned = play(system, STRIKES, ["kill", "planned"], file)
    assert not kill.broken and not planned.broken, (kill.broken, planned.broken)
    # No figure is a bar here: a busy machine makes Sentinel do all sorts of things.
    assert kill.write_gap_ms >= DOWN_AFTER_MS * 0.9
    for one in (kill, planned):
        assert one.acknowledged > 100 and one.lost < one.acknowledged
        assert 0 < one.read_pool_gap_ms <= one.read_gap_ms and one.write_gap_ms > 0
        assert one.load >= 0 and one.when and one.failures and one.missing == 0
    assert "refused" in kill.failures
    assert play(system, STRIKES, ["kill", "planned"], file) == [kill, planned]  # not again


def test_a_round_that_breaks_is_told_and_given_up(system: LocalSentinels, tmp_path: Path) -> None:
    def fail(_: object) -> float:
        raise OSError("the fault could not be made")

    broken = {"kill": Strike("kill", "no fault", fail)}
    found = play(system, broken, ["kill"], tmp_path / "lines.jsonl")
    assert len(found) == 1 and "could not be made" in found[0].broken
    assert results.counts(found) == {}


def test_what_sentinels_answer(system: LocalSentinels) -> None:
    hosts = system.sentinels()
    dead = ("127.0.0.1", 1)

    async def find() -> tuple[tuple[str, int], set[tuple[str, int]]]:
        addresses = [dead, *((host, SENTINEL_PORT) for host in hosts)]
        replicas = Sentinels(addresses, SET, replicas=True)
        return await Sentinels(addresses, SET).find(), {await replicas.find() for _ in range(6)}

    primary, replicas = asyncio.run(find())
    assert primary[0] == system.primary().address
    others = {one.address for one in system.members()} - {primary[0]}
    assert {host for host, _ in replicas} == others
    with pytest.raises(ConnectionError):
        asyncio.run(Sentinels([dead], SET).find())
    unknown = asyncio.run(ask((hosts[0], SENTINEL_PORT), "SENTINEL", "REPLICAS", "nobody"))
    assert isinstance(unknown, Refusal)
