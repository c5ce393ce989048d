"""What may go wrong in a random run, and how often."""

from __future__ import annotations

import random

# What may go wrong, and in how many of the histories; where it may, it does so with a chance that is drawn too.
MISCHIEF = {
    "time-error": 0.5,
    "late-report": 0.3,
    "very-late-report": 0.05,
    "host-order": 0.15,  # reports of one host arrive in another order
    "out-of-turn": 0.06,  # a report says that it is older than the one before it
    "slow-election": 0.3,
    "slow-stepping-down": 0.4,
    "same-epoch": 0.2,
    "old-epoch": 0.08,
    "bad-history": 0.25,
    "bad-evidence": 0.1,
    "no-evidence": 0.08,
    "pieces": 0.3,
    "no-looking": 0.15,
    "silent-field": 0.25,
    "lost-value": 0.1,
    "failed-create": 0.25,
    "unknown-create": 0.3,
    "wrong-read": 0.06,
    "fault-answer": 0.3,  # `info` or `fail` for an answer, or none
    "unknown-effect": 0.08,
    "healed": 0.15,
    "no-final-read": 0.1,
    "lost-event": 0.15,
    "lost-line": 0.06,
    "cut": 0.1,
}

# Some verdicts need two things to go wrong together: where the first may, the second often does.
TOGETHER = (("host-order", "time-error"), ("host-order", "same-epoch"), ("lost-event", "slow-stepping-down"))


def chances(rng: random.Random) -> dict[str, float]:
    """The chance of each kind of mischief in one run; 0 where it does not occur."""
    chance = {name: rng.choice((0.1, 0.3, 0.7)) if rng.random() < p else 0.0 for name, p in MISCHIEF.items()}
    for one, other in TOGETHER:
        if chance[one] and rng.random() < 0.6:
            chance[other] = 0.7
    return chance
