"""Which Onethrone this is: the version, and the commit where it runs from a checkout.

Both stand in `results.json`, in reports and in `onethrone --version`.  Histories, schedules and journals, which are
compared byte for byte, hold neither.
"""

from __future__ import annotations

import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path

_ROOT = Path(__file__).parents[2]
_GIT_DEADLINE_S = 5.0


@cache
def number() -> str:
    """The version of the installed package, such as "0.2.0"."""
    try:
        return metadata.version("onethrone")
    except metadata.PackageNotFoundError:
        return "unknown (not installed)"


@cache
def commit() -> str:
    """The commit of the checkout that runs, with "+" where files differ from it; "" outside a checkout."""
    if not (_ROOT / ".git").exists():
        return ""
    head = _git("rev-parse", "--short=12", "HEAD")
    return f"{head}+" if head and _git("status", "--porcelain", "--untracked-files=no") else head


def full() -> str:
    """Both, as people read them: "0.2.0 (commit 1a2b3c4d5e6f)"."""
    return f"{number()} (commit {commit()})" if commit() else number()


def _git(*words: str) -> str:
    """What git answers; "" where it does not (there is none, or the checkout is another user's)."""
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_GIT_DEADLINE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
