#!/usr/bin/python3
"""How the operator carries many groups: memory, CPU and API requests at rest, starts, creation, failovers.

    scale.py [--groups 10,100,1000] [--strangers 10000] [--rest 60] [--steps failovers --hundreds 10]

The real operator, kube-apiserver, etcd and scheduler; kwok's nodes; engines from the farm (README.md). The last line is
`N bars held, N missed`; the exit status is 1 on a missed one.
"""
from __future__ import annotations

import argparse
import calendar
import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "integration")]

import strangers  # noqa: E402
from child import boot_ms  # noqa: E402
from figures import Audit, Row, load, spread, table, writes_but_lease  # noqa: E402
from groups import Groups  # noqa: E402
from percentiles import percentile  # noqa: E402
from stage import Stage  # noqa: E402

INSIDE = "REGROUP_BENCH_INSIDE"
ROUNDS = {1: 12, 10: 6, 100: 3}  # by how many groups fail at one time
STEPS = ["rest", "failovers", "starts", "settle", "rest"]
STARTS = 5
QUIET_S = 5

_began = time.monotonic()


def say(text: str) -> None:
    print(f"[{time.monotonic() - _began:6.1f} s, load {load()}] {text}", flush=True)


class Run:
    def __init__(self, stage: Stage, options: argparse.Namespace) -> None:
        self.stage = stage
        self.options = options
        self.groups = Groups(stage.bulk)
        self.names: list[str] = []
        self.random = random.Random(1)

    def grow(self, count: int) -> list[Row]:
        """Creates what is missing of `count` groups, all at one time."""
        fresh = [f"g-{i:04d}" for i in range(len(self.names), count)]
        self.names += fresh
        audit = Audit(self.stage.audit_log)
        audit.requests()
        cpu_s = self._operator().cpu_seconds()
        self.groups.create(fresh)
        self.groups.wait_whole(fresh, 60 + 1.2 * len(fresh))
        took = [(self.groups.seen[name].ready_ms - self.groups.seen[name].created_ms) / 1000 for name in fresh]
        requests = audit.requests().total()
        cpu_s = self._operator().cpu_seconds() - cpu_s
        return [Row(f"create to Ready, {len(fresh)} groups at once: median / p99 / last", spread(took, "s", 1)),
                Row("  API requests and operator's CPU for each of them",
                    f"{requests / len(fresh):.1f}, {1000 * cpu_s / len(fresh):.0f} ms")]

    def _operator(self):
        assert self.stage.operator is not None
        self.stage.check()
        return self.stage.operator

    def settle(self) -> None:
        """Until every group is whole and the operator has written nothing but its Lease for a while."""
        self.groups.wait_whole(self.names, 300)
        audit = Audit(self.stage.audit_log)
        deadline = time.monotonic() + 300
        audit.requests()
        while time.monotonic() < deadline:
            time.sleep(QUIET_S)
            self.stage.check()
            if not writes_but_lease(audit.requests()):
                return
        raise TimeoutError("the operator does not come to rest")

    def rest(self) -> list[Row]:
        seconds = self.options.rest
        operator = self._operator()
        audit = Audit(self.stage.audit_log)
        audit.requests()
        cpu, farm_cpu, began = operator.cpu_seconds(), self.stage.farm.child.cpu_seconds(), time.monotonic()
        time.sleep(seconds)
        passed = time.monotonic() - began
        cpu = 100 * (operator.cpu_seconds() - cpu) / passed
        farm_cpu = 100 * (self.stage.farm.child.cpu_seconds() - farm_cpu) / passed
        requests = audit.requests()
        writes = writes_but_lease(requests)
        memory = operator.memory_mb()
        engines, connections = self.stage.farm.counts()
        large = len(self.names) >= 1000
        return [Row("VmRSS at rest (highest so far)", f"{memory:.1f} MB ({operator.memory_mb('VmHWM'):.1f} MB)",
                    "<= 60 MB" if large else "", memory <= 60),
                Row(f"CPU at rest, {seconds:.0f} s (the farm's beside it)", f"{cpu:.1f} % of a core ({farm_cpu:.1f} %)",
                    "<= 10 %" if large else "", cpu <= 10),
                Row("API requests at rest, all of them", f"{requests.total() / passed:.2f} a second"),
                Row("API writes at rest beside the Lease", str(writes.total()) + (f" {dict(writes)}" if writes else ""),
                    "0", writes.total() == 0),
                Row("engines, connections to them", f"{engines}, {connections}")]

    # -- failures ------------------------------------------------------------------------------

    def _kill(self, names: Iterable[str]) -> None:
        self.stage.farm.tell("kill " + " ".join(self.groups.seen[name].endpoint for name in names))

    def fail(self, names: list[str]) -> tuple[list[float], list[float]]:
        """Kills these groups' primaries at one time; ms until a new one takes writes, and until the endpoint leads to it."""
        old = {name: self.groups.seen[name].endpoint for name in names}
        self.stage.farm.forget_events()
        self._kill(names)
        killed: dict[str, int] = {}
        promoted: dict[str, int] = {}
        for event in self.stage.farm.events(60):
            if event["event"] not in ("killed", "promoted"):
                continue
            name = event["pod"].split("/")[1].rsplit("-", 1)[0]
            if name in old:
                (killed if event["event"] == "killed" else promoted)[name] = event["at"]
            if len(promoted) == len(names):
                break
        if len(killed) != len(names) or len(promoted) != len(names):
            raise TimeoutError(f"{len(killed)} of {len(names)} killed, {len(promoted)} promoted after 60 s")
        self.groups.wait("primary endpoints moved",
                         lambda: all(self.groups.seen[name].endpoint not in ("", old[name]) for name in names), 60)
        return ([promoted[name] - killed[name] for name in names],
                [self.groups.seen[name].endpoint_ms - killed[name] for name in names])

    def failovers(self) -> list[Row]:
        rows = []
        for at_once, rounds in ROUNDS.items():
            if at_once > len(self.names):
                continue
            # A group fails once in a step, and no more than a third of all, but for the largest failure.
            rounds = max(1, min(rounds, len(self.names) // at_once // 3))
            if at_once == 100 and self.options.hundreds:
                rounds = min(self.options.hundreds, len(self.names) // at_once)
            fresh = self.random.sample(self.names, at_once * rounds)
            to_write: list[float] = []
            to_endpoint: list[float] = []
            for number in range(rounds):
                chosen = fresh[number * at_once:(number + 1) * at_once]
                audit = Audit(self.stage.audit_log)
                audit.requests()
                cpu = self.stage.cpu_seconds()
                took = self.fail(chosen)
                used = ", ".join(f"{name} {now - cpu[name]:.2f}" for name, now in self.stage.cpu_seconds().items())
                say(f"{at_once} at once, round {number + 1}: kill to endpoint {spread(took[1])}; seconds of CPU: {used}; "
                    f"the operator's requests until then, and ms in the API server:\n{audit.times()}")
                to_write += took[0]
                to_endpoint += took[1]
                time.sleep(2)  # the old members come back and are followed up
                self.groups.wait_whole(self.names, 120)
            label = f"{at_once} at once, {rounds} rounds"
            barred = at_once == 100 and len(self.names) >= 1000
            rows.append(Row(f"kill to a new primary, {label}: median / p99 / worst", spread(to_write)))
            rows.append(Row(f"kill to its endpoint, {label}: median / p99 / worst", spread(to_endpoint),
                            "p99 <= 2 s" if barred else "", percentile(to_endpoint, 0.99) <= 2000))
        return rows

    def starts(self) -> list[Row]:
        """A primary is killed while no operator runs; how long after its start the operator replaces it."""
        acting, filled, memory = [], [], []
        for _ in range(STARTS):
            self.settle()
            self.stage.stop_operator()
            name = self.random.choice(self.names)
            self.stage.farm.forget_events()
            self._kill([name])
            time.sleep(3)  # its container is started again and the kubelet has said so
            began = boot_ms()
            self.stage.start_operator()
            for event in self.stage.farm.events(60):
                if event["event"] == "promoted" and event["pod"].split("/")[1].startswith(name):
                    acting.append((event["at"] - began) / 1000)
                    break
            else:
                raise TimeoutError(f"the restarted operator did nothing for {name}")
            filled.append((self._logged_ms("caches are filled", began) - began) / 1000)
            memory.append(self._operator().memory_mb())
        worst = max(acting)
        return [Row("start to acting: median / p99 / worst", spread(acting, "s", 2),
                    "<= 5 s" if len(self.names) >= 1000 else "", worst <= 5),
                Row("  start to filled caches: median / p99 / worst", spread(filled, "s", 2))]

    def _logged_ms(self, message: str, after_ms: int) -> int:
        """The time of the last such line of the operator's log, on the clock of boot_ms."""
        skew_ms = time.time_ns() // 1_000_000 - boot_ms()
        lines = [json.loads(line) for line in self._operator().log.read_text().splitlines() if message in line]
        stamp = lines[-1]["ts"].rstrip("Z")
        seconds, fraction = stamp.split(".")
        wall_ms = calendar.timegm(time.strptime(seconds, "%Y-%m-%dT%H:%M:%S")) * 1000
        return wall_ms + int(fraction[:3]) - skew_ms


def measure(options: argparse.Namespace) -> int:
    rows: list[Row] = []
    with Stage(options.operator.split()) as stage:
        say("API server, scheduler, kwok and farm run")
        for kind in strangers.create(stage.bulk, options.strangers):
            say(f"{options.strangers} {kind} that are not ours")
        stage.start_operator()
        run = Run(stage, options)
        for count in options.groups:
            found = run.grow(count)
            say(f"{count} groups are Ready")
            for step in ("settle", *options.steps):
                rows_of_step = getattr(run, step)() or []
                found += rows_of_step
                say("\n".join([f"{count} groups: {step}", *(row.text() for row in rows_of_step)]))
            print(table(f"\n{count} groups, {options.strangers} foreign pods, Secrets, ConfigMaps", found), flush=True)
            rows += found
    missed = sum(1 for row in rows if row.bar and not row.held)
    print(f"{sum(1 for row in rows if row.bar) - missed} bars held, {missed} missed")
    return 1 if missed else 0


def _stop(*_: object) -> None:
    raise SystemExit("stopped")


def _steps(text: str) -> list[str]:
    wrong = [step for step in text.split(",") if step not in STEPS]
    if wrong:
        raise argparse.ArgumentTypeError(f"no step {wrong[0]}: use {', '.join(dict.fromkeys(STEPS))}")
    return text.split(",")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", default="10,100,1000", type=lambda text: sorted(int(n) for n in text.split(",")))
    parser.add_argument("--strangers", type=int, default=10000, help="Pods, Secrets and ConfigMaps that are not ours")
    parser.add_argument("--rest", type=float, default=60, help="seconds at rest that are measured")
    parser.add_argument("--steps", default=STEPS, type=_steps, help=f"default: {','.join(STEPS)}")
    parser.add_argument("--hundreds", type=int, default=0, help="rounds of 100 groups that fail at once (3)")
    parser.add_argument("--operator", default="", help="further flags of the operator, as in --operator='--workers 8'")
    options = parser.parse_args()
    if os.environ.get(INSIDE) != "1":
        # A network namespace without a name: it goes with its last process.
        os.execvpe("unshare", ["unshare", "--net", "--", sys.executable, *sys.argv], {**os.environ, INSIDE: "1"})
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)  # whatever ends it, the `with` of measure() ends all that runs
    return measure(options)


if __name__ == "__main__":
    sys.exit(main())
