#!/usr/bin/env python3
"""Failover side by side: `./dev bench failover [--rounds N] [--systems A,B] [--faults A,B] [--data GB]`.

Regroup, Redis Sentinel and the role-label design live in one cluster and take the same faults in turn,
under the same open-loop clients. Each round is a line of build/bench/failover.jsonl; rounds that are there
already are not made again, so a run that was broken off goes on. `--write` renders the page and the chart.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import paths  # noqa: E402
import plans  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
from chart import bars_of, svg  # noqa: E402
from harness import TROUBLE, Cluster  # noqa: E402
from operator_control import Operator  # noqa: E402
from plans import Part, Step  # noqa: E402
from regroup_system import RegroupSystem  # noqa: E402
from results import Result  # noqa: E402
from rolelabel_system import RoleLabelSystem  # noqa: E402
from rounds import run_round  # noqa: E402
from sentinel_system import SentinelSystem  # noqa: E402
from strikes import STRIKES  # noqa: E402
from systems import System  # noqa: E402

NAMESPACE = "bench-failover"
LINES = results.FOLDER / "failover.jsonl"
PAGE = paths.ROOT / "docs" / "figures-failover.md"
CHART = paths.ROOT / "docs" / "failover.svg"
# Sentinel's own time-outs for Regroup: 1 s for a process that hangs, and less for the other two.
TUNED = {"unresponsiveAfterMilliseconds": 1000, "unreachableAfterMilliseconds": 500,
         "writeGuardLagSeconds": 1}
NOT_AGAIN = 2  # broken rounds of one kind, after which a run gives that kind up


def make(name: str, cluster: Cluster, data_gb: float) -> System:
    if name == "regroup":
        return RegroupSystem(cluster, NAMESPACE, data_gb, name)
    if name == "regroup-tuned":
        return RegroupSystem(cluster, NAMESPACE, data_gb, name, TUNED)
    if name == "sentinel":
        return SentinelSystem(cluster, NAMESPACE, data_gb, name, 1000, 3000)
    if name == "sentinel-default":
        return SentinelSystem(cluster, NAMESPACE, data_gb, name, 30_000, 180_000)
    return RoleLabelSystem(cluster, NAMESPACE, data_gb)


class Run:
    """The systems that live at present, and rounds on them."""

    def __init__(self, cluster: Cluster, operator: Operator, part: Part) -> None:
        self.cluster, self.operator, self.part = cluster, operator, part
        self.living: dict[str, System] = {}
        self.alone = part.alone(available_gb())

    def play(self, step: Step) -> Result:
        """Never raises for a system that breaks: that is told, and it is made anew for its next round."""
        begin = time.monotonic()
        try:
            system = self._get(step.system)
            self.operator.wait_replicas(2, 120)
            system.rest()
            result = run_round(system, STRIKES[step.fault], self.operator)
        except (*TROUBLE, AssertionError) as error:
            traceback.print_exc()
            result = Result(step.system, step.fault, self.part.data_gb, when=results.now(),
                            version=results.version(), load=os.getloadavg()[0],
                            broken=f"{type(error).__name__}: {error}"[:500])
            self._drop(step.system)
        if self.alone:
            self._drop(step.system)
        say(f"{step.fault} {step.number}/{step.of} {step.system}: {line(result)}; "
            f"took {time.monotonic() - begin:.0f} s")
        return result

    def _get(self, name: str) -> System:
        if name not in self.living:
            # Known before it is whole, so that a half-made one is taken away as well.
            self.living[name] = make(name, self.cluster, self.part.data_gb)
            self.living[name].prepare()
        return self.living[name]

    def _drop(self, name: str) -> None:
        system = self.living.pop(name, None)
        try:
            if system is not None:
                system.delete()
        except (*TROUBLE, AssertionError) as error:
            say(f"{name} was not taken away: {error}")

    def close(self) -> None:
        for name in list(self.living):
            self._drop(name)


def available_gb() -> float:
    for text in Path("/proc/meminfo").read_text().splitlines():
        if text.startswith("MemAvailable:"):
            return int(text.split()[1]) * 1024 / 1e9
    return 0.0


def line(one: Result) -> str:
    if one.broken:
        return f"BROKEN: {one.broken}"
    words = [f"write gap {report.time_words(one.write_gap_ms)}",
             f"read gap {report.time_words(one.read_gap_ms)}",
             f"lost {one.lost:,} of {one.acknowledged:,}", f"two writers {one.two_writers_s:.1f} s"]
    if one.stages:
        told = " + ".join(f"{name} {ms:.0f}" for name, ms in one.stages.items())
        words.append(f"{told} = {sum(one.stages.values()):.0f} ms")
    words.append("not whole in time" if one.whole_s is None else f"whole after {one.whole_s:.1f} s")
    return "; ".join([*words, f"load {one.load:.1f}", *one.notes])


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev bench failover",
                                     description=(__doc__ or "").splitlines()[0])
    names = lambda text: [one for one in text.split(",") if one]  # noqa: E731
    parser.add_argument("--rounds", type=int, default=0, help="of each kind; default: 20, with data 10 "
                        "or 5; never more than 3 of sentinel-default")
    parser.add_argument("--systems", type=names, default=[], metavar="A,B",
                        help=f"of {', '.join(plans.SYSTEMS)}")
    parser.add_argument("--faults", type=names, default=[], metavar="A,B",
                        help=f"of {', '.join(STRIKES)}")
    parser.add_argument("--data", type=float, action="append", metavar="GB",
                        help="in each member; several times: one after the other; default: none")
    parser.add_argument("--all", action="store_true", help="without data, with 1 GB and with 4 GB")
    parser.add_argument("--fresh", action="store_true", help="earlier rounds do not count")
    parser.add_argument("--write", action="store_true", help=f"render {PAGE.name} and {CHART.name}")
    parser.add_argument("--tell", action="store_true", help="no rounds; only what is known so far")
    args = parser.parse_args()
    wrong = plans.unknown(args.systems, args.faults)
    if wrong:
        parser.error(wrong)
    return args


def write(found: list[Result]) -> None:
    groups = report.grouped(found)
    note = ("Bar: median; line: worst. Log scale. Same cluster, engine and open-loop client, in turn; "
            + ", ".join(sorted({one.when[:10] for one in found if one.when})[-1:]))
    PAGE.write_text(report.page(PAGE.read_text(), found))
    CHART.write_text(svg(bars_of(groups), "Write gap of a failover, empty sets", note))
    say(f"written: {PAGE.relative_to(paths.ROOT)}, {CHART.relative_to(paths.ROOT)}")


def run(parts: list[Part]) -> None:
    cluster = Cluster()
    operator = Operator(cluster, "")
    try:
        operator.stop_failpoint()
        operator.scale(2)
        cluster.make_namespace(NAMESPACE)
        for part in parts:
            current = Run(cluster, operator, part)
            broken: dict[tuple[str, str], int] = {}
            say(f"{report.size_words(part.data_gb)}: {', '.join(part.systems)}; "
                f"{', '.join(part.faults)}; {part.rounds} rounds"
                + ("; one system at a time, for want of memory" if current.alone else ""))
            try:
                for step in part.steps(results.counts(results.read(LINES, Result))):
                    kind = (step.system, step.fault)
                    if broken.get(kind, 0) < NOT_AGAIN:
                        one = current.play(step)
                        results.add(LINES, one)
                        broken[kind] = broken.get(kind, 0) + bool(one.broken)
            finally:
                current.close()
        cluster.drop_namespace(NAMESPACE)
    finally:
        cluster.close()


def main() -> int:
    args = parse_args()
    if args.fresh:
        results.set_aside(LINES)
    if not args.tell:
        sizes = [0.0, 1.0, 4.0] if args.all else args.data or [0.0]
        try:
            run([plans.part(size, args.systems, args.faults, args.rounds) for size in sizes])
        except (*TROUBLE, AssertionError) as error:
            print(f"the cluster is not fit for a run: {error}\n`./dev cluster up && ./dev deploy` "
                  "first", file=sys.stderr)
            return 1
    found = results.read(LINES, Result)
    print("\n" + report.terminal(found))
    if args.write:
        write(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
