"""The systems that live at present, rounds on them in turn, and what is told meanwhile."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Callable, Iterable, Mapping

import report
import results
from harness import TROUBLE, Cluster
from operator_control import Operator
from plans import Step
from results import Result
from rounds import run_round
from strikes import Strike
from systems import System

NOT_AGAIN = 2  # broken rounds of one kind, after which a run gives that kind up
Make = Callable[[Cluster, str, float], System]


class Runner:
    def __init__(self, cluster: Cluster, operator: Operator, make: Make,
                 strikes: Mapping[str, Strike], data_gb: float, alone: bool) -> None:
        self.cluster, self.operator, self.data_gb, self.alone = cluster, operator, data_gb, alone
        self._make, self._strikes = make, strikes
        self._living: dict[str, System] = {}

    def play_all(self, steps: Iterable[Step], lines: Path) -> None:
        """Each round is kept as soon as it is over."""
        broken: dict[tuple[str, str], int] = {}
        try:
            for step in steps:
                kind = (step.system, step.fault)
                if broken.get(kind, 0) < NOT_AGAIN:
                    one = self._play(step)
                    results.add(lines, one)
                    broken[kind] = broken.get(kind, 0) + bool(one.broken)
        finally:
            for name in list(self._living):
                self._drop(name)

    def _play(self, step: Step) -> Result:
        """Never raises for a system that breaks: that is told, and it is made anew next time."""
        begin = time.monotonic()
        try:
            system = self._get(step.system)
            self.operator.wait_replicas(2, 120)
            system.rest()
            result = run_round(system, self._strikes[step.fault], self.operator)
        except (*TROUBLE, AssertionError) as error:
            traceback.print_exc()
            result = Result(step.system, step.fault, self.data_gb, when=results.now(),
                            version=results.version(), load=os.getloadavg()[0],
                            broken=f"{type(error).__name__}: {error}"[:500])
            self._drop(step.system)
        if self.alone:
            self._drop(step.system)
        say(f"{step.fault} {step.number}/{step.of} {step.system}: {report.line(result)}; "
            f"took {time.monotonic() - begin:.0f} s")
        return result

    def _get(self, name: str) -> System:
        if name not in self._living:
            # Known before it is whole, so that a half-made one is taken away as well.
            self._living[name] = self._make(self.cluster, name, self.data_gb)
            self._living[name].prepare()
        return self._living[name]

    def _drop(self, name: str) -> None:
        system = self._living.pop(name, None)
        try:
            if system is not None:
                system.delete()
        except (*TROUBLE, AssertionError) as error:
            say(f"{name} was not taken away: {error}")


def on_cluster(namespace: str, work: Callable[[Cluster, Operator], None]) -> bool:
    """The deployed operator, whole, and a namespace of our own. False if that fails."""
    # Whatever ends a run, what it broke is undone and what it made is taken away.
    signal.signal(signal.SIGTERM, _stop)
    cluster = Cluster()
    operator = Operator(cluster, "")
    try:
        operator.stop_failpoint()
        operator.scale(2)
        cluster.make_namespace(namespace)
        work(cluster, operator)
        cluster.drop_namespace(namespace)
        return True
    except (*TROUBLE, AssertionError) as error:
        print(f"the cluster is not fit for a run: {error}\n"
              "`./dev cluster up && ./dev deploy` first", file=sys.stderr)
        return False
    finally:
        cluster.close()


def _stop(*_: object) -> None:
    raise SystemExit("stopped")


def available_gb() -> float:
    for text in Path("/proc/meminfo").read_text().splitlines():
        if text.startswith("MemAvailable:"):
            return int(text.split()[1]) * 1024 / 1e9
    return 0.0


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
