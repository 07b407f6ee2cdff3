"""docs/failure-modes.md as text: rows are kept by name, and what people wrote around them stays."""

from __future__ import annotations

import pytest

from faults import table
from faults.rows import ROWS, UNMADE
from faults.table import BEGIN, END, Row
from harness import ROOT

TEXT = f"# Head\n\nBefore.\n\n{BEGIN}\n{END}\n\nAfter.\n"


def row(name: str, violations: str = "none") -> Row:
    return Row(name, "1", "1 + 2", "a | fault", "as\nwanted", "gap 1 ms", violations, "",
               "2026-01-01 abc")


def test_rows_survive_the_way_out_and_back() -> None:
    text = table.document(TEXT, [row("one"), row("two", "S1: x")], [("a|b", "why")], ["three"])
    back = table.rows_of(text)
    assert [one.name for one in back] == ["one", "two"]
    assert back[0].fault == "a | fault" and back[0].expected == "as wanted" and back[0].notes == "-"
    assert text.startswith("# Head\n\nBefore.\n") and text.endswith("After.\n")
    assert "2 rows were run; 1 without a violation." in text and "`three`" in text
    assert table.document(text, back, [("a|b", "why")], ["three"]) == text


def test_a_partial_run_updates_its_rows_alone() -> None:
    old = [row("one"), row("two"), row("gone")]
    new = [row("two", "S2: worse"), row("three")]
    found = table.merged(old, new, ["three", "two", "one", "four"])
    assert [one.name for one in found] == ["three", "two", "one"]
    assert found[1].violations == "S2: worse"


def test_a_document_without_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="rows"):
        table.document("# Head\n", [], [], [])
    assert table.rows_of("# Head\n") == []


def test_the_document_holds_rows_of_today() -> None:
    text = (ROOT / "docs" / "failure-modes.md").read_text()
    rows = table.rows_of(text)
    names = [row.name for row in ROWS]
    assert [one.name for one in rows] == [name for name in names
                                          if name in {one.name for one in rows}]
    for what, _ in UNMADE:
        assert table.cell(what) in text
