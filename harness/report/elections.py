"""How long the throne was empty before each election ended, in all and per kind of fault that was in force then.

An election counts for each kind of fault that may have been in force while the throne was empty, and for "no fault" if
none was.  The first election, that of the start, does not count; neither does one in which a new leader was established
before the old one had gone: the throne was never empty.  Durations are binned by their logarithm, so that 200 ms and
20 s can stand in one picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from harness.report.lanes import Reign

BINS = 60
NO_FAULT = "no fault"
ALL = "all"
_MS = 1_000_000


def distribution(reigns: Sequence[Reign], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Rows for the page.  `kinds`: the kind of each fault that a reign names."""
    durations: dict[str, list[int]] = {}
    for place, reign in enumerate(reigns):
        if place == 0 or not reign.empty_before:
            continue
        found = {kinds.get(fault, fault) for fault in reign.faults} or {NO_FAULT}
        for kind in (ALL, *found):
            durations.setdefault(kind, []).append(reign.empty_before)
    if not durations:
        return {"rows": [], "ticks": [], "bins": BINS}
    low, high = _range(durations[ALL])
    rows: list[dict[str, Any]] = [
        {
            "kind": kind,
            "count": len(times),
            "least": min(times),
            "median": int(median(times)),
            "p90": _quantile(times, 0.9),
            "most": max(times),
            "bars": _bars(times, low, high),
            "middle": round(100 * _share(int(median(times)), low, high), 2),
        }
        for kind, times in durations.items()
    ]
    rows.sort(key=lambda row: (row["kind"] != ALL, row["kind"] == NO_FAULT, -row["median"], row["kind"]))
    ticks = [10**n * step for n in range(6, 13) for step in (1, 2, 5)]
    shown = [tick for tick in ticks if low <= tick <= high]
    if len(shown) > 7:
        shown = [tick for tick in shown if str(tick)[0] == "1"]
    return {
        "rows": rows,
        "bins": BINS,
        "ticks": [{"ns": tick, "at": round(100 * _share(tick, low, high), 2)} for tick in shown],
    }


def _range(times: Sequence[int]) -> tuple[int, int]:
    """From a little below the least to a little above the most, a factor of four at least."""
    low, high = max(1, min(times)) / 1.25, max(times) * 1.25
    if high < 4 * low:
        middle = math.sqrt(low * high)
        low, high = middle / 2, middle * 2
    return max(1, int(low)), int(high)


def _share(ns: int, low: int, high: int) -> float:
    return min(1.0, max(0.0, math.log(max(1, ns) / low) / math.log(high / low)))


def _bars(times: Sequence[int], low: int, high: int) -> list[dict[str, float]]:
    counts = [0] * BINS
    for ns in times:
        counts[min(BINS - 1, int(_share(ns, low, high) * BINS))] += 1
    most = max(counts)
    return [
        {"at": round(100 * n / BINS, 2), "count": count, "share": round(max(12.0, 100 * count / most), 1)}
        for n, count in enumerate(counts)
        if count
    ]


def _quantile(times: Sequence[int], share: float) -> int:
    """The least of `times` that at least this share of them does not exceed."""
    return sorted(times)[max(0, math.ceil(share * len(times)) - 1)]
