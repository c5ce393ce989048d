"""Lengths of time as people write them: 90s, 10m, 8h."""

from __future__ import annotations

import re

from harness.errors import UsageError

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}


def duration_s(text: str, option: str) -> float:
    """In seconds, of the option's value.  Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None or not float(match[1]):
        raise UsageError(f"{option} {text!r}: give a length of time, as in 90s, 10m or 8h")
    return float(match[1]) * _UNITS_S[match[2]]
