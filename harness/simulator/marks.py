"""Coverage marks: the rare branches that say so when they are taken, `self.reached("round-jump")`.

The core's tell which parts of the protocol a campaign has seen, the world's which of its cruelties really happened.
What no ensemble of ours can reach, however harsh its world, is listed in `BEYOND`, with who can.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import node

BEYOND = {
    "leader-epoch-too-low": "a leader that does not step down for a member shut out, as ZooKeeper's",
    "leader-misbehaved": "a leader with a bug",
    "proposal-again": "a ZooKeeper leader, which may send a transaction in the synchronisation and once more after it",
    "stranger": "a server that is not in the configuration",
    "too-many-unidentified": "somebody who floods a port",
    "truncation-to-the-start-of-an-epoch": "a ZooKeeper leader, which names a snapshot by the start of its epoch",
    "zxid-rollover": "four thousand million transactions in one epoch",
}
"""Tests of the core and of ensembles with real ZooKeeper servers reach these."""


@cache
def known() -> frozenset[str]:
    """All marks of the core and of the world, as their source has them (the planted bugs' own do not count)."""
    found = set()
    for folder in (Path(node.__file__).parent, Path(__file__).parent):
        for file in folder.rglob("*.py"):
            if file.parent.name == "bugs":
                continue
            for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if (
                    isinstance(call, ast.Call)
                    and isinstance(call.func, ast.Attribute)
                    and call.func.attr == "reached"
                    and call.args
                    and isinstance(call.args[0], ast.Constant)
                ):
                    found.add(str(call.args[0].value))
    return frozenset(found)


def never(reached: Iterable[str]) -> list[str]:
    """The marks that could have been reached, and were not."""
    return sorted(known().difference(reached, BEYOND))
