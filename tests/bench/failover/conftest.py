"""The tests here need no cluster: pure parts, and clients against redis-servers on this machine."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import paths  # noqa: E402, F401
