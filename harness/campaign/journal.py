"""The journal of a campaign: what was planned, begun, ended and counted, so that a kill at any instant loses nothing.

The format
----------

`campaign.jsonl` in the campaign's folder; one JSON object a line, `{"at": seconds since 1970, "what": ..., ...}`:

=============  ========================================================================================================
`session`      a controller began: `pid`, `length_s` (how long it means to go on)
`plan`         a job was decided: `job` with all that it takes.  It has an id before anything of it is begun.
`begin`        a process was started for it: `id`, `pid`
`end`          that process is gone: `id`, `code`, and in `why` what the controller ended it for ("" is nothing)
`count`        it is judged and counted, once: `id`, and `runs` (see `tally.Counted`) or, of what follows a run, `said`
`thin`         the folder of a passing run was removed: `id`
`alive`        now and then: `rss_mb` of the controller, `free_mb` of the disk
`over`         the session ended: `why`
=============  ========================================================================================================

Crash rules
-----------

1.  A line is written whole, with one `write` to a file opened for appending.  `plan` is written before anything is
    done, the others after it was done.
2.  A write that fails half-way (the disk is full) is taken back; the error is raised.
3.  A last line that is cut is what a crash leaves: the reader leaves it out, and a writer that goes on takes it away.
4.  A job that was begun and not ended was under way when the controller died.  It is never run again from the start:
    what is there of it is judged (a run on hosts), or it goes on where it was (a batch of seeds, which has a file of
    its own with a line a seed).
5.  Only `count` counts, and there is one of an id: a second one is an error that names the line.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from harness import UsageError
from harness.results import files

FILE = "campaign.jsonl"
REMEDY = "It was changed or damaged: put it back from a copy, or begin a new campaign; the runs that are there stay."

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(dict[str, Any])


class Job(msgspec.Struct, omit_defaults=True):
    """Something that a child process does."""

    id: str
    kind: str
    """"hosts" or "simulate", which are runs; "replay" or "shrink", which follow a failing one."""
    place: str
    """An ensemble of hosts, or "simulator"."""
    setting: str = ""
    servers: int = 0
    mix: str = ""
    seed: int = 0
    """Of the run, or the first of the batch."""
    seeds: int = 1
    """How many of the batch."""
    system: str = ""
    bug: str = ""
    canary: bool = False
    group: str = ""
    """Of failures; what it follows."""
    run: str = ""
    """The folder of the failing run that it follows, in the campaign's."""

    @property
    def is_run(self) -> bool:
        return self.kind in ("hosts", "simulate")


class CampaignJournal:
    """Appends to the journal of a folder."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self._fd = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._size = os.fstat(self._fd).st_size
        self._take_away_a_cut_line()

    def write(self, what: str, **about: Any) -> dict[str, Any]:
        """One line; returns what it says.  Raises OSError, and then nothing of it is in the file."""
        entry = {"at": round(time.time(), 3), "what": what, **about}
        line = _encoder.encode(entry) + b"\n"
        try:
            left = memoryview(line)
            while left:
                left = left[os.write(self._fd, left) :]
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(line)
        return entry

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)

    def _take_away_a_cut_line(self) -> None:
        tail = b""
        at = self._size
        while at and b"\n" not in tail:
            step = min(at, 1 << 16)
            at -= step
            tail = os.pread(self._fd, step, at) + tail
        whole = at + tail.rfind(b"\n") + 1
        if whole < self._size:
            os.ftruncate(self._fd, whole)
            self._size = whole


def read(folder: Path) -> Iterator[dict[str, Any]]:
    """The entries of a journal, as a stream; a cut last line is left out.  Raises UsageError."""
    path = folder / FILE
    try:
        file = files.open_file(path, buffering=-1)
    except OSError as error:
        raise UsageError(f"{path}: this is no campaign: {error.strerror}") from None
    with file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            try:
                yield _decoder.decode(line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                what = "this line is no entry of a campaign's journal, which is a JSON object"
                raise UsageError(what, where=f"{path}:{number}", remedy=REMEDY) from None


def job_of(entry: dict[str, Any]) -> Job:
    return msgspec.convert(entry["job"], Job)
