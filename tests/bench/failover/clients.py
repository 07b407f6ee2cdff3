"""The bench's clients as processes of their own, so that the bench's work cannot widen a gap."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Sequence

import paths
from client import WriteLog

PROGRAM = paths.HERE / "openloop.py"
WRITES_PER_S = 500.0
# A failover breaks the connections to one replica: three find both replicas nearly always.
READERS = 3
READS_PER_S = 100.0  # of each


class LoopProcess:
    """`with LoopProcess("write", target) as one: …; one.logs()`, one log for each connection."""

    def __init__(self, what: str, target: Sequence[str], rate: float, connections: int = 1,
                 command: Sequence[str] = ()) -> None:
        handle, name = tempfile.mkstemp(prefix="regroup-bench-", suffix=".json")
        os.close(handle)
        self._file = Path(name)
        self._process = subprocess.Popen(
            [*command, sys.executable, str(PROGRAM), what, *target, "--rate", str(rate),
             "--connections", str(connections), "--log", name], stdout=subprocess.PIPE, text=True)
        self._logs: list[WriteLog] | None = None
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != "started":
            raise RuntimeError(f"the {what} client did not start")

    def __enter__(self) -> "LoopProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.logs()

    def logs(self) -> list[WriteLog]:
        """Stops the client, once, and gives what it did."""
        if self._logs is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.communicate(timeout=60)
            if self._process.returncode != 0:
                raise RuntimeError(f"a client ended with {self._process.returncode}")
            self._logs = [WriteLog.from_json(one) for one in json.loads(self._file.read_text())]
            self._file.unlink(missing_ok=True)
        return self._logs


def writing(target: Sequence[str], rate: float = WRITES_PER_S,
            command: Sequence[str] = ()) -> LoopProcess:
    return LoopProcess("write", target, rate, command=command)


def reading(target: Sequence[str]) -> LoopProcess:
    return LoopProcess("read", target, READS_PER_S, READERS)
