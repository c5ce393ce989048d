"""`results.json`: the verdict on a run, and which Onethrone gave it."""

from __future__ import annotations

import json
import os
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
    """Write the whole file or none of it.  Raises OSError."""
    half = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        half.write_text(text(verdict), encoding="utf-8")
        os.replace(half, file)
    finally:
        half.unlink(missing_ok=True)
