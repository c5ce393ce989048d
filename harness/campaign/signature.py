"""When two failures are the same one: by promise, by the shape of the message, and by what ran.

The shape of a message is what is left when everything is taken out that differs from run to run: names of hosts,
numbers, and what stands in brackets or after the first clause (who was in which state just then).

    >>> shape("epoch 7 has two established leaders: n1 (op 312) and n4 (op 330)", ["n1", "n4"])
    'epoch N has two established leaders: HOST'

A planted bug is a part of the signature: what a planted bug broke is never taken for a failure of the correct server.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from checker.names import family
from checker.promises.base import Violation
from checker.verdict import Verdict

_ONE = {"are": "is", "were": "was", "have": "has"}

CLAUSES = 2
"""What follows the second colon is detail."""


class Signature(msgspec.Struct, frozen=True):
    promise: str
    shape: str
    system: str
    bug: str = ""
    """The planted one; empty is the correct server."""

    @property
    def key(self) -> str:
        return "|".join((family(self.promise), self.shape, self.system, self.bug))


def shape(message: str, hosts: Iterable[str]) -> str:
    """The message without what differs from run to run."""
    text = re.sub(r" ?\([^()]*\)", "", re.sub(r"\([^()]*\([^()]*\)[^()]*\)", "", message))
    names = "|".join(re.escape(host) for host in sorted(hosts, key=len, reverse=True))
    if names:
        text = re.sub(rf"(?<![\w.-])(?:{names})(?![\w-])", "HOST", text)
        text = re.sub(r"HOST(?:(?:, | and |, and )HOST)+", "HOST", text)
    text = re.sub(r"0x[0-9a-f]+|-?\d+(?:\.\d+)?", "N", text)
    text = re.sub(r"N(?:(?:, | and |, and )N)+", "N", text)
    text = re.sub(r"[\[{]N?[\]}]", "N", text)
    text = re.sub(r"\b(value|server|leader)s (are|were|have)\b", lambda m: f"{m[1]} {_ONE[m[2]]}", text)
    return " ".join(": ".join(text.split("; ")[0].split(": ")[:CLAUSES]).split())


def first(verdict: Verdict) -> Violation | None:
    """The violation that a run is grouped by: the first in time."""
    return next(iter(verdict.violations), None)


def of(violation: Violation, hosts: Iterable[str], system: str, bug: str) -> Signature:
    return Signature(violation.promise, shape(violation.message, hosts), system, bug)
