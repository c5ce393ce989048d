"""How fast a history of 10 million ops is checked, against decoding it alone, and in how much memory.

It is judged by its memory, and by the ratio to what decoding alone takes; the figures are printed.  Both are processor
times of processes of their own, taken by turns, each the best of some.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks import night

OPS = 10_000_000
LOAD = 20

DEFAULT_OPS = 300_000
"""At the rate of requests that a run has by default, for comparison."""

RATIO_MAX = 1_300_000 / 500_000
"""500,000 ops a second are asked for where decoding alone makes 1,300,000; machines differ, and one within a day."""

MEMORY_MB_MAX = 250

DECODE = "ops = sum(len(ops) for ops in checker.history.read(sys.argv[1]).chunks())"
CHECK = "verdict = checker.verdict.check(sys.argv[1]); assert verdict.valid is True; ops = verdict.run['ops']"
PROGRAM = (
    "import re, sys, time, checker.history, checker.verdict; began = time.process_time(); {}; "
    "took_s = time.process_time() - began; status = open('/proc/self/status').read(); "
    "print(ops, took_s, int(re.search(r'VmHWM:\\s+(\\d+)', status)[1]) / 1024)"
)
"""Ops, seconds, and the most memory of this process (that of `getrusage` would be its parent's, before exec)."""


def measure(work: str, history: Path) -> tuple[float, float]:
    """Ops a second, and the most memory in MB."""
    program = [sys.executable, "-c", PROGRAM.format(work), str(history)]
    told = subprocess.run(program, capture_output=True, check=True, timeout=600).stdout.split()
    return int(told[0]) / float(told[1]), float(told[2])


def compare(history: Path, times: int) -> tuple[float, float, float]:
    """Ops a second of decoding and of checking, and the most memory of checking in MB."""
    decoding, checking = zip(*((measure(DECODE, history), measure(CHECK, history)) for _ in range(times)), strict=True)
    return max(speed for speed, _ in decoding), max(speed for speed, _ in checking), max(mb for _, mb in checking)


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
def test_a_history_of_ten_million_ops_is_checked_in_little_memory_and_little_more_time_than_decoding(
    tmp_path: Path,
) -> None:
    history = tmp_path / "history.jsonl"
    for ops, load, times in ((DEFAULT_OPS, 1, 3), (OPS, LOAD, 4)):
        mix = night.write(history, ops, load)
        decoding, checking, mb = compare(history, times)
        print(
            f"\n{mix.total():,} ops, {load * night.REQUESTS_PER_S:.0f} requests a second: "
            f"decoding {decoding:,.0f} ops/s, checking {checking:,.0f} ops/s, ratio {decoding / checking:.2f}, "
            f"{mb:.0f} MB; "
            + ", ".join(f"{' '.join(what)} {100 * n / mix.total():.2f} %" for what, n in mix.most_common(11))
        )
    history.unlink()
    assert mb <= MEMORY_MB_MAX
    assert decoding / checking <= RATIO_MAX
