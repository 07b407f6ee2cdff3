"""Processes that outlive the command that starts them, and the one safe way to end them.

A pid alone is no identity: the kernel hands it out again. A process is therefore recorded by pid, start time
and boot, and a signal goes through a pidfd that was checked against the record.
"""
from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Iterable

import layout
from layout import ClusterError

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_began = time.monotonic()


def say(text: str) -> None:
    """One line of progress, with the seconds since the command began."""
    print(f"[{time.monotonic() - _began:6.1f} s] {text}", flush=True)


@dataclass(frozen=True)
class ProcessStat:
    state: str
    parent: int
    start: int


@dataclass(frozen=True)
class Record:
    """The identity of a process: `start` is in clock ticks since `boot`."""

    name: str
    pid: int
    start: int
    boot: str
    digest: str = ""


def parse_stat(text: str) -> ProcessStat:
    """Reads /proc/PID/stat; the command in parentheses may itself hold spaces and parentheses."""
    fields = text[text.rindex(")") + 2:].split()
    return ProcessStat(state=fields[0], parent=int(fields[1]), start=int(fields[19]))


def read_stat(pid: int) -> ProcessStat | None:
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (OSError, ValueError):
        return None


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int, name: str = "", digest: str = "") -> Record | None:
    """A record of a process that runs now."""
    stat = read_stat(pid)
    if stat is None or stat.state in "ZX":
        return None
    return Record(name, pid, stat.start, boot_id(), digest)


def alive(record: Record | None) -> bool:
    """Whether this very process still runs (a zombie does not)."""
    if record is None or record.boot != boot_id():
        return False
    stat = read_stat(record.pid)
    return stat is not None and stat.start == record.start and stat.state not in "ZX"


def started_at(record: Record) -> float:
    """The wall-clock time of the process's start."""
    lines = Path("/proc/stat").read_text().splitlines()
    booted = next(int(line.split()[1]) for line in lines if line.startswith("btime"))
    return booted + record.start / os.sysconf("SC_CLK_TCK")


def send(record: Record, number: int) -> bool:
    """Signals exactly the recorded process; False when it is gone."""
    try:
        handle = os.pidfd_open(record.pid)
    except OSError:
        return False
    try:
        if not alive(record):
            return False
        signal.pidfd_send_signal(handle, number)
        return True
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)


def wait_gone(records: Iterable[Record], seconds: float) -> list[Record]:
    """Waits until the processes are gone; returns those that are not."""
    deadline = time.monotonic() + seconds
    left = [r for r in records if alive(r)]
    while left and time.monotonic() < deadline:
        time.sleep(0.02)
        left = [r for r in left if alive(r)]
    return left


def end(records: Iterable[Record], grace: float = 0) -> None:
    """Ends the processes: SIGTERM first when there is a grace time, then SIGKILL."""
    left = [r for r in records if alive(r)]
    if grace:
        for record in left:
            send(record, signal.SIGTERM)
            send(record, signal.SIGCONT)
        left = wait_gone(left, grace)
    for record in left:
        send(record, signal.SIGKILL)
    left = wait_gone(left, 10)
    if left:
        names = ", ".join(f"{r.name or 'process'} ({r.pid})" for r in left)
        raise ClusterError(f"still there 10 s after SIGKILL: {names}; "
                           "look at /proc/PID/stack, then run this again")


def _record_path(name: str) -> Path:
    return layout.state_dir() / "processes" / f"{name}.json"


def load(name: str) -> Record | None:
    try:
        return Record(**json.loads(_record_path(name).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def save(record: Record) -> None:
    path = _record_path(record.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(asdict(record)))
    part.rename(path)


def forget(name: str) -> None:
    _record_path(name).unlink(missing_ok=True)


def recorded() -> list[Record]:
    folder = layout.state_dir() / "processes"
    return [r for r in (load(p.stem) for p in sorted(folder.glob("*.json"))) if r]


def log_path(name: str) -> Path:
    """A component's log; that of image builds lies with the images, for they need no cluster."""
    if name == "images":
        return layout.cache_dir() / "images" / "build.log"
    return layout.state_dir() / "log" / f"{name}.log"


def log_tail(name: str, lines: int = 15) -> str:
    """The end of a component's log with its path, for an error message."""
    path = log_path(name)
    try:
        text = path.read_text(errors="replace").splitlines()[-lines:]
    except OSError:
        return f"(no log at {path})"
    return "\n".join([f"--- the end of {path}", *text])


def clean_environment() -> dict[str, str]:
    """The components' environment: nothing of the caller's, so that no proxy or locale changes the cluster."""
    return {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", layout.MARK: str(layout.state_dir())}


def start(name: str, argv: list[str], digest: str = "", namespace: Path | None = None) -> Record:
    """Starts a component in its own session, in a network namespace if given, and records it."""
    path = log_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > 64 << 20:
        path.rename(path.with_suffix(".old.log"))
    if not Path(argv[0]).exists():
        raise ClusterError(f"{argv[0]} is missing: run `up`, which builds it")
    if namespace is not None:
        argv = ["nsenter", f"--net={namespace}", "--", *argv]
    with path.open("ab") as log:
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                                 env=clean_environment(), start_new_session=True)
    record = identify(child.pid, name, digest)
    if record is None:
        raise ClusterError(f"{name} died at its start\n{log_tail(name)}")
    save(record)
    return record


def strays() -> list[Record]:
    """All processes that carry this cluster's mark: components, shims, and what an interrupted `up` left."""
    wanted = f"{layout.MARK}={layout.state_dir()}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            if wanted in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                record = identify(int(entry), _command_name(int(entry)))
                if record:
                    found.append(record)
        except OSError:
            continue
    return found


def _command_name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def run(*argv: str, check: bool = True, stdin: str | None = None, env: dict | None = None) -> str:
    """Runs a short command and returns what it prints; a failure shows the command and its own words."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, env=env)
    except FileNotFoundError:
        raise ClusterError(f"{argv[0]} is missing: install the Debian packages of tests/packages.txt") from None
    if check and done.returncode:
        words = done.stderr.strip() or done.stdout.strip()
        raise ClusterError(f"failed ({done.returncode}): {' '.join(argv)}\n{words}")
    return done.stdout


def run_logged(name: str, argv: list[str], env: dict | None = None) -> None:
    """Runs a long command with its output in a log; a failure shows the log's end."""
    path = log_path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as log:
        code = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env).returncode
    if code:
        raise ClusterError(f"failed ({code}): {' '.join(argv)}\n{log_tail(name)}")


def wait_for(what: str, ready, seconds: float, component: str | None = None, pause: float = 0.1) -> None:
    """Polls until `ready()` holds; gives up at once when the component that must answer has died."""
    deadline = time.monotonic() + seconds
    while not ready():
        dead = component is not None and not alive(load(component))
        if dead or time.monotonic() > deadline:
            reason = f"{component} died" if dead else f"not there after {seconds:.0f} s"
            tail = f"\n{log_tail(component)}" if component else ""
            raise ClusterError(f"{what}: {reason}; fix the cause and run `up` again{tail}")
        time.sleep(pause)
