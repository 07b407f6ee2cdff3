"""Statistics, tables, page and chart out of results that are written down by hand."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

import chart
import guard_report
import report
import results
import stats
from client import WriteLog
from observer import ObserverLog, Ok
from results import Result

MARKED = f"# Head\n\nBefore.\n\n{report.BEGIN}\n{report.END}\n\nAfter.\n"


def rounds(system: str, fault: str, *gaps: float, data_gb: float = 0,
           **more: object) -> list[Result]:
    return [Result(system, fault, data_gb, write_gap_ms=gap, read_gap_ms=gap / 10,
                   acknowledged=1000, when="2026-01-02T03:04:05Z", version="abc1234", load=1.5,
                   **more) for gap in gaps]  # type: ignore[arg-type]


def table() -> list[Result]:
    own = {"detect": 10.0, "promote": 20.0, "endpoint": 15.0}
    return [*rounds("sentinel", "kill", 2000, 2200, 2400),
            *rounds("regroup", "kill", 90, 80, 250, stages=own),
            *rounds("role-label", "kill", 1100, two_writers_s=0.4, lost=7),
            *rounds("regroup", "planned", 40, lost=1),
            *rounds("regroup", "kill", 180, data_gb=1),
            Result("role-label", "planned", 0, broken="it broke")]


# -- statistics ---------------------------------------------------------------------------------
def test_percentiles_are_values_that_were_measured() -> None:
    assert stats.percentile([3, 1, 2], 0.5) == 2 and stats.percentile([1, 2], 0.99) == 2
    assert stats.percentile(list(range(1, 201)), 0.99) == 198
    assert stats.spread([]) is None
    assert stats.spread([5, 1, 3]) == stats.Spread(3, 3, 5, 5)
    assert stats.ratio(10, 4) == 2.5 and stats.ratio(1, 0) is None


def test_gaps_of_one_and_of_many_connections() -> None:
    one = WriteLog("a", [(1.0, 1), (1.9, 2), (5.0, 3), (6.0, 4)], [], 0.5, 6.5)
    other = WriteLog("b", [(1.0, 1), (2.5, 2), (3.5, 3), (6.0, 4)], [(2.0, "refused")], 0.5, 6.5)
    assert stats.gap_ms(one, 2.0, 6.5) == pytest.approx(3100)
    both = stats.pooled([one, other])
    assert stats.gap_ms(both, 2.0, 6.5) == pytest.approx(1500)
    assert both.failures == [(2.0, "refused")] and both.started == 0.5


def oks(label: str, begin: float, end: float) -> list[Ok]:
    count = round((end - begin) / 0.02)
    return [Ok(begin + n * 0.02 - 0.001, begin + n * 0.02, label) for n in range(count + 1)]


def test_two_writers_are_counted_once_for_all_observers() -> None:
    apart = ObserverLog(oks("a", 0, 1) + oks("b", 1.1, 3))
    assert stats.two_writers_s([apart]) == 0
    twice = ObserverLog(oks("a", 0, 2) + oks("b", 1, 3))
    assert stats.two_writers_s([twice]) == pytest.approx(1.0)
    assert stats.two_writers_s([twice, twice]) == pytest.approx(1.0)


def test_what_is_silent_outside_may_write_inside() -> None:
    outside = ObserverLog(oks("a", 0, 1) + oks("b", 2, 6),
                          [(1 + n * 0.12, "a", "timeout") for n in range(40)])
    inside = ObserverLog(oks("a", 0, 4))
    assert stats.two_writers_s([outside]) == 0
    assert stats.two_writers_s([outside, inside]) == pytest.approx(2.0)


# -- results ------------------------------------------------------------------------------------
def test_lines_survive_and_half_a_line_does_not(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "lines.jsonl"
    assert results.read(file) == []
    for one in table():
        results.add(file, one)
    with file.open("a") as stream:
        foreign = {"system": "x", "fault": "kill", "data_gb": 0, "unknown": 1}
        stream.write(json.dumps(foreign) + "\n")
        stream.write('{"system": "cut sho')
    found = results.read(file)
    assert found[:-1] == table() and found[-1] == Result("x", "kill", 0)
    assert results.counts(found)[("regroup", "kill", 0)] == 3
    assert ("role-label", "planned", 0) not in results.counts(found)
    results.set_aside(file)
    assert not file.exists() and len(list(file.parent.iterdir())) == 1
    results.set_aside(file)


def test_a_page_keeps_its_lines_and_another_machine_goes_on(tmp_path: Path) -> None:
    here, there = tmp_path / "here.jsonl", tmp_path / "there" / "there.jsonl"
    page = tmp_path / "page.md"
    first, second = rounds("regroup", "kill", 90, 80)
    results.take_up(there, page)  # no page yet
    assert results.read(there) == []
    results.add(here, first)
    results.publish(here, page)
    results.add(there, second)
    for _ in range(2):  # what was taken up once is not taken up again
        results.take_up(there, page)
        assert results.read(there) == [first, second]


# -- the table ----------------------------------------------------------------------------------
def test_rows_are_in_order_and_compared_with_regroup() -> None:
    groups = report.grouped(table())
    assert [(one.data_gb, one.fault, one.system) for one in groups] == [
        (0, "kill", "regroup"), (0, "kill", "sentinel"), (0, "kill", "role-label"),
        (0, "planned", "regroup"), (0, "planned", "role-label"), (1, "kill", "regroup")]
    first, second, third = (report.cells(groups, one) for one in groups[:3])
    assert first == ["process kill", "Regroup", "3", "90 ms", "250 ms", "250 ms", "", "", "",
                     "9 ms", "25 ms", "0", "0"]
    assert second[3:7] == ["2,200 ms", "2,400 ms", "2,400 ms", "24×"]
    assert third[6] == "12×" and third[-2:] == ["7 of 1,000", "0.4 s"]
    assert report.cells(groups, groups[4])[2:4] == ["0 (1 broken)", "-"]


def test_stages_are_laid_beside_the_gap() -> None:
    lines = report.stage_lines(report.grouped(table()))
    assert lines == [["process kill", "Regroup", "empty sets", "10 ms", "20 ms", "15 ms", "45 ms",
                      "90 ms", "45 ms"]]


def test_bars_are_judged() -> None:
    said = report.verdicts(report.grouped(table()))
    assert any(line.startswith("held: Regroup, process kill, empty sets: median 90 ms")
               for line in said)
    assert any(line.startswith("MISSED: Regroup, planned") and "lost" in line for line in said)
    assert any(line.startswith("held: Sentinel, 1,000 ms, process kill") for line in said)
    behind = [*rounds("regroup", "power", 6000), *rounds("sentinel", "power", 3000)]
    assert any(line.startswith("MISSED: Sentinel") for line in
               report.verdicts(report.grouped(behind)))


def test_what_is_lost_closes_no_gap() -> None:
    acks = [(1.0, 1), (1.1, 2), (1.2, 3), (2.5, 4), (2.6, 5)]
    log = WriteLog("a", acks, [], 0.5, 3.0)
    assert stats.gap_ms(log, 1.05, 3.0) == pytest.approx(1300)
    assert stats.kept_gap_ms(log, [], 1.05, 3.0) == pytest.approx(1300)
    assert stats.kept_gap_ms(log, acks[1:3], 1.05, 3.0) == pytest.approx(1500)
    groups = report.grouped([*rounds("regroup", "planned", 50, kept_gap_ms=50.0),
                             *rounds("sentinel", "planned", 10, kept_gap_ms=1000.0, lost=480)])
    assert report.cells(groups, groups[1])[6:9] == ["0.2×", "1,000 ms", "20×"]
    assert report.verdicts(groups)[-1].endswith("(> 1); between writes that were kept 20×")


def test_a_wiped_set_is_told() -> None:
    groups = report.grouped(rounds("sentinel", "kill", 900, missing=1000, lost=3))
    assert report.cells(groups, groups[0])[-2] == "3 of 1,000; set gone 1×"


def test_the_page_keeps_what_people_wrote() -> None:
    text = report.page(MARKED, table())
    assert text.startswith("# Head\n\nBefore.\n") and text.endswith("After.\n")
    assert "### Empty sets" in text and "### 1 GB in each member" in text
    assert "version abc1234" in text and "| process kill | Regroup | 3 |" in text
    assert report.page(text, table()) == text
    assert "Not run yet." in report.page(text, [])
    with pytest.raises(ValueError, match="figures"):
        report.page("# Head\n", [])


def test_the_terminal_says_the_same() -> None:
    text = report.terminal(table())
    assert "empty sets" in text and "Regroup's own stages" in text and "24×" in text
    assert report.line(table()[3]).startswith("write gap 90 ms; read gap 9 ms; lost 0 of 1,000;")
    assert "detect 10 + promote 20 + endpoint 15 = 45 ms" in report.line(table()[3])
    assert report.line(table()[-1]) == "BROKEN: it broke"


# -- the guard's page ---------------------------------------------------------------------------
def test_the_guards_rows() -> None:
    inside = {"inside_acknowledged": 400, "inside_lost": 390, "inside_for_s": 4.2, "late": 0}
    found = [*rounds("guard-off", "loss", 61_000, extra=inside),
             *rounds("guard-auto", "loss", 6100, extra={**inside, "inside_lost": 200}),
             *rounds("guard-auto", "restart", 300, 900, failures={"NOREPLICAS": 9})]
    lines = guard_report.lines(found)
    assert [line[1] for line in lines] == ["Auto", "Auto", "Off"]
    assert lines[0][2:6] == ["2", "600 ms", "900 ms", "2"] and lines[0][-1] == ""
    assert lines[2][-3:] == ["at most 4.2 s", "390 of 400", "0"]
    page = guard_report.page(MARKED, found)
    assert "61.0 s" in page and guard_report.page(page, found) == page
    assert guard_report.terminal([]) == "no rounds yet"


# -- the chart ----------------------------------------------------------------------------------
def test_the_scale_is_logarithmic_and_has_ends() -> None:
    ten, hundred, thousand = (chart.across(ms) for ms in (10, 100, 1000))
    assert ten == chart.LEFT and hundred - ten == pytest.approx(thousand - hundred)
    assert chart.across(1) == ten and chart.across(1e9) == chart.WIDTH - chart.RIGHT


def test_the_chart_is_svg_with_a_bar_for_each_system() -> None:
    bars = chart.bars_of(report.grouped(table()))
    assert [(bar.fault, bar.system) for bar in bars] == [
        ("kill", "regroup"), ("kill", "sentinel"), ("kill", "role-label"), ("planned", "regroup")]
    text = chart.svg(bars, 'Gaps & "words" <1>', "a note")
    root = ElementTree.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    rects = root.findall(f"{space}rect")[1:]
    assert len(rects) == 4 and "a note" in text
    assert root.attrib["aria-label"] == 'Gaps & "words" <1>'
    height = float(root.attrib["viewBox"].split()[3])
    for rect in rects:
        assert float(rect.attrib["width"]) >= 1
        assert float(rect.attrib["y"]) + chart.BAR < height - chart.FOOT + 10
    assert float(rects[1].attrib["width"]) > float(rects[2].attrib["width"])
