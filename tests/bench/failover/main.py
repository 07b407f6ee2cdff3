#!/usr/bin/env python3
"""Failover side by side: `./dev bench failover [--rounds N] [--systems A,B] [--faults A,B]`.

Regroup, Redis Sentinel and the role-label design live in one cluster and take the same faults in
turn, under the same open-loop clients. Each round is a line of build/bench/failover.jsonl; rounds
that are there are not made again, so a run that was broken off goes on. `--write` renders the page
and the chart.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import paths  # noqa: E402
import plans  # noqa: E402
import report  # noqa: E402
import results  # noqa: E402
from chart import bars_of, svg  # noqa: E402
from harness import Cluster  # noqa: E402
from operator_control import Operator  # noqa: E402
from plans import Part  # noqa: E402
from regroup_system import RegroupSystem  # noqa: E402
from results import Result  # noqa: E402
from rolelabel_system import RoleLabelSystem  # noqa: E402
from runner import Runner, available_gb, on_cluster, say  # noqa: E402
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


def make(cluster: Cluster, name: str, data_gb: float) -> System:
    if name == "regroup":
        return RegroupSystem(cluster, NAMESPACE, data_gb, name)
    if name == "regroup-tuned":
        return RegroupSystem(cluster, NAMESPACE, data_gb, name, TUNED)
    if name == "sentinel":
        return SentinelSystem(cluster, NAMESPACE, data_gb, name, 1000, 3000)
    if name == "sentinel-default":
        return SentinelSystem(cluster, NAMESPACE, data_gb, name, 30_000, 180_000)
    return RoleLabelSystem(cluster, NAMESPACE, data_gb)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev bench failover",
                                     description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=0, help="of each kind; default: 20, "
                        "with data 10 or 5; of sentinel-default never more than 3")
    parser.add_argument("--systems", type=plans.names, default=[], metavar="A,B",
                        help=f"of {', '.join(plans.SYSTEMS)}")
    parser.add_argument("--faults", type=plans.names, default=[], metavar="A,B",
                        help=f"of {', '.join(STRIKES)}")
    parser.add_argument("--data", type=float, action="append", metavar="GB",
                        help="in each member; several times: one after the other; default: none")
    parser.add_argument("--all", action="store_true", help="without data, with 1 GB and with 4 GB")
    parser.add_argument("--fresh", action="store_true", help="earlier rounds do not count")
    parser.add_argument("--resume", action="store_true", help="the page's rounds count as made")
    parser.add_argument("--write", action="store_true", help=f"render {PAGE.name}, {CHART.name}")
    parser.add_argument("--tell", action="store_true", help="no rounds; what is known so far")
    args = parser.parse_args()
    wrong = (plans.unknown(args.systems, plans.SYSTEMS, "system")
             or plans.unknown(args.faults, list(STRIKES), "fault"))
    if wrong:
        parser.error(wrong)
    return args


def write(found: list[Result]) -> None:
    days = sorted({one.when[:10] for one in found if one.when})
    note = ("Bar: median; line: worst. Log scale. Same cluster, engine and open-loop client, in "
            f"turn; {', '.join(days[-1:])}")
    PAGE.write_text(report.page(PAGE.read_text(), found))
    results.publish(LINES, PAGE)
    bars = bars_of(report.grouped(found))
    if bars:
        CHART.write_text(svg(bars, "Write gap of a failover, empty sets", note))
    say(f"written: {PAGE.relative_to(paths.ROOT)}, {CHART.relative_to(paths.ROOT)}")


def run(cluster: Cluster, operator: Operator, parts: list[Part]) -> None:
    for part in parts:
        alone = part.alone(available_gb())
        say(f"{report.size_words(part.data_gb)}: {', '.join(part.systems)}; "
            f"{', '.join(part.faults)}; {part.rounds} rounds"
            + ("; one system at a time, for want of memory" if alone else ""))
        steps = part.steps(results.counts(results.read(LINES)))
        Runner(cluster, operator, make, STRIKES, part.data_gb, alone).play_all(steps, LINES)


def main() -> int:
    args = parse_args()
    if args.fresh:
        results.set_aside(LINES)
    if args.resume:
        results.take_up(LINES, PAGE)
    sizes = [0.0, 1.0, 4.0] if args.all else args.data or [0.0]
    parts = [plans.part(size, args.systems, args.faults, args.rounds) for size in sizes]
    if not args.tell and not on_cluster(
            NAMESPACE, lambda cluster, operator: run(cluster, operator, parts)):
        return 1
    found = results.read(LINES)
    print("\n" + report.terminal(found))
    if args.write:
        write(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
