"""What the ensemble's clients saw: writes acknowledged, failed, or of unknown fate, in all and over time."""

from __future__ import annotations

from collections import Counter
from typing import Any

from checker.history import Op

_MS = 1_000_000
_BINS_MAX = 2_000
_OUTCOMES = {"ok": 0, "fail": 1, "info": 2}


class ClientRows:
    """Counts, in constant memory: when there are too many bins of time, they become twice as wide."""

    def __init__(self) -> None:
        self.bin_ns = 50 * _MS
        self.counts: dict[str, Counter[str]] = {}
        self.errors: Counter[str] = Counter()
        self._bins: dict[int, list[int]] = {}
        self._pending: dict[int | str, str] = {}

    def feed(self, op: Op) -> None:
        counts = self.counts.setdefault(op.f, Counter())
        if op.type == "invoke":
            counts["asked"] += 1
            self._pending[op.process] = op.f
            return
        self._pending.pop(op.process, None)
        counts[op.type] += 1
        if op.error and (len(self.errors) < 1_000 or op.error in self.errors):
            self.errors[op.error] += 1
        if op.f == "create":
            bin_ = op.time // self.bin_ns
            self._bins.setdefault(bin_, [0, 0, 0])[_OUTCOMES[op.type]] += 1
            if len(self._bins) > _BINS_MAX:
                self._widen()

    def _widen(self) -> None:
        self.bin_ns *= 2
        bins: dict[int, list[int]] = {}
        for at, counts in self._bins.items():
            sums = bins.setdefault(at // 2, [0, 0, 0])
            for i, count in enumerate(counts):
                sums[i] += count
        self._bins = bins

    def table(self) -> list[dict[str, Any]]:
        """A row for each thing that clients did; an op that was never answered counts as unknown."""
        never = Counter(self._pending.values())
        return [
            {
                "f": f,
                "asked": counts["asked"],
                "ok": counts["ok"],
                "fail": counts["fail"],
                "unknown": counts["info"] + never[f],
            }
            for f, counts in sorted(self.counts.items())
        ]

    def columns(self) -> dict[str, Any]:
        """Bins of writes for the timeline: the number of each bin, and what was acknowledged, failed, unknown in it."""
        bins = sorted(self._bins.items())
        return {
            "bin_us": self.bin_ns // 1_000,
            "n": [at for at, _ in bins],
            "ok": [c[0] for _, c in bins],
            "fail": [c[1] for _, c in bins],
            "unknown": [c[2] for _, c in bins],
        }
