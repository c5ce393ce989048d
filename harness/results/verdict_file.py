"""`results.json`: the verdict on a run, and which Onethrone gave it."""

from __future__ import annotations

import json
from pathlib import Path

from checker.verdict import Verdict
from harness.results import version

PROGRAM = "onethrone"
"""The key of the program's version; every other key is the verdict's (`checker.verdict.Verdict.to_dict`)."""


def text(verdict: Verdict) -> str:
    """The text of the file."""
    about = {"version": version.number()} | ({"commit": version.commit()} if version.commit() else {})
    return json.dumps({**verdict.to_dict(), PROGRAM: about}, indent=2, ensure_ascii=False) + "\n"


def write(verdict: Verdict, file: Path) -> None:
    """Raises OSError."""
    file.write_text(text(verdict), encoding="utf-8")
