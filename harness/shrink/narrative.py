"""What happened in a run, in one paragraph: who led, what went wrong, and how the promise broke.

    n3 leads epoch 1; n3 is cut off from n1 and n2; n2 leads epoch 2; n3 still leads epoch 1 without a quorum, ...

It is told from the history alone, in the order of time, up to the first violation of the promise.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from checker.counted import counted
from checker.history import Op, ordered
from checker.promises.base import Violation
from checker.verdict import Verdict
from nemesis.faults import KINDS
from nemesis.wording import listed

TOLD_MAX = 40
"""A longer story is told by its beginning and its end."""


def story(ops: Iterable[Op], verdict: Verdict, promise: str) -> str:
    """The paragraph.  Without a violation of the promise, the story of the whole run."""
    violation = first_violation(verdict, promise)
    told: list[str] = []
    leads: dict[str, int] = {}
    for op in ordered(ops):
        if violation is not None and op.time > violation.time:
            break
        value = op.value if isinstance(op.value, dict) else {}
        if op.process == "nemesis" and op.type == "ok":
            told.append(_fault(op.f, value))
        elif op.f == "phase" and value.get("phase") in ("everyone", "all"):  # "all" in histories of 0.1
            told.append("everything is healed")
        elif op.f in ("state", "stopped") and isinstance(op.process, str):
            told += _throne(op, value, leads)
    if len(told) > TOLD_MAX:
        told = [*told[: TOLD_MAX // 2], f"({counted(len(told) - TOLD_MAX, 'more event')})", *told[-TOLD_MAX // 2 :]]
    if violation is None:
        return "; ".join(told) + "." if told else "Nothing happened."
    told.append(f"and {promise} is broken: {violation.message}")
    return "; ".join(told) + "."


def first_violation(verdict: Verdict, promise: str) -> Violation | None:
    found = [violation for violation in verdict.violations if violation.promise == promise]
    return found[0] if found else None


def _throne(op: Op, value: Mapping[str, Any], leads: dict[str, int]) -> list[str]:
    """A leader is established, or leads no more."""
    host = str(op.process)
    if value.get("role") == "LEADING" and value.get("established") and isinstance(value.get("epoch"), int):
        if leads.get(host) == value["epoch"]:
            return []
        leads[host] = value["epoch"]
        return [f"{host} leads epoch {value['epoch']}"]
    epoch = leads.pop(host, None)
    return [] if epoch is None or op.f == "stopped" else [f"{host} leads epoch {epoch} no more"]


def _fault(name: str, value: Mapping[str, Any]) -> str:
    hosts, begins = [str(host) for host in value.get("hosts") or ()], value.get("step") == "start"
    kind = KINDS.get(name)
    if kind is None:  # the history is of a program with other kinds
        return f"{name} of {listed(hosts)} {'begins' if begins else 'is over'}"
    return kind.tell(begins, hosts, value)
