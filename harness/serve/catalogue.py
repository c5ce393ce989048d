"""Every run and campaign of a results folder, as rows of a table.

The model.  A folder that holds `summary.json` or `campaign.jsonl` and no history is a campaign; one that holds a
history or `results.json` is a run.  Anything else is looked through for such folders, a campaign too.  A row is made
from `results.json` (or `summary.json`) and the history's first line, and kept until one of the files it was made from
changes: looking again at thousands of finished runs costs two `stat` calls each, and no history is read.

A run without `results.json` is "going on" while its history grows, and otherwise has no verdict: it was cut off.
"""

from __future__ import annotations

import os
import re
import threading
import time
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from harness.serve.tree import NotThere, Tree

DEPTH_MAX = 6
ROWS_MAX = 20_000
"""More folders are not looked at; the page says so."""

LOOK_AGAIN_S = 1.0
"""Requests that come closer together get the same rows."""

QUIET_S = 60.0
"""A history that has not grown for so long is not growing: servers and clients say something each second."""

FILE_MAX = 64 << 20
LINE_MAX = 1 << 20
RACY_NS = 2_000_000_000

_STAMP = re.compile(r"(\d{8}T\d{6})Z(?:-\d+)?")

_SEED = re.compile(r"(?<!\S)seed\s+(\d+)(?!\S)")

WORDS: dict[object, str] = {True: "valid", False: "invalid", "unknown": "unknown"}


@dataclass(frozen=True)
class CatalogueRow:
    """What the table says of one run or campaign.  What is None (or "") is not known."""

    path: str
    """As in a URL, below /r/."""
    place: str
    """The same for people."""
    kind: str
    """ "run", "simulated" or "campaign"."""
    verdict: str
    """ "valid", "invalid", "unknown", "going on", or "none"."""
    when: float
    """Seconds since 1970."""
    name: str = ""
    system: str = ""
    bug: str = ""
    seed: str = ""
    length_s: float | None = None
    faults: int | None = None
    epochs: int | None = None
    violations: int | None = None
    sentence: str = ""
    first: str = ""
    """The message of the first violation."""
    first_s: float | None = None
    report: bool = False
    haystack: str = field(default="", repr=False)

    @property
    def judged(self) -> bool:
        """It has a verdict, or it is a campaign (whose runs are judged)."""
        return self.kind == "campaign" or self.verdict not in ("going on", "none")

    @property
    def date(self) -> str:
        return datetime.fromtimestamp(self.when, UTC).strftime("%Y-%m-%d %H:%M:%S")


class _Violation(msgspec.Struct):
    message: str = ""
    time: int = 0


class _Result(msgspec.Struct):
    valid: bool | str = "unknown"
    judged: bool = True
    violations: list[_Violation] = []
    more_violations: int = 0
    stats: dict[str, Any] = {}


class _Results(msgspec.Struct):
    """The part of `results.json` that the table shows."""

    valid: bool | str
    summary: str = ""
    run: dict[str, Any] = {}
    counts: dict[str, Any] = {}
    results: dict[str, _Result] = {}


class _Summary(msgspec.Struct):
    """The part of a campaign's `summary.json` that the table shows."""

    valid: bool | str
    summary: str = ""
    name: str = ""


class _FirstOp(msgspec.Struct):
    f: str
    value: dict[str, Any] = {}


_results = msgspec.json.Decoder(_Results)
_summary = msgspec.json.Decoder(_Summary)
_first_op = msgspec.json.Decoder(_FirstOp)


@dataclass(frozen=True)
class _KnownFolder:
    """What a folder was, when its files had these times."""

    key: tuple[int, ...]
    settled: bool
    """Enough time had passed since the folder's last change for the key to be trusted."""
    names: frozenset[str]
    row: CatalogueRow


class Catalogue:
    """The rows of a results folder; `rows` may be asked from any thread."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lock = threading.Lock()
        self._known: dict[str, _KnownFolder] = {}
        self._rows: list[CatalogueRow] = []
        self._looked_at = float("-inf")
        self.more = False
        """There are more folders than ROWS_MAX."""
        self.read = 0
        """How many folders were read, not recognised; for tests and the curious."""

    def rows(self) -> list[CatalogueRow]:
        """All of them, in no order."""
        with self._lock:
            if time.monotonic() - self._looked_at >= LOOK_AGAIN_S:
                self._look()
                self._looked_at = time.monotonic()
            return self._rows

    def row(self, folder: Path) -> CatalogueRow | None:
        """The row of this very folder (a real path); None when it is no run and no campaign."""
        path = self._tree.below(folder)
        return next((row for row in self.rows() if row.path == path), None)

    def going_on(self) -> list[CatalogueRow]:
        """The runs that go on; first the one that `results/current` names, if it is a run's folder, then the newest."""
        try:
            current = self._tree.below(self._tree.real(self._tree.root / "current"))
        except NotThere:
            current = ""
        rows = [row for row in self.rows() if row.verdict == "going on" or (row.path == current and not row.judged)]
        return sorted(rows, key=lambda row: (row.path != current, -row.when, row.path))

    def _look(self) -> None:
        seen: dict[str, _KnownFolder] = {}
        self.more = False
        now = time.time()
        for path, about, names in self._walk(str(self._tree.root), 0, now):
            if len(seen) >= ROWS_MAX:
                self.more = True
                break
            known = self._known.get(path)
            key = _key(path, about, names)
            if known is None or known.key != key or not known.settled:
                self.read += 1
                known = _KnownFolder(key, _settled(about, now), names, _row(Path(path), names, self._tree))
            seen[path] = known
        self._known = seen
        self._rows = [_going_on(known, path, now) for path, known in seen.items()]

    def _walk(self, folder: str, depth: int, now: float) -> Iterator[tuple[str, os.stat_result, frozenset[str]]]:
        """The folders of runs and campaigns below: path, what `stat` says, and the names in it."""
        try:
            entries = [e for e in os.scandir(folder) if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
        except OSError:
            return
        for entry in entries:
            try:
                about = entry.stat(follow_symlinks=False)
                known = self._known.get(entry.path)
                if known is not None and known.settled and known.key[0] == about.st_mtime_ns:
                    names = known.names
                else:
                    names = frozenset(os.listdir(entry.path))
            except OSError:
                continue
            run = "results.json" in names or _has_history(names)
            campaign = not run and _is_campaign(names)
            if run or campaign:
                yield entry.path, about, names
            if not run and depth < DEPTH_MAX:
                yield from self._walk(entry.path, depth + 1, now)


def _settled(about: os.stat_result, now: float) -> bool:
    """What changed so lately may change again under the same time stamp."""
    return abs(now * 1e9 - about.st_mtime_ns) > RACY_NS


def _name(parts: tuple[str, ...]) -> str:
    """The name of what lies there: `<name>/<time>`, or within a campaign `<its name>/<time>/runs/.../<name>/<time>`."""
    name = parts[-2] if len(parts) > 1 else parts[-1]
    return f"{parts[0]} {name}" if "runs" in parts[2:] else name


def _has_history(names: frozenset[str]) -> bool:
    """Compressed ones count (`history.jsonl.gz`)."""
    return "history.jsonl" in names or any(name.startswith("history.jsonl") for name in names)


def _is_campaign(names: frozenset[str]) -> bool:
    return not names.isdisjoint(("summary.json", "campaign.jsonl")) and not _has_history(names)


def _key(path: str, about: os.stat_result, names: frozenset[str]) -> tuple[int, ...]:
    """Changes when what a row is made of does: an entry of the folder, or the file that is written over in place."""
    name = "results.json" if "results.json" in names else "summary.json" if "summary.json" in names else ""
    if not name:
        return (about.st_mtime_ns,)
    try:
        file = os.stat(f"{path}/{name}", follow_symlinks=False)
    except OSError:
        return (about.st_mtime_ns,)
    return (about.st_mtime_ns, file.st_mtime_ns, file.st_size)


def _going_on(known: _KnownFolder, path: str, now: float) -> CatalogueRow:
    row = known.row
    if row.verdict != "none" or row.kind == "campaign" or "results.json" in known.names:
        return row
    try:
        quiet_s = now - os.stat(f"{path}/history.jsonl", follow_symlinks=False).st_mtime
    except OSError:
        return row
    if quiet_s > QUIET_S:
        return row
    return replace(row, verdict="going on", sentence="It is going on.", haystack=f"{row.haystack} going on")


def _row(folder: Path, names: frozenset[str], tree: Tree) -> CatalogueRow:
    about: dict[str, Any] = {
        "path": tree.below(folder),
        "place": "/".join(folder.relative_to(tree.root).parts),
        "kind": "simulated" if "simulated.json" in names else "run",
        "name": _name(folder.relative_to(tree.root).parts),
        "when": _began(folder),
        "verdict": "none",
        "report": "report.html" in names,
    }
    try:
        if _is_campaign(names):
            about |= {"kind": "campaign", "sentence": "It has no summary yet."}
            about |= _of_campaign(_read(tree, folder / "summary.json")) if "summary.json" in names else {}
        else:
            about |= _of_run(tree, folder, names)
            if "results.json" in names:
                about |= _of_results(_read(tree, folder / "results.json"))
            else:
                about["sentence"] = "It has no verdict: it ended before it was judged, or its controller died."
    except (NotThere, msgspec.DecodeError, ValueError) as error:
        about["sentence"] = f"Its results cannot be read: {error or 'no regular file'}"
    words = (about.get(name) for name in ("place", "kind", "verdict", "name", "system", "bug", "sentence", "first"))
    hay = " ".join(filter(None, words)) + (f" seed {about['seed']}" if about.get("seed") else "")
    return CatalogueRow(**about, haystack=hay.casefold())


def _read(tree: Tree, path: Path, bytes_max: int = FILE_MAX) -> bytes:
    with tree.open(path) as file:
        return file.read(bytes_max)


def _began(folder: Path) -> float:
    """The UTC time that is the folder's name, or else when it last changed."""
    stamp = _STAMP.fullmatch(folder.name)
    try:
        if stamp:
            return datetime.strptime(stamp[1], "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
        return folder.lstat().st_mtime
    except (OSError, ValueError):
        return 0.0


def _of_run(tree: Tree, folder: Path, names: frozenset[str]) -> dict[str, Any]:
    """System, bug and seed: from the history's first line, or from the plan."""
    if "history.jsonl" in names:
        with tree.open(folder / "history.jsonl") as file:
            line = file.readline(LINE_MAX)
        try:
            op = _first_op.decode(line)
        except msgspec.DecodeError:
            op = _FirstOp("")
        if op.f == "run":
            return {name: _text(op.value.get(name)) for name in ("system", "bug", "seed")}
    if "plan.toml" in names:
        plan = tomllib.loads(_read(tree, folder / "plan.toml", LINE_MAX).decode("utf-8", "replace"))
        ensemble, system = plan.get("ensemble"), plan.get("system")
        return {
            "system": _text(next(iter(system), "") if isinstance(system, dict) else system),
            "seed": _text(plan.get("seed")),
            "bug": _text(ensemble.get("bug")) if isinstance(ensemble, dict) else "",
        }
    return {}


def _of_results(text: bytes) -> dict[str, Any]:
    results = _results.decode(text)
    broken = [result for result in results.results.values() if result.judged and result.valid is False]
    found = [violation for result in broken for violation in result.violations]
    first = min(found, key=lambda violation: violation.time, default=None)
    unique = results.results.get("unique-leader")
    verified = results.counts.get("faults_verified")
    numbers = verified.values() if isinstance(verified, dict) else ()
    named = {name: _text(results.run.get(name)) for name in ("system", "seed") if results.run.get(name) is not None}
    return named | {
        "verdict": WORDS.get(results.valid, "unknown"),
        "sentence": results.summary,
        "length_s": _number(results.run.get("length_s")),
        "faults": sum(n for n in numbers if isinstance(n, int)) if verified is not None else None,
        "epochs": _count(unique.stats.get("epochs")) if unique else None,
        "violations": sum(len(result.violations) + result.more_violations for result in broken),
        "first": first.message if first else "",
        "first_s": first.time / 1e9 if first else None,
    }


def _of_campaign(text: bytes) -> dict[str, Any]:
    summary = _summary.decode(text)
    return {"verdict": WORDS.get(summary.valid, "unknown"), "sentence": summary.summary}


def _text(value: object) -> str:
    return "" if value is None else str(value)[:200]


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


# ---- what somebody asks for ----------------------------------------------------------------------------------------

SORTS: dict[str, Callable[[CatalogueRow], Any]] = {
    "verdict": lambda row: ("invalid", "going on", "none", "unknown", "valid").index(row.verdict),
    "when": lambda row: row.when,
    "name": lambda row: row.place,
    "system": lambda row: row.system or None,
    "bug": lambda row: row.bug or None,
    "seed": lambda row: (len(row.seed), row.seed) if row.seed else None,
    "lasted": lambda row: row.length_s,
    "faults": lambda row: row.faults,
    "epochs": lambda row: row.epochs,
    "first": lambda row: row.first_s,
}
FALLING = frozenset({"when", "lasted", "faults", "epochs"})
"""What is most wanted first."""


@dataclass(frozen=True)
class Query:
    """What the table is to show; what is empty asks for nothing."""

    q: str = ""
    verdict: str = ""
    kind: str = ""
    system: str = ""
    bug: str = ""
    sort: str = "when"
    order: str = ""
    """ "up" or "down"; empty is what suits the column."""

    @property
    def falls(self) -> bool:
        return self.order == "down" or (self.order != "up" and self.sort in FALLING)


def select(rows: list[CatalogueRow], query: Query) -> list[CatalogueRow]:
    """The rows that fit, sorted; rows without the thing that is sorted by come last, equal ones newest first."""
    words, seeds = _asked(query.q)
    found = [
        row
        for row in rows
        if all(not getattr(query, name) or getattr(row, name) == getattr(query, name) for name in FILTERS)
        and all(word in row.haystack for word in words)
        and all(row.seed == seed for seed in seeds)
    ]
    key = SORTS.get(query.sort, SORTS["when"])
    found.sort(key=lambda row: (-row.when, row.path))
    have = [row for row in found if key(row) is not None]
    have.sort(key=key, reverse=query.falls)
    return have + [row for row in found if key(row) is None]


def _asked(text: str) -> tuple[list[str], list[str]]:
    """The words to look for, and the seeds: the number after `seed` is that seed, and no part of a date or a text."""
    text = text.casefold()
    return _SEED.sub(" ", text).split(), _SEED.findall(text)


FILTERS = ("verdict", "kind", "system", "bug")


def choices(rows: list[CatalogueRow]) -> dict[str, list[tuple[str, int]]]:
    """For each filter, the values that there are, with how often."""
    counted: dict[str, dict[str, int]] = {name: {} for name in FILTERS}
    for row in rows:
        for name in FILTERS:
            value = getattr(row, name)
            if value:
                counted[name][value] = counted[name].get(value, 0) + 1
    return {name: sorted(values.items()) for name, values in counted.items()}
