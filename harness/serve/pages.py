"""The pages: what is known, put into HTML.  Whatever came from the disk is escaped by jinja2, without exception."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness.report.page import clock, lasting, short
from harness.serve.catalogue import FILTERS, CatalogueRow, Query, choices, select
from harness.serve.tree import NotThere, Tree
from harness.serve.watching import Watched
from harness.watch.scene import PHASES, WINDOW_NS, Scene

PAGE_ROWS = 200
FILES_MAX = 2000
EVENTS_SHOWN = 14
OTHERS_SHOWN = 8
WINDOWS_NS = (30 * 10**9, 60 * 10**9, WINDOW_NS)
"""How much a strip shows: of a young run, less."""

COLUMNS = {
    "verdict": "Verdict",
    "when": "Began (UTC)",
    "name": "Run",
    "system": "System",
    "bug": "Bug",
    "seed": "Seed",
    "lasted": "Lasted",
    "faults": "Faults",
    "epochs": "Epochs",
    "first": "First violation",
}
NUMBERS = frozenset({"seed", "lasted", "faults", "epochs"})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("harness.serve", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(clock=clock, lasting=lasting, short=short, size=size, whole=whole)
    return environment


def _render(name: str, **what: Any) -> bytes:
    return _environment().get_template(name).render(what).encode("utf-8", "replace")


def whole(ns: float) -> str:
    """How long in whole seconds: what goes on does not flicker."""
    seconds = max(0, int(ns / 1e9))
    return f"{seconds} s" if seconds < 60 else lasting(seconds * 10**9)


def size(number: int) -> str:
    """Bytes, for people: `812 B`, `4.1 kB`, `12 MB`."""
    if number < 1000:
        return f"{number} B"
    amount, units = number / 1000, ["kB", "MB", "GB"]
    while amount >= 1000 and len(units) > 1:
        amount, units = amount / 1000, units[1:]
    unit = units[0]
    return f"{amount:.1f} {unit}" if amount < 10 else f"{amount:.0f} {unit}"


# ---- the table -----------------------------------------------------------------------------------------------------


def table(rows: list[CatalogueRow], query: Query, page: int, results: str, *, more: bool, part: bool) -> bytes:
    """The runs and campaigns that fit the query; with `part`, without the page around."""
    found = select(rows, query)
    pages = max(1, -(-len(found) // PAGE_ROWS))
    page = min(max(page, 1), pages)
    return _render(
        "table.html" if part else "runs.html",
        rows=found[(page - 1) * PAGE_ROWS : page * PAGE_ROWS],
        found=len(found),
        all=len(rows),
        more=more,
        query=query,
        page=page,
        pages=pages,
        columns=COLUMNS,
        numbers=NUMBERS,
        choices=choices(rows),
        filters=FILTERS,
        results=results,
        link=lambda **change: _link(query, **change),
    )


def _link(query: Query, **change: Any) -> str:
    """The address of the table after a change of the query (`page` may be among the changes)."""
    page = change.pop("page", 1)
    asked = replace(query, **change)
    fields = {name: value for name, value in vars(asked).items() if value and (name, value) != ("sort", "when")}
    return "/?" + urlencode(fields | ({"page": page} if page > 1 else {}))


# ---- a folder ------------------------------------------------------------------------------------------------------


class _Entry(NamedTuple):
    name: str
    url: str
    """Empty where it is not given out."""
    folder: bool
    bytes: int
    leads_to: str


def folder(tree: Tree, real: Path, row: CatalogueRow | None) -> bytes:
    """What lies in a folder, and if it is a run's, what came of it.  Raises NotThere."""
    try:
        names = sorted(os.listdir(real))
    except OSError:
        raise NotThere from None
    entries = [_entry(tree, real / name) for name in names[:FILES_MAX]]
    parts = real.relative_to(tree.root).parts
    trail = [(name, "/r/" + tree.below(tree.root.joinpath(*parts[: n + 1])) + "/") for n, name in enumerate(parts)]
    return _render(
        "folder.html",
        entries=sorted(entries, key=lambda entry: (not entry.folder, entry.name)),
        left_out=max(0, len(names) - FILES_MAX),
        row=row,
        trail=trail,
        here=parts[-1] if parts else tree.root.name,
    )


def _entry(tree: Tree, path: Path) -> _Entry:
    try:
        leads_to = os.readlink(path) if path.is_symlink() else ""
        real = tree.real(path)
        about = real.stat()
    except (NotThere, OSError):
        return _Entry(path.name, "", False, 0, "it leads outside, or nowhere")
    folder = real.is_dir()
    url = tree.below(path) + ("/" if folder else "")
    if not folder and not real.is_file():
        return _Entry(path.name, "", False, 0, "it is no file")
    return _Entry(path.name, f"/r/{url}", folder, about.st_size, leads_to)


# ---- a run that is going on ----------------------------------------------------------------------------------------


class _Band(NamedTuple):
    """A piece of a strip: where it begins and how wide it is, in units of a tenth of a second, and what it shows."""

    x: float
    width: float
    kind: str
    colour: str
    words: str


def live(path: str, row: CatalogueRow | None, watched: Watched, others: list[CatalogueRow], *, part: bool) -> bytes:
    """A run as its history shows it now, with links to others that go on.  `watched` has to be locked."""
    follower = watched.follower
    scene, now = follower.scene, follower.now
    shown = follower.offset + follower.behind
    window = next((window for window in WINDOWS_NS if now < window), WINDOW_NS)
    return _render(
        "scene.html" if part else "live.html",
        path=path,
        row=row,
        scene=scene,
        so_far=follower.so_far,
        now=now,
        phase=PHASES.get(scene.phase, scene.phase),
        left_s=scene.left_s(now),
        silent_s=(now - scene.now) / 1e9,
        read_share=follower.offset / shown if shown and follower.behind else None,
        unreadable=follower.unreadable,
        strips={host: _strip(scene, host, now, window) for host in scene.servers},
        fault_strips={host: _fault_strip(scene, host, now, window) for host in scene.servers},
        window_s=window // 10**9,
        events=list(scene.events)[: -EVENTS_SHOWN - 1 : -1],
        others=others[:OTHERS_SHOWN],
        over=row is not None and row.judged,
    )


def waiting(*, part: bool) -> bytes:
    """No run is going on."""
    return _render("waiting_part.html" if part else "waiting.html")


def _strip(scene: Scene, host: str, now: int, window: int) -> list[_Band]:
    return [
        _Band(*_place(begins, ends, now, window), *_css(stretch.kind, stretch.epoch))
        for begins, ends, stretch in scene.stretches(host, now - window, now)
        if stretch.kind
    ]


def _fault_strip(scene: Scene, host: str, now: int, window: int) -> list[_Band]:
    return [
        _Band(
            *_place(max(fault.since, now - window), fault.until or now, now, window),
            "fault",
            "",
            f"{fault.id} {fault.kind}",
        )
        for fault in scene.faults.values()
        if host in fault.hosts and (fault.until is None or fault.until > now - window)
    ]


def _place(begins: int, ends: int, now: int, window: int) -> tuple[float, float]:
    x = (begins - now + window) / 1e8
    return round(x, 1), round(max((ends - begins) / 1e8, 0.4), 1)


def _css(kind: str, epoch: int | None) -> tuple[str, str, str]:
    """Kind, class of the epoch's colour, and what a tooltip says."""
    if epoch is None:
        return kind, "", kind
    return kind, f"e{epoch % 6}", f"{kind}, epoch {epoch}"


def message(code: int, words: str) -> bytes:
    """An error, as a page."""
    return _render("message.html", code=code, words=words)
