"""Lengths of time as people write them: 90s, 10m, 8h."""

from __future__ import annotations

import math
import re

from harness import UsageError

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600}


def duration_s(text: str, option: str) -> float:
    """In seconds, of the option's value.  Raises UsageError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\+?\d+)?)([smh]?)", text.strip())
    if match is None:
        raise UsageError(f"{option} {text!r}: give a length of time, as in 90s, 10m or 8h")
    seconds = float(match[1]) * _UNITS_S[match[2]]
    if not 0 < seconds < math.inf:
        wrong = "more than nothing" if not seconds else "finite"
        raise UsageError(
            f"{option} {text[:50]}: a length of time has to be {wrong}", remedy="Give one as in 90s, 10m or 8h."
        )
    return seconds
