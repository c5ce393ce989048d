"""The page itself: the view rendered into one file that needs nothing beside it."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined, Template, select_autoescape
from markupsafe import Markup

from checker.verdict import Verdict
from harness.report.build import build
from harness.report.bundle import bundle
from harness.report.packed import parted
from harness.results import version
from harness.results.folder import STAMP

STYLES = ("report.css", "board.css")
"""Parts of one block of style, in this order."""

ENTRY = "begin.js"
"""The module of static/ that imports the others."""

_MS = 1_000_000
_S = 1_000 * _MS


def write_report(
    history_path: str | Path,
    verdict: Verdict | Mapping[str, Any],
    out_path: str | Path,
    rerun_command: str,
    title: str | None = None,
) -> Path:
    """Writes the report of one run to `out_path`, whole or not at all, and returns that path.

    `history_path` is a history file or a run's folder.  `verdict` is what `checker.verdict.check` returns, or the
    object that results.json holds.  `rerun_command` is the shell command that runs it again, shown as it is.  `title`
    stands in the browser's title and above the verdict; it is the run's name if None.

    Raises checker.history.HistoryError when the history cannot be read, and OSError when the report cannot be written.
    """
    view = build(Path(history_path), verdict if isinstance(verdict, Mapping) else verdict.to_dict())
    out = Path(out_path)
    since = "" if view["run"]["simulated"] else began(Path(history_path))  # a simulated run is a function of its seed
    half = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        half.write_text(render(view, rerun_command, title, since), encoding="utf-8", errors="replace")
        half.replace(out)
    finally:
        half.unlink(missing_ok=True)
    return out


def began(history: Path) -> str:
    """When a run began, by the name of its folder (`results/<name>/<UTC time>/`); "" where that does not say."""
    folder = (history if history.is_dir() else history.parent).resolve()
    try:
        return datetime.strptime(folder.name.partition("-")[0], STAMP).strftime("%Y-%m-%d %H:%M:%S UTC")
    except ValueError:
        return ""


def render(view: Mapping[str, Any], rerun_command: str, title: str | None = None, began: str = "") -> str:
    """The page of a view (`build.build`), as text."""
    style = "\n".join(_read("static", name) for name in STYLES)
    script = _script()
    return _template().render(
        view,
        parts=parted(view["data"]),
        title=title or view["run"]["name"],
        rerun=rerun_command,
        began=began,
        program=version.full(),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


@cache
def _template() -> Template:
    environment = Environment(
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(clock=clock, lasting=lasting, short=short, headline=headline)
    return environment.from_string(_read("page.html"))


@cache
def _script() -> str:
    return bundle(scripts(), ENTRY)


def scripts() -> dict[str, str]:
    """The JavaScript modules of the report by their names."""
    folder = resources.files("harness.report").joinpath("static")
    return {file.name: file.read_text(encoding="utf-8") for file in folder.iterdir() if file.name.endswith(".js")}


def _read(*path: str) -> str:
    return resources.files("harness.report").joinpath(*path).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def headline(sentence: str) -> tuple[str, str]:
    """A verdict's sentence in two: the fact in large type, and the details that follow it.

    >>> headline("Invalid: epochs broken; first at 2.000 s: n1's accepted epoch fell from 2 to 1.")
    ('Invalid: epochs broken', "; first at 2.000 s: n1's accepted epoch fell from 2 to 1.")
    """
    ends = [at for at in (sentence.find("; "), sentence.find(", every ")) if at > 0]
    at = min(ends, default=len(sentence))
    return sentence[:at], sentence[at:]


# ---- how times are written -----------------------------------------------------------------------------------------


def clock(ns: int | None) -> str:
    """When, since the run began: `9.350 s`, or `12:09.350` from the first minute on."""
    if ns is None:
        return "–"
    if abs(ns) < 60 * _S:
        return f"{ns / _S:.3f} s"
    minutes, rest = divmod(ns // _MS, 60_000)
    hours, minutes = divmod(minutes, 60)
    tail = f"{minutes:02}:{rest / 1000:06.3f}" if hours else f"{minutes}:{rest / 1000:06.3f}"
    return f"{hours}:{tail}" if hours else tail


def lasting(ns: int | None) -> str:
    """How long: `412 ms`, `3.21 s`, `2 min 5 s`, `1 h 2 min`."""
    if ns is None:
        return "–"
    if ns < _S:
        return f"{ns / _MS:.0f} ms"
    if ns < 60 * _S:
        return f"{ns / _S:.2f} s"
    seconds = ns // _S
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


def short(number: int) -> str:
    """A count with its thousands set apart by a thin space."""
    return f"{number:,}".replace(",", "\u202f")
