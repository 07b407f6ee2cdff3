#!/usr/bin/env python3
"""What the write guard costs and gives: `./dev bench guard [--rounds N] [--faults A,B] [--write]`.

Two groups of one primary and one replica, one with `writeGuard: Auto` and one with `Off`, take the
same faults in turn: the replica restarts, stalls, or restarts while no operator runs; and the
primary's host is cut off while a client beside it goes on writing. Each round is a line of
build/bench/guard.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import guard_report  # noqa: E402
import paths  # noqa: E402
import plans  # noqa: E402
import results  # noqa: E402
from guard_strikes import STRIKES  # noqa: E402
from harness import Cluster  # noqa: E402
from operator_control import Operator  # noqa: E402
from plans import Part  # noqa: E402
from regroup_system import RegroupSystem  # noqa: E402
from runner import Runner, on_cluster, say  # noqa: E402
from systems import System  # noqa: E402

NAMESPACE = "bench-guard"
LINES = results.FOLDER / "guard.jsonl"
PAGE = paths.ROOT / "docs" / "figures-guard.md"
SETTINGS = {"guard-auto": "Auto", "guard-off": "Off"}
ROUNDS = 5


def make(cluster: Cluster, name: str, data_gb: float) -> System:
    return RegroupSystem(cluster, NAMESPACE, data_gb, name, {"writeGuard": SETTINGS[name]}, count=2)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev bench guard",
                                     description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"of each kind ({ROUNDS})")
    parser.add_argument("--faults", type=plans.names, default=list(STRIKES), metavar="A,B",
                        help=f"of {', '.join(STRIKES)}")
    parser.add_argument("--fresh", action="store_true", help="earlier rounds do not count")
    parser.add_argument("--resume", action="store_true", help="the page's rounds count as made")
    parser.add_argument("--write", action="store_true", help=f"render {PAGE.name}")
    parser.add_argument("--tell", action="store_true", help="no rounds; what is known so far")
    args = parser.parse_args()
    wrong = plans.unknown(args.faults, list(STRIKES), "fault")
    if wrong:
        parser.error(wrong)
    return args


def main() -> int:
    args = parse_args()
    if args.fresh:
        results.set_aside(LINES)
    if args.resume:
        results.take_up(LINES, PAGE)
    part = Part(0.0, tuple(SETTINGS), tuple(args.faults), args.rounds)

    def run(cluster: Cluster, operator: Operator) -> None:
        steps = part.steps(results.counts(results.read(LINES)))
        Runner(cluster, operator, make, STRIKES, 0.0, False).play_all(steps, LINES)

    if not args.tell and not on_cluster(NAMESPACE, run):
        return 1
    found = results.read(LINES)
    print("\n" + guard_report.terminal(found))
    if args.write:
        PAGE.write_text(guard_report.page(PAGE.read_text(), found))
        results.publish(LINES, PAGE)
        say(f"written: {PAGE.relative_to(paths.ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
