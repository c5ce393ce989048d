"""The lines of the history that the page can show: all of a short run's, of a long one those that matter.

Kept are, in this order and as far as there is room: what lies around each op that proves a violation; what the nemesis
and the controller said, and what made somebody an established leader; and everything else, if all of it fits.
"""

from __future__ import annotations

from typing import Any

from checker.history import Op, encode
from harness.report.columns import column, mapping, visible

LINE_MAX = 6_000
"""Characters of a line; the rest of it is in the history."""
PROOF_BYTES_MAX = 800_000
MARKS_BYTES_MAX = 300_000
REST_BYTES_MAX = 800_000


class Lines:
    """Feed it every op."""

    def __init__(self, wanted: set[int]) -> None:
        self._wanted = wanted
        self._rooms = [PROOF_BYTES_MAX, MARKS_BYTES_MAX, REST_BYTES_MAX]
        self._kept: tuple[dict[int, str], ...] = ({}, {}, {})
        self.all_kept = True

    def feed(self, op: Op) -> None:
        rank = 0 if op.index in self._wanted else 1 if _is_mark(op) else 2
        if self._rooms[rank] <= 0:
            return
        line = encode(op).decode().rstrip("\n")
        if len(line) > LINE_MAX:
            line = line[:LINE_MAX] + " ... (the rest is in the history)"
        self._kept[rank][op.index] = line
        self._rooms[rank] -= len(line)
        if self._rooms[rank] <= 0:
            self.all_kept = False
            if rank == 2:
                self._kept[2].clear()  # a part of everything would be its beginning only

    def columns(self) -> dict[str, Any]:
        lines = {index: line for kept in self._kept for index, line in kept.items()}
        order = sorted(lines)
        return {"i": column(order), "x": [visible(lines[index]) for index in order], "all": self.all_kept}


def _is_mark(op: Op) -> bool:
    return op.process in ("nemesis", "controller") or (op.f == "state" and bool(mapping(op.value).get("established")))
