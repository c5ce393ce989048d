"""Numbers of things, in words: right for one as for many."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from checker.counted import counted

ROOT = Path(__file__).resolve().parents[2]
PRINTED = ("run", "fault", "seed", "reason", "batch", "op", "event", "kind", "violation", "transition", "world")


def test_one_is_singular_and_everything_else_plural() -> None:
    assert [counted(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]
    assert counted(1, "lost batch", "lost batches") == "1 lost batch"
    assert counted(2, "lost batch", "lost batches") == "2 lost batches"


@pytest.mark.parametrize("folder", ["checker", "harness/cli", "harness/shrink", "harness/replay", "harness/watch"])
def test_no_message_puts_a_plural_behind_a_number_that_may_be_one(folder: str) -> None:
    plural = re.compile(r"\{[^{}]*\} (more )?(" + "|".join(f"{one}(s|es)" for one in PRINTED) + r")\b(?!/s)")
    found = [
        f"{file.relative_to(ROOT)}:{number}: {line.strip()}"
        for file in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(file.read_text().splitlines(), 1)
        if plural.search(line) and "_MAX" not in line
    ]
    assert not found, "\n".join(found)
