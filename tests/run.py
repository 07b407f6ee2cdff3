#!/usr/bin/python3
"""Runs every test and says what passed, what failed, and how long each part took.

    run.py [PART...] [--context NAME --image REF]

Parts, in this order: build unit tidy contract integration sim sanitize dockerfile e2e faults. A part
that fails does not stop the others, but for the build. The last line is `N passed, N failed`.
"""

from __future__ import annotations

import argparse
import dataclasses
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "logs"
PARTS = ["build", "unit", "tidy", "contract", "integration", "sim", "sanitize", "dockerfile", "e2e",
         "faults"]
SANITIZED_TARGETS = ["unit", "contract"]


@dataclasses.dataclass
class Result:
    part: str
    passed: int
    failed: int
    seconds: float


def run(part: str, command: list[str], quiet: bool = False) -> tuple[int, str]:
    """Runs a command with its output in a log and on the terminal; answers code and output.

    A quiet one, such as an image's build, shows only its end, and that only if it failed."""
    LOGS.mkdir(parents=True, exist_ok=True)
    lines: list[str] = []
    with open(LOGS / f"{part}.log", "a", encoding="utf-8") as log:
        log.write(f"$ {' '.join(command)}\n")
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL,
                                   stderr=subprocess.STDOUT, text=True, errors="replace")
        assert process.stdout is not None
        for line in process.stdout:
            log.write(line)
            lines.append(line)
            if not quiet and not re.match(r"^\[(\d+/\d+|\s+(OK|RUN)|-+)|^\s*$|^\d+: ", line):
                sys.stdout.write(line)
                sys.stdout.flush()
        code = process.wait()
    if quiet and code != 0:
        sys.stdout.writelines(lines[-40:])
    return code, "".join(lines)


def count_ctest(code: int, output: str) -> tuple[int, int]:
    """GoogleTest cases inside the binaries, and one for each other test of ctest."""
    passed = sum(int(n) for n in re.findall(r"\[  PASSED  \] (\d+) test", output))
    failed = sum(int(n) for n in re.findall(r"\[  FAILED  \] (\d+) test", output))
    for line in re.findall(r"^\s*\d+/\d+ Test\s+#\d+: (.*)$", output, re.M):
        others = "Passed" in line and re.match(r"(tidy|sim_seeds)", line) is not None
        passed += 1 if others else 0
    if code != 0 and failed == 0:
        failed = 1
    if passed + failed == 0:
        failed = 1  # a part that ran nothing has not passed
    return passed, failed


def count_pytest(code: int, output: str) -> tuple[int, int]:
    passed = sum(int(n) for n in re.findall(r"(\d+) passed", output))
    failed = sum(int(n) for n in re.findall(r"(\d+) (?:failed|error)", output))
    if code != 0 and failed == 0:
        failed = 1
    return passed, failed


def ctest(part: str, label: str, build: str = "release") -> tuple[int, int]:
    return count_ctest(*run(part, ["ctest", "--test-dir", f"build/{build}", "-L", f"^{label}$",
                                   "--output-on-failure", "--verbose", "--timeout", "1200"]))


def pytest(part: str, *arguments: str) -> tuple[int, int]:
    return count_pytest(*run(part, ["/usr/bin/python3", "-m", "pytest", "-q", "-p", "no:cacheprovider",
                                    "--durations=8", *arguments]))


def part_build(_: argparse.Namespace) -> tuple[int, int]:
    code, _output = run("build", ["./dev", "prepare"])
    if code != 0:
        print("the build or the cluster failed; the rest needs both", file=sys.stderr)
    return (1, 0) if code == 0 else (0, 1)


def part_sanitize(_: argparse.Namespace) -> tuple[int, int]:
    passed = failed = 0
    for preset in ["asan", "tsan"]:
        code, _output = run("sanitize", ["./dev", "build", preset, *SANITIZED_TARGETS])
        if code != 0:
            failed += 1
            continue
        for label in ["unit", "contract"]:
            good, bad = ctest("sanitize", label, preset)
            passed, failed = passed + good, failed + bad
    return passed, failed


def part_dockerfile(_: argparse.Namespace) -> tuple[int, int]:
    code, _output = run("dockerfile", ["/usr/bin/python3", "tests/cluster/build_dockerfile.py"], True)
    return (1, 0) if code == 0 else (0, 1)


def part_e2e(options: argparse.Namespace) -> tuple[int, int]:
    arguments = ["tests/e2e"]
    if options.context:
        arguments += ["--context", options.context, "--image", options.image]
    else:
        code, output = run("e2e", ["./dev", "image"])
        if code != 0:
            return 0, 1
        arguments += ["--image", output.strip().splitlines()[-1]]
    return pytest("e2e", *arguments)


def part_faults(options: argparse.Namespace) -> tuple[int, int]:
    if options.context:
        print("left out: the faults need the local cluster")
        return 0, 0
    code, _output = run("faults", ["./dev", "deploy"], quiet=True)
    return count_pytest(*run("faults", ["./dev", "faults"])) if code == 0 else (0, 1)


def part_integration(_: argparse.Namespace) -> tuple[int, int]:
    passed, failed = pytest("integration", "tests/integration", "tests/cluster")
    # In a process of its own: it uses modules of tests/e2e, and tests/cluster has some of their names.
    good, bad = pytest("integration", "tests/bench")
    passed, failed = passed + good, failed + bad
    if (ROOT / "tests/integration/CMakeLists.txt").exists():
        good, bad = ctest("integration", "integration")
        passed, failed = passed + good, failed + bad
    return passed, failed


RUNNERS: dict[str, Callable[[argparse.Namespace], tuple[int, int]]] = {
    "build": part_build,
    "unit": lambda _: ctest("unit", "unit"),
    "tidy": lambda _: ctest("tidy", "tidy"),
    "contract": lambda _: ctest("contract", "contract"),
    "integration": part_integration,
    "sim": lambda _: ctest("sim", "sim"),
    "sanitize": part_sanitize,
    "dockerfile": part_dockerfile,
    "e2e": part_e2e,
    "faults": part_faults,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"default: all of {' '.join(PARTS)}")
    parser.add_argument("--context", default="", help="run the end-to-end tests on this cluster")
    parser.add_argument("--image", default="", help="the operator's image there")
    parser.add_argument("--keep", action="store_true", help="leave the local cluster up")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]}; there are {' '.join(PARTS)}")
    parts = options.parts or PARTS
    for log in LOGS.glob("*.log"):
        log.unlink()
    results: list[Result] = []
    for part in parts:
        print(f"\n=== {part}", flush=True)
        began = time.monotonic()
        passed, failed = RUNNERS[part](options)
        results.append(Result(part, passed, failed, time.monotonic() - began))
        if part == "build" and failed:
            break
    if "e2e" in parts or "faults" in parts:
        if not options.context and not options.keep:
            run("cluster", ["./dev", "cluster", "down"])
    print("\nminutes by part (logs in build/logs):")
    for result in results:
        print(f"  {result.part:<12} {result.seconds / 60:5.1f} min  {result.passed:4d} passed  "
              f"{result.failed:3d} failed")
    print(f"  {'all':<12} {sum(r.seconds for r in results) / 60:5.1f} min")
    passed = sum(result.passed for result in results)
    failed = sum(result.failed for result in results)
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
