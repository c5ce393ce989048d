"""Hosts and links in words, for what people read about a fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def listed(names: list[str]) -> str:
    """n1, n2 and n3."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else "nobody"


def links_of(grudge: Mapping[str, Any]) -> str:
    """The links of a grudge, with the verb: by the one server that all of them share, if there is one."""
    edges = {(a, str(b)) for a, others in grudge.items() for b in others}
    names = sorted({name for edge in edges for name in edge})
    for one in names:
        others = [name for name in names if name != one]
        if all(one in edge for edge in edges):
            if edges == {(one, b) for b in others} | {(b, one) for b in others}:
                return f"the links between {one} and {listed(others)} are"
            if edges == {(one, b) for b in others}:
                return f"the links from {listed(others)} to {one} are"
            if edges == {(b, one) for b in others}:
                return f"the links from {one} to {listed(others)} are"
    return f"{len(edges)} links between {listed(names)} are"
