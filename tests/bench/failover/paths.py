"""Puts the end-to-end tests' modules within reach: client, observer and faults are theirs."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]

for folder in (HERE, HERE.parent, ROOT / "tests" / "e2e"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
