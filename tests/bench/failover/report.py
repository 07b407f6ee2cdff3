"""Tables and the page out of results: pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Callable, Iterable, Sequence

from results import Result
from stats import Spread, ratio, spread

BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"
HOME = "regroup"
FAULTS = {"kill": "process kill", "delete": "pod delete", "hang": "hang", "power": "node power cut",
          "cut": "node cut off", "planned": "planned"}
SYSTEMS = {"regroup": "Regroup", "regroup-tuned": "Regroup, 1,000 ms",
           "sentinel": "Sentinel, 1,000 ms", "sentinel-default": "Sentinel, default",
           "role-label": "role label"}
STAGES = ["detect", "promote", "endpoint"]


@dataclass(frozen=True)
class Group:
    """All rounds of one system, fault and size."""

    system: str
    fault: str
    data_gb: float
    rounds: tuple[Result, ...]  # with figures
    broken: int

    @property
    def write(self) -> Spread | None:
        return spread([one.write_gap_ms for one in self.rounds])

    @property
    def kept(self) -> Spread | None:
        return spread([one.kept_gap_ms for one in self.rounds if one.kept_gap_ms is not None])

    @property
    def read(self) -> Spread | None:
        return spread([one.read_gap_ms for one in self.rounds])

    @property
    def lost(self) -> int:
        return sum(one.lost for one in self.rounds)

    @property
    def acknowledged(self) -> int:
        return sum(one.acknowledged for one in self.rounds)

    @property
    def two_writers_s(self) -> float:
        return sum(one.two_writers_s for one in self.rounds)

    def stages(self) -> dict[str, float]:
        """Medians of the stages that the system tells; rounds without an account are left out."""
        told = [one.stages for one in self.rounds if one.stages]
        names = {name for one in told for name in one}
        return {name: median([one[name] for one in told if name in one]) for name in names}


def grouped(results: Iterable[Result]) -> list[Group]:
    """By size, fault and system, each in the order in which the page has it."""
    kinds: dict[tuple[str, str, float], list[Result]] = {}
    for one in results:
        kinds.setdefault(one.key, []).append(one)

    def order(key: tuple[str, str, float]) -> tuple[float, int, int, str]:
        system, fault, data_gb = key
        return data_gb, _rank(FAULTS, fault), _rank(SYSTEMS, system), system

    groups = []
    for key in sorted(kinds, key=order):
        good = tuple(one for one in kinds[key] if not one.broken)
        groups.append(Group(*key, good, len(kinds[key]) - len(good)))
    return groups


def _rank(names: dict[str, str], name: str) -> int:
    return list(names).index(name) if name in names else len(names)


def time_words(ms: float) -> str:
    return f"{ms:,.0f} ms" if ms < 9_999.5 else f"{ms / 1000:.1f} s"


def size_words(data_gb: float) -> str:
    return "empty sets" if data_gb == 0 else f"{data_gb:g} GB in each member"


def title_words(data_gb: float) -> str:
    words = size_words(data_gb)
    return words[0].upper() + words[1:]


def home_of(groups: Sequence[Group], one: Group) -> Group | None:
    return next((other for other in groups if other.system == HOME and other.fault == one.fault
                 and other.data_gb == one.data_gb), None)


def ratio_words(groups: Sequence[Group], one: Group,
                of: Callable[[Group], Spread | None] = lambda group: group.write) -> str:
    home = home_of(groups, one)
    ours = of(home) if home is not None else None
    theirs = of(one)
    if one.system == HOME or ours is None or theirs is None:
        return ""
    found = ratio(theirs.median, ours.median)
    return "" if found is None else f"{found:.1f}×" if found < 10 else f"{found:.0f}×"


def kept_ratio_words(groups: Sequence[Group], one: Group) -> str:
    return ratio_words(groups, one, lambda group: group.kept)


HEAD = ["fault", "system", "rounds", "write gap, median", "p99", "worst", "to Regroup",
        "gap of kept writes, median", "to Regroup", "read gap, median", "worst", "lost",
        "two writers"]


def cells(groups: Sequence[Group], one: Group) -> list[str]:
    count = str(len(one.rounds)) + (f" ({one.broken} broken)" if one.broken else "")
    begin = [FAULTS.get(one.fault, one.fault), SYSTEMS.get(one.system, one.system), count]
    write, read = one.write, one.read
    if write is None or read is None:
        return begin + ["-"] * (len(HEAD) - len(begin))
    writers = f"{one.two_writers_s:.1f} s" if one.two_writers_s >= 0.05 else "0"
    lost = f"{one.lost:,} of {one.acknowledged:,}" if one.lost else "0"
    wiped = sum(1 for result in one.rounds if result.missing)
    if wiped:
        lost += f"; set gone {wiped}×"
    kept = time_words(one.kept.median) if one.kept else ""
    return begin + [time_words(write.median), time_words(write.p99), time_words(write.worst),
                    ratio_words(groups, one), kept, kept_ratio_words(groups, one),
                    time_words(read.median), time_words(read.worst), lost, writers]


def stage_lines(groups: Sequence[Group]) -> list[list[str]]:
    """Regroup's own account beside the gap: what is left over is kube-proxy and the client."""
    lines = []
    for one in groups:
        found, write = one.stages(), one.write
        if not one.system.startswith(HOME) or write is None or not set(STAGES) <= set(found):
            continue
        gaps = [(sum(result.stages[name] for name in STAGES), result.write_gap_ms)
                for result in one.rounds if set(STAGES) <= set(result.stages)]
        lines.append([FAULTS.get(one.fault, one.fault), SYSTEMS.get(one.system, one.system),
                      size_words(one.data_gb), *(time_words(found[name]) for name in STAGES),
                      time_words(median([total for total, _ in gaps])),
                      time_words(median([gap for _, gap in gaps])),
                      time_words(median([gap - total for total, gap in gaps]))])
    return lines


STAGE_HEAD = ["fault", "system", "data", *STAGES, "sum", "write gap", "what is left"]


def verdicts(groups: Sequence[Group]) -> list[str]:
    """The bars of the figures' issue, for what was measured."""
    out = []
    for one in groups:
        write = one.write
        if write is None:
            continue
        bars = _own_bars(one, write) if one.system == HOME else _ahead(groups, one, write)
        name = (f"{SYSTEMS.get(one.system, one.system)}, {FAULTS.get(one.fault, one.fault)}, "
                f"{size_words(one.data_gb)}")
        out += [f"{'held' if held else 'MISSED'}: {name}: {words}" for held, words in bars]
    return out


def _own_bars(one: Group, write: Spread) -> list[tuple[bool, str]]:
    within = [(one.two_writers_s < 0.05, f"two writers {one.two_writers_s:.1f} s (0)")]
    if one.fault == "kill" and one.data_gb <= 1:
        limit = 100 if one.data_gb == 0 else 250
        within.append((write.median <= limit, f"median {time_words(write.median)} (<= {limit} ms)"))
        if one.data_gb == 0:
            within.append((write.p99 <= 300, f"p99 {time_words(write.p99)} (<= 300 ms)"))
    if one.fault == "planned" and one.data_gb == 0:
        within += [(write.median <= 100, f"median {time_words(write.median)} (<= 100 ms)"),
                   (write.p99 <= 300, f"p99 {time_words(write.p99)} (<= 300 ms)")]
    if one.fault in ("planned", "delete"):
        within.append((one.lost == 0, f"{one.lost} acknowledged writes lost (0)"))
    if one.fault in ("power", "cut"):
        within.append((write.worst <= 7000, f"worst {time_words(write.worst)} (<= 7 s)"))
    if one.fault == "hang":
        within.append((write.worst <= 8000, f"worst {time_words(write.worst)} (<= 5 s + 3 s)"))
    return within


def _ahead(groups: Sequence[Group], one: Group, write: Spread) -> list[tuple[bool, str]]:
    """Bar 9: Regroup ahead, as a ratio; its own variants are no rivals."""
    home = home_of(groups, one)
    if one.system.startswith(HOME) or home is None or home.write is None:
        return []
    kept = kept_ratio_words(groups, one)
    return [(home.write.median < write.median,
             f"{ratio_words(groups, one)} Regroup's median write gap (> 1)"
             + (f"; between writes that were kept {kept}" if one.lost and kept else ""))]


def text_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[at]) for line in [head, *lines]) for at in range(len(head))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip()
                     for line in [head, *lines])


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> list[str]:
    rows = ["| " + " | ".join(text.replace("|", "\\|") for text in line) + " |"
            for line in [head, *lines]]
    return [rows[0], "|" + " --- |" * len(head), *rows[1:]]


def line(one: Result) -> str:
    """A round in one line, for who watches."""
    if one.broken:
        return f"BROKEN: {one.broken}"
    words = [f"write gap {time_words(one.write_gap_ms)}", f"read gap {time_words(one.read_gap_ms)}",
             f"lost {one.lost:,} of {one.acknowledged:,}", f"two writers {one.two_writers_s:.1f} s"]
    words += [f"{name.replace('_', ' ')} {value:.10g}" for name, value in one.extra.items()]
    if one.stages:
        told = " + ".join(f"{name} {ms:.0f}" for name, ms in one.stages.items())
        words.append(f"{told} = {sum(one.stages.values()):.0f} ms")
    words.append("not whole in time" if one.whole_s is None else f"whole after {one.whole_s:.1f} s")
    return "; ".join([*words, f"load {one.load:.1f}", *one.notes])


def terminal(results: Sequence[Result]) -> str:
    groups = grouped(results)
    parts = []
    for data_gb in sorted({one.data_gb for one in groups}):
        lines = [cells(groups, one) for one in groups if one.data_gb == data_gb]
        parts.append(f"{size_words(data_gb)}\n{text_table(HEAD, lines)}")
    stages = stage_lines(groups)
    if stages:
        parts.append(f"Regroup's own stages, medians\n{text_table(STAGE_HEAD, stages)}")
    parts.append("\n".join(verdicts(groups)))
    return "\n\n".join(parts)


def page(text: str, results: Sequence[Result]) -> str:
    """`text` with what stands between the marks written anew."""
    groups = grouped(results)
    out = [measured_words(results), ""]
    for data_gb in sorted({one.data_gb for one in groups}):
        lines = [cells(groups, one) for one in groups if one.data_gb == data_gb]
        out += [f"### {title_words(data_gb)}", "", *markdown(HEAD, lines), ""]
    stages = stage_lines(groups)
    if stages:
        out += ["### Regroup's own stages", "", *markdown(STAGE_HEAD, stages), ""]
    bars = verdicts(groups)
    if bars:
        out += ["### Bars", "", *(f"- {line}" for line in bars), ""]
    return between(text, "\n".join(out))


def measured_words(results: Sequence[Result]) -> str:
    if not any(one.when for one in results):
        return "Not run yet."
    days = sorted({one.when[:10] for one in results if one.when})
    versions = ", ".join(sorted({one.version for one in results if one.version}))
    loads = [one.load for one in results]
    return (f"Measured {days[0]}{f' to {days[-1]}' if days[1:] else ''}, version {versions}. Load "
            f"average before a round: median {median(loads):.1f}, highest {max(loads):.1f}.")


def between(text: str, inside: str) -> str:
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} … {END}")
    return before + begin + "\n" + inside.strip("\n") + "\n" + end + after
