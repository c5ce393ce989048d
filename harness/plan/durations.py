"""Lengths of time as people write them: 90s, 10m, 8h, 1d, or plain seconds.

One grammar for options (`--for`, `--until`, `--budget`) and for the keys of plans that end in `_s`.
"""

from __future__ import annotations

import math
import re

from harness import UsageError

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_GRAMMAR = re.compile(r"(\d+(?:\.\d+)?(?:e\+?\d+)?)([smhd]?)")
EXAMPLES = "90s, 10m, 8h or 1d"


def seconds(text: str) -> float | None:
    """The text in seconds, which may be 0 or infinite; None where it is no length of time."""
    match = _GRAMMAR.fullmatch(text.strip())
    return None if match is None else float(match[1]) * _UNITS_S[match[2]]


def duration_s(text: str, option: str) -> float:
    """In seconds, more than 0 and finite, of the option's value.  Raises UsageError."""
    found = seconds(text)
    if found is None:
        raise UsageError(f"{option} {text!r}: give a length of time, as in {EXAMPLES}")
    if not 0 < found < math.inf:
        wrong = "finite" if found else "more than nothing"
        raise UsageError(
            f"{option} {text[:50]}: a length of time has to be {wrong}", remedy=f"Give one as in {EXAMPLES}."
        )
    return found
