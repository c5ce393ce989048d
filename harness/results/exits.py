"""The exit codes of every command, which are Jepsen's; a campaign reads those of its children.

A command whose question is not a verdict keeps to the same order: 0 yes, 1 no, 2 nobody knows.
"""

from __future__ import annotations

from checker.promises.base import Valid

VALID, INVALID, UNKNOWN = 0, 1, 2
WRONG_INPUT = 254
"""Wrong usage, a bad file, or hosts that cannot be used: something that the user can mend."""
HARNESS_FAILED = 255

JUDGED = (VALID, INVALID, UNKNOWN)
"""The command came to a verdict."""

HELP = "Exit codes: 0 valid, 1 invalid, 2 unknown, 254 wrong usage or input, 255 the harness itself failed."


def of(valid: Valid) -> int:
    """The exit code of a verdict."""
    return {True: VALID, False: INVALID, "unknown": UNKNOWN}[valid]
