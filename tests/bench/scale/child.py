"""A process of the run: started with its log in the run's folder, read through /proc, ended by its own handle."""
from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from apiserver import die_with_parent

_TICKS = os.sysconf("SC_CLK_TCK")


def boot_ms() -> int:
    """CLOCK_BOOTTIME, the clock of the operator and of the farm."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def raise_open_files() -> None:
    """For all children: thousands of groups are thousands of sockets."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads so far."""
    text = Path(f"/proc/{pid}/stat").read_text()
    fields = text[text.rindex(")") + 2:].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


class Child:
    def __init__(self, folder: Path, name: str, *argv: object, pipes: bool = False) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.started_ms = boot_ms()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(word) for word in argv], stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipes else log, stderr=log, cwd=folder, preexec_fn=die_with_parent)

    def check(self) -> None:
        if self.process.poll() is not None:
            tail = self.log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{tail}")

    def stop(self, seconds: float = 20) -> None:
        self.process.terminate()
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            print(f"{self.name} did not end in {seconds:.0f} s", file=sys.stderr)
            self.process.kill()
            self.process.wait()

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.process.pid)

    def memory_mb(self, field: str = "VmRSS") -> float:
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) / 1000  # kB, and a MB of 1,000 of them
        raise KeyError(field)
