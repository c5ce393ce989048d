"""A history as `history.edn`, Jepsen's: one map a line, for Elle, Knossos, and the parsers of Porcupine's users.

    {"index":8,"time":600000000,"process":0,"type":"invoke","f":"create","value":1,"server":"n2"}
    {:index 8, :time 600000000, :process 0, :type :invoke, :f :create, :value 1, :server "n2"}

The rules:

1.  A line for each op, in the history's order.  Words are keywords: `:type`, `:f`, the keys of maps, and a process
    that is no client (`:n3`, `:controller`).  A word that EDN does not take as a keyword is a string.
2.  Clients are as Jepsen's are: an operation whose end nobody knows is `:info`, and its process never comes again.
3.  The nemesis is as Jepsen's is: all its ops are `:info`, and `:f` says whether a fault begins or ends
    (`:start-partition`, `:stop-partition`).  What the type was in our history is `:reported`.

Names and values are otherwise as `docs/history.md` has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from checker.history import Op

_KEYWORD = re.compile(r"[A-Za-z*!_?$%&=<>][A-Za-z0-9*!_?$%&=<>.+-]*")
"""Words that every reader of EDN takes as a keyword.  The format allows a few more, with rules of their own."""
_ESCAPED = re.compile(r'["\\\x00-\x1f\x7f-\x9f\u2028\u2029]')
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_CONSTANTS = {None: "nil", True: "true", False: "false"}
_LONG_MAX, _LONG_MIN = 2**63 - 1, -(2**63)


def edn(ops: Iterable[Op]) -> Iterator[str]:
    """The lines of the EDN history of `ops`, each with its newline."""
    for op in ops:
        yield _line(op)


def _line(op: Op) -> str:
    kind, f = op.type, op.f
    reported = ""
    if op.process == "nemesis":
        step = op.value.get("step", "start") if isinstance(op.value, dict) else "start"
        kind, f, reported = "info", f"{step}-{f}", f", :reported :{op.type}"
    parts = [
        f"{{:index {op.index}, :time {op.time}, :process {_process(op.process)}, :type :{kind}, :f {keyword(f)}, "
        f":value {value(op.value)}{reported}"
    ]
    if op.host_time is not None:
        parts.append(f":host_time {op.host_time}")
    if op.time_error is not None:
        parts.append(f":time_error {op.time_error}")
    if op.server is not None:
        parts.append(f":server {string(op.server)}")
    if op.error is not None:
        parts.append(f":error {string(op.error)}")
    if op.more:
        parts.extend(f"{keyword(name)} {value(what)}" for name, what in op.more.items() if name != "reported")
    return ", ".join(parts) + "}\n"


def _process(process: int | str) -> str:
    return str(process) if isinstance(process, int) else keyword(process)


def value(what: Any) -> str:
    """A value of JSON as EDN."""
    if isinstance(what, str):
        return string(what)
    if isinstance(what, dict):
        return "{" + ", ".join(f"{keyword(name)} {value(of)}" for name, of in what.items()) + "}"
    if isinstance(what, list):
        return "[" + " ".join(map(value, what)) + "]"
    if isinstance(what, int) and not _LONG_MIN <= what <= _LONG_MAX:
        return f"{what}N"
    return _CONSTANTS[what] if what is None or isinstance(what, bool) else repr(what)


def keyword(word: str) -> str:
    """`:word`, or the string where EDN has no such keyword."""
    return f":{word}" if _KEYWORD.fullmatch(word) else string(word)


def string(text: str) -> str:
    return f'"{_ESCAPED.sub(_escape, text)}"'


def _escape(found: re.Match[str]) -> str:
    return _SHORT.get(found[0]) or f"\\u{ord(found[0]):04x}"
