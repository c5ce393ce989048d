"""How a hundred thousand transitions fit into a page: columns of small numbers.

A lane's transitions are written as one array per field, not as one object per transition, and each array holds the
differences between neighbours.  Where most of these are 0, only the others are written, each with how many places it
stands after the one before it.  Texts (reasons, votes, evidence) are written once, in one table, and named by their
place in it.  That makes about 25 bytes a transition instead of 400, and a browser's time to open a page is its bytes.

    >>> column([5, 4, 9])
    [5, -1, 5]
    >>> column([5, 5, 5, 5, 5, 7, 7])
    {'n': 7, 'd': [0, 5, 5, 2]}
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Any

import msgspec

_CONTROL = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def visible(text: str) -> str:
    """`text` with its control characters written out, so that a host cannot redraw or reverse the line that it is in.

    Newlines and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in _CONTROL and c not in "\n\t" else c for c in text)


def compact(value: Any) -> str:
    """`value` as one line of JSON."""
    return visible(msgspec.json.encode(value).decode())


def pretty(value: Any) -> str:
    """`value` as indented JSON."""
    return visible(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def column(numbers: Iterable[int]) -> list[int] | dict[str, Any]:
    """The numbers as differences: all of them, or as pairs (places further, difference) of those that are not 0."""
    dense, sparse = [], []
    previous = last = 0
    for place, number in enumerate(numbers):
        dense.append(number - previous)
        if number != previous:
            sparse += [place - last, number - previous]
            last = place
        previous = number
    return {"n": len(dense), "d": sparse} if len(sparse) < len(dense) else dense


def mapping(value: Any) -> dict[str, Any]:
    """`value` if it is an object, else an empty one: a history may be written by hand, or by a newer version."""
    return value if isinstance(value, dict) else {}


def whole(value: Any) -> int | None:
    """`value` if it is a whole number (JSON's true and false are not), else None."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def texts(value: Any) -> list[str]:
    """The members of `value` as texts if it is a list, else none."""
    return [str(member) for member in value] if isinstance(value, list) else []


def stat(name: str, value: Any) -> tuple[str, str]:
    """A field and its value, in words: `bound_s`, 3.2 is `bound`, `3.2 s`."""
    if name.endswith("_per_s") and isinstance(value, int | float):
        return visible(name.removesuffix("_per_s").replace("_", " ")), f"{words(value)}/s"
    for ending in ("_s", "_ms"):
        if name.endswith(ending) and isinstance(value, int | float):
            return visible(name.removesuffix(ending).replace("_", " ")), f"{words(value)} {ending[1:]}"
    return visible(name.replace("_", " ")), words(value)


def words(value: Any) -> str:
    """`value` as a person writes it: yes and no, lists without brackets, no more than three decimals."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list) and all(isinstance(v, str | int) for v in value):
        return visible(" ".join(map(str, value))) or "none"
    return visible(value) if isinstance(value, str) else compact(value)


class Strings:
    """A table of texts, each kept once.  Place 0 is the empty text."""

    def __init__(self, bytes_max: int) -> None:
        self.texts: list[str] = [""]
        self._places: dict[str, int] = {"": 0}
        self._bytes_left = bytes_max
        self.full = False

    def add(self, text: str) -> int:
        """The place of `text`, or -1 when the table is full: then the reader is sent to the history."""
        place = self._places.get(text)
        if place is None:
            if len(text) > self._bytes_left:
                self.full = True
                return -1
            self._bytes_left -= len(text)
            place = self._places[text] = len(self.texts)
            self.texts.append(visible(text))
        return place
