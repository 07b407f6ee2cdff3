#!/usr/bin/env python3
"""The fault matrix: `./dev faults [--all] [-k NAME] [--list] [--write] [--scale F]`.

Without an argument it runs the quick rows, as CI does, with long faults cut down to a twentieth. `--all`
runs every row at full length; `-k` those whose name holds the text. `--write` puts the rows that
were run into docs/failure-modes.md, and leaves the others there as they are.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults import table  # noqa: E402
from faults.rows import ROWS, UNMADE  # noqa: E402
from faults.runner import NAMESPACE, Outcome, Runner, log_file  # noqa: E402
from faults.scenario import Scenario  # noqa: E402
from harness import ROOT, TROUBLE, Cluster  # noqa: E402
from operator_control import Operator  # noqa: E402

DOCUMENT = ROOT / "docs" / "failure-modes.md"
QUICK_SCALE = 0.05


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every row, at full length")
    parser.add_argument("-k", default="", metavar="NAME[,NAME]",
                        help="rows whose name holds one of these; =NAME is that row alone")
    parser.add_argument("--list", action="store_true", help="only tell the rows")
    parser.add_argument("--write", action="store_true", help="update docs/failure-modes.md")
    parser.add_argument("--scale", type=float,
                        help="length of long faults; default: 1 with --all or -k, else 0.05")
    return parser.parse_args()


def chosen(args: argparse.Namespace) -> list[Scenario]:
    if args.k:
        words = args.k.split(",")
        return [row for row in ROWS if any(
            row.name == word[1:] if word.startswith("=") else word in row.name for word in words)]
    return [row for row in ROWS if args.all or row.quick]


def tell(rows: list[Scenario]) -> None:
    width = max(len(row.name) for row in rows)
    for row in rows:
        mark = "quick" if row.quick else ""
        print(f"{row.name:<{width}}  {mark:<5}  {row.matrix:<6}  {row.start.words()}: {row.fault}")


def version() -> str:
    """The commit, with a plus sign if the checkout differs from it; this run writes docs itself."""
    def git(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True,
                              check=False)

    commit = git("rev-parse", "--short=7", "HEAD").stdout.strip()
    differs = git("diff", "--quiet", "HEAD", "--", ".", ":!docs").returncode != 0
    return (commit + ("+" if differs else "")) or "unknown"


def write(outcomes: list[Outcome]) -> None:
    """After each row, so that an interrupted run keeps what it has."""
    text = DOCUMENT.read_text()
    order = [row.name for row in ROWS]
    rows = table.merged(table.rows_of(text), [one.row for one in outcomes], order)
    done = {row.name for row in rows}
    DOCUMENT.write_text(table.document(text, rows, UNMADE, [n for n in order if n not in done]))


def run(rows: list[Scenario], scale: float, keep: bool) -> list[tuple[Scenario, Outcome]]:
    cluster = Cluster()
    operator = Operator(cluster, "")
    runner = Runner(cluster, operator, scale, version())
    done: list[tuple[Scenario, Outcome]] = []
    try:
        operator.stop_failpoint()
        operator.scale(2)
        cluster.make_namespace(NAMESPACE)
        for row in rows:
            print(f"\n{row.name}: {row.start.words()}; {row.fault}", flush=True)
            outcome = runner.run(row)
            done.append((row, outcome))
            print(f"  {outcome.row.measured}\n  violations: {outcome.row.violations}\n"
                  f"  notes: {outcome.row.notes or 'none'}\n"
                  f"  took {outcome.seconds:.0f} s; time line in {log_file(row.name)}", flush=True)
            if keep:
                write([outcome])
        cluster.drop_namespace(NAMESPACE)
    finally:
        cluster.close()
    return done


def main() -> int:
    args = parse_args()
    rows = chosen(args)
    if not rows:
        print(f"no row of that name; --list tells all {len(ROWS)}", file=sys.stderr)
        return 2
    if args.list:
        tell(rows if args.k or args.all else ROWS)
        return 0
    scale = args.scale or (1.0 if args.all or args.k else QUICK_SCALE)
    begin = time.monotonic()
    try:
        done = run(rows, scale, args.write)
    except (*TROUBLE, AssertionError) as error:
        print(f"the cluster is not fit for a run: {error}\n`./dev cluster up && ./dev deploy` first",
              file=sys.stderr)
        return 1
    bad = [(row, one) for row, one in done if one.row.violations != "none"]
    known = [row.name for row, _ in bad if row.shortfall]
    print(f"\n{len(done)} rows in {(time.monotonic() - begin) / 60:.1f} min")
    if known:
        print(f"known shortfalls: {', '.join(known)}")
    failed = [row.name for row, _ in bad if not row.shortfall]
    if failed:
        print(f"violations: {', '.join(failed)}")
    print(f"{len(done) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
