"""Coverage marks: the rare branches of the protocol that say so when they are taken, `self.reached("round-jump")`."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import node


@cache
def known() -> frozenset[str]:
    """All marks of the core, as its source has them (the planted bugs' own do not count)."""
    found = set()
    for file in Path(node.__file__).parent.glob("*.py"):
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
