"""`onethrone export RUN --to edn|perfetto|shiviz`: a run in the format of another tool."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import click
import msgspec

from checker.history import History, HistoryError, Op, locate, ordered, read
from checker.promises.base import Violation
from harness import UsageError
from harness.cli.options import Seconds
from harness.export.edn import edn
from harness.export.perfetto import perfetto
from harness.export.shiviz import shiviz
from harness.replay.messages import Message
from harness.results import files
from harness.watch.terminal import OutputLost

FORMATS = ("edn", "perfetto", "shiviz")
_FOR_EVER = 1 << 62


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", "form", type=click.Choice(FORMATS), required=True, help="The format to export to.")
@click.option("--out", type=click.Path(path_type=Path), help="The file to write. Default: standard output.")
@click.option("--since", type=Seconds(min=0), help="shiviz only: from this second of the run.")
@click.option("--until", type=Seconds(min=0), help="shiviz only: up to this second of the run.")
def export(run: Path, form: str, out: Path | None, since: float | None, until: float | None) -> None:
    """Export a run to another tool's format.

    \b
      onethrone export RUN --to edn --out history.edn       for Jepsen's checkers
      onethrone export RUN --to perfetto --out trace.json   for ui.perfetto.dev
      onethrone export RUN --to shiviz --since 9 --until 12

    RUN is a run's folder or, for edn and perfetto, a bare history.jsonl.  Messages come from replaying the servers'
    journals, which are in the run's folder.
    """
    if form != "shiviz" and (since is not None or until is not None):
        raise UsageError("--since and --until are for shiviz, which draws every event below the one before it")
    try:
        if form == "edn":
            lines = edn(_ops(read(run)))
        else:
            lines = _perfetto(run) if form == "perfetto" else _shiviz(run, since, until)
        if out is None and sys.stdout.isatty():
            sys.stdout.writelines(lines)
            return
        with _destination(out) as file:
            file.writelines(line.encode() for line in lines)
    except HistoryError as error:
        raise UsageError(
            str(error), remedy="The history is written by `onethrone run`; docs/history.md gives its format."
        ) from None
    except OutputLost:
        raise
    except OSError as error:
        if out is not None:
            why = f"the export cannot be written: {error.strerror}"
            raise UsageError(why, where=str(out), remedy="Choose another place with --out.") from None
        raise OutputLost(sys.stdout, "standard output", error) from None


def _perfetto(run: Path) -> Iterator[str]:
    from harness.replay.messages import exchange

    history = locate(run)
    messages: Iterable[Message] = ()
    try:
        messages = exchanged = exchange(history.parent)
        _say(exchanged.notes)
    except UsageError as error:
        _say([f"without messages: {error.what}"])
    return perfetto(_ops(read(history)), messages, _violations(history.parent))


def _ops(history: History) -> Iterator[Op]:
    """The ops, one at least: a file without any was not written by a run."""
    op = None
    for op in history:
        yield op
    if op is None:
        raise HistoryError(history.path, None, "there is no op in it")


def _shiviz(run: Path, since: float | None, until: float | None) -> Iterator[str]:
    from harness.replay.messages import exchange

    since_ns, until_ns = (None if at is None else round(at * 1e9) for at in (since, until))
    since_ns, until_ns = since_ns or 0, _FOR_EVER if until_ns is None else until_ns
    if since_ns > until_ns:
        raise UsageError(f"--since {since:g} is after --until {until:g}: nothing happened then")
    history = locate(run)
    exchanged = exchange(history.parent)
    _say(exchanged.notes)
    states = (op for op in ordered(_ops(read(history))) if op.f == "state")
    return shiviz(exchanged, states, since_ns, until_ns)


def _violations(folder: Path) -> list[Violation]:
    """What the verdict beside the history says was broken; nothing where there is no verdict."""
    try:
        judged = msgspec.json.decode(files.read(folder / "results.json"), type=_Judged)
    except FileNotFoundError:
        return []
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        _say([f"without what was broken: {folder / 'results.json'}: {error}"])
        return []
    return [broken for result in judged.results.values() for broken in result.violations]


class _Broken(msgspec.Struct):
    violations: list[Violation] = []


class _Judged(msgspec.Struct):
    results: dict[str, _Broken] = {}


def _say(notes: Iterable[str]) -> None:
    for note in notes:
        click.echo(f"onethrone export: {note}", err=True)


@contextlib.contextmanager
def _destination(out: Path | None) -> Iterator[IO[bytes]]:
    """Standard output, or a file that is there under its name only when it is whole."""
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if out.exists() and not out.is_file():  # a pipe, a terminal
        with out.open("wb") as file:
            yield file
        return
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
