"""The chart for the README: median write gap by fault and system, and the worst, log scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence
from xml.sax.saxutils import escape

from report import FAULTS, HOME, SYSTEMS, Group, time_words

WIDTH, LEFT, RIGHT, TOP = 860, 250, 100, 64
BAR, STEP, GAP, FOOT = 14, 20, 16, 56
COLOURS = {"regroup": "#0b7a5f", "regroup-tuned": "#58b09c", "sentinel": "#c2571a",
           "sentinel-default": "#e0a27e", "role-label": "#4a6fa5"}
OTHER = "#888888"
LEAST_MS, MOST_MS = 10.0, 100_000.0


@dataclass(frozen=True)
class Bar:
    fault: str
    system: str
    median_ms: float
    worst_ms: float
    rounds: int


def bars_of(groups: Sequence[Group], data_gb: float = 0) -> list[Bar]:
    return [Bar(one.fault, one.system, one.write.median, one.write.worst, one.write.count)
            for one in groups if one.data_gb == data_gb and one.write is not None]


def across(ms: float) -> float:
    """The place of a time on the scale; what is beyond its ends stays at them."""
    held = min(max(ms, LEAST_MS), MOST_MS)
    share = math.log(held / LEAST_MS) / math.log(MOST_MS / LEAST_MS)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def svg(bars: Sequence[Bar], title: str, note: str = "") -> str:
    """A whole SVG document; readable on light and dark pages alike."""
    rows, faults, y = [], list(dict.fromkeys(bar.fault for bar in bars)), TOP
    for fault in faults:
        rows.append(_text(16, y + BAR - 2, FAULTS.get(fault, fault), bold=True))
        for bar in (one for one in bars if one.fault == fault):
            rows += _bar(bar, y)
            y += STEP
        y += GAP
    height = y + FOOT - GAP
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
           f'font-family="system-ui, sans-serif" font-size="12" role="img" '
           f'aria-label="{escape(title, {chr(34): "&quot;"})}">',
           f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
           _text(16, 26, title, bold=True, size=15), *_scale(height - FOOT + 4), *rows]
    if note:
        out.append(_text(16, height - 12, note, colour="#555555"))
    return "\n".join([*out, "</svg>"]) + "\n"


def _scale(bottom: float) -> list[str]:
    out, ms = [], LEAST_MS
    while ms <= MOST_MS:
        x = across(ms)
        out.append(f'<line x1="{x:.1f}" y1="{TOP - 10}" x2="{x:.1f}" y2="{bottom:.1f}" '
                   'stroke="#dddddd"/>')
        words = f"{ms:.0f} ms" if ms < 1000 else f"{ms / 1000:.0f} s"
        out.append(_text(x, TOP - 16, words, anchor="middle", colour="#555555"))
        ms *= 10
    return out


def _bar(bar: Bar, y: float) -> list[str]:
    name = SYSTEMS.get(bar.system, bar.system)
    begin, end, worst = across(LEAST_MS), across(bar.median_ms), across(bar.worst_ms)
    middle, colour = y + BAR / 2, COLOURS.get(bar.system, OTHER)
    words = f"{time_words(bar.median_ms)} (worst {time_words(bar.worst_ms)})"
    return [
        _text(LEFT - 8, y + BAR - 3, name, anchor="end", bold=bar.system == HOME),
        f'<rect x="{begin:.1f}" y="{y}" width="{max(end - begin, 1):.1f}" height="{BAR}" '
        f'fill="{colour}"><title>{escape(f"{name}: {words}, {bar.rounds} rounds")}</title></rect>',
        f'<line x1="{end:.1f}" y1="{middle}" x2="{worst:.1f}" y2="{middle}" stroke="{colour}" '
        'stroke-width="2"/>',
        f'<line x1="{worst:.1f}" y1="{y + 2}" x2="{worst:.1f}" y2="{y + BAR - 2}" '
        f'stroke="{colour}" stroke-width="2"/>',
        _text(worst + 6, y + BAR - 3, time_words(bar.median_ms), colour="#333333")]


def _text(x: float, y: float, words: str, anchor: str = "start", bold: bool = False,
          size: int = 0, colour: str = "#111111") -> str:
    more = (' font-weight="600"' if bold else "") + (f' font-size="{size}"' if size else "")
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}"{more}>'
            f"{escape(words)}</text>")
