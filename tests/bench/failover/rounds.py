"""One round: clients on a whole system, a fault, its end, and what it cost."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import ExitStack

import dataset
import results
import stats
from client import WriteLog, lost_writes
from clients import LoopProcess, reading, writing
from harness import TROUBLE
from observer import ObserverProcess
from operator_control import Operator
from results import Result
from strikes import QUIET_S, Scene, Strike
from systems import PORT, System

# A kube-proxy that has just synced waits a second before the next time, and so the figures would be
# those of a cluster in which nothing else ever happens.
WARM_UP_S = 2.5
# What comes late, such as the end of a returned old primary, is seen for so long after the fault.
WINDOW_S = 40.0
WINDOW_S_PER_GB = 20.0
AFTER_S = 1.0


def run_round(system: System, strike: Strike, operator: Operator) -> Result:
    """The system is whole before. Raises when the round shows nothing."""
    primary = system.primary()
    result = Result(system.name, strike.name, system.data_gb, load=os.getloadavg()[0],
                    when=results.now(), version=results.version())
    with ExitStack() as stack:
        scene = Scene(system, operator, primary,
                      system.cluster.faults.pid(system.namespace, primary.name), stack,
                      patience_s=strike.patience_s)
        stack.callback(scene.undo)  # whatever happens
        strike.prepare(scene)
        observer = stack.enter_context(ObserverProcess(system.addresses()))
        writer = stack.enter_context(writing(system.write_target()))
        readers = stack.enter_context(reading(system.read_target()))
        time.sleep(WARM_UP_S)
        fault_at = strike.begin(scene)
        time.sleep(QUIET_S)
        strike.hold(scene, fault_at)
        scene.undo()
        ended_at = scene.undone_at if strike.lasting else fault_at
        whole_at = _watch(system, observer, ended_at)
        time.sleep(AFTER_S)
    result.whole_s = None if whole_at is None else whole_at - ended_at
    result.stages = system.stages(fault_at)
    result.notes = scene.notes
    _figures(result, fault_at, writer, readers, observer, scene)
    system.rest()
    strike.judge(scene, result, fault_at, observer.log(), system.primary())
    _read_back(result, system, writer.logs()[0], fault_at)
    return result


def _watch(system: System, observer: ObserverProcess, ended_at: float) -> float | None:
    """Until the system is whole and stays so for a moment, or the window is over."""
    end = ended_at + WINDOW_S + WINDOW_S_PER_GB * system.data_gb
    since = None
    while time.monotonic() < end:
        try:
            observer.add(system.addresses())
            whole = system.settled()[0]
        except TROUBLE:
            whole = False
        now = time.monotonic()
        since = (since or now) if whole else None
        if since is not None and now - since >= AFTER_S:
            return since
        time.sleep(0.4)
    return since


def _figures(result: Result, fault_at: float, writer: LoopProcess, readers: LoopProcess,
             observer: ObserverProcess, scene: Scene) -> None:
    log, reads = writer.logs()[0], readers.logs()
    result.acknowledged = len(log.acks)
    result.write_gap_ms = stats.gap_ms(log, fault_at, log.stopped)
    result.read_gap_ms = max(stats.gap_ms(one, fault_at, one.stopped) for one in reads)
    result.read_pool_gap_ms = stats.gap_ms(stats.pooled(reads), fault_at, reads[0].stopped)
    result.two_writers_s = stats.two_writers_s([observer.log(), *(o.log() for o in scene.inner)])
    result.failures = dict(Counter(what for when, what in log.failures if when >= fault_at))
    if not log.acks or log.acks[0][0] > fault_at:
        raise RuntimeError("the client wrote nothing before the fault: the round shows nothing")


def _read_back(result: Result, system: System, log: WriteLog, fault_at: float) -> None:
    """From the surviving primary itself, not by way of any endpoint."""
    host = system.primary().address
    lost = lost_writes(log, host, PORT)
    result.lost = len(lost)
    result.kept_gap_ms = stats.kept_gap_ms(log, lost, fault_at, log.stopped)
    result.missing = dataset.missing(host, system.data_gb)
    dataset.sweep(host, log.prefix, max(number for _, number in log.acks) + 1000)
    if result.missing:
        result.notes.append(f"{result.missing} keys of the data set were gone; filled again")
        dataset.fill(host, system.data_gb, len(system.members()) - 1)
