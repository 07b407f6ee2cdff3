"""docs/failure-modes.md: written by runs, one row a fault, kept by name. Pure text in, text out."""

from __future__ import annotations

import re
from dataclasses import dataclass

BEGIN, END = "<!-- rows -->", "<!-- end of rows -->"
HEAD = ["name", "row", "start", "fault", "expected", "measured", "violations", "notes", "run"]


@dataclass(frozen=True)
class Row:
    """A line of the table; `run` is date and version of the run that wrote it."""

    name: str
    matrix: str
    start: str
    fault: str
    expected: str
    measured: str
    violations: str  # "none", or sentences
    notes: str
    run: str

    def cells(self) -> list[str]:
        return [f"`{self.name}`", self.matrix, self.start, self.fault, self.expected, self.measured,
                self.violations, self.notes, self.run]


def cell(text: str) -> str:
    """A cell may hold neither a line's end nor a column's."""
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip() or "-"


def line(row: Row) -> str:
    return "| " + " | ".join(cell(text) for text in row.cells()) + " |"


def parse_line(text: str) -> Row | None:
    cells = [part.replace("\\|", "|").strip()
             for part in re.split(r"(?<!\\)\|", text.strip())[1:-1]]
    if len(cells) != len(HEAD) or not re.fullmatch(r"`[\w-]+`", cells[0]):
        return None
    return Row(cells[0].strip("`"), *cells[1:])


def rows_of(document: str) -> list[Row]:
    _, begin, rest = document.partition(BEGIN)
    inside, end, _ = rest.partition(END)
    if not begin or not end:
        return []
    return [row for row in map(parse_line, inside.splitlines()) if row is not None]


def merged(old: list[Row], new: list[Row], order: list[str]) -> list[Row]:
    """New rows replace old ones of their name; rows of faults that are no more are dropped."""
    by_name = {row.name: row for row in old}
    by_name.update({row.name: row for row in new})
    return [by_name[name] for name in order if name in by_name]


def document(text: str, rows: list[Row], unmade: list[tuple[str, str]], not_run: list[str]) -> str:
    """`text` with the part between the marks written anew; what stands around it stays."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document has no {BEGIN} … {END}")
    broken = [row for row in rows if row.violations != "none"]
    out = ["", f"{len(rows)} rows were run; {len(rows) - len(broken)} without a violation.", ""]
    out += ["| " + " | ".join(HEAD) + " |", "|" + " --- |" * len(HEAD)]
    out += [line(row) for row in rows]
    out += ["", "### Not run yet", "", ", ".join(f"`{name}`" for name in not_run) or "None."]
    out += ["", "### What one machine cannot show", "", "| fault | why not here |", "| --- | --- |"]
    out += [f"| {cell(what)} | {cell(why)} |" for what, why in unmade]
    return before + begin + "\n".join(out) + "\n\n" + end + after
