"""A run in a terminal: a few lines at the bottom that show it as it is now, below the lines that are said.

    ─────────────────────────────────────────────────────────────────────────
    00:23  storm: faults overlap · 37 s left                      onethrone · seed 7
    n1  FOLLOWING  broadcast        epoch 3  n5  f7 pause
    n2  down                                     f8 kill
    n5  LEADING    broadcast        epoch 3
    faults   f7 pause n1 3 s · f8 kill n2 1 s
    clients  create 59, 56 ok, 3 unknown · read 66, 62 ok, 4 unknown
    so far   no violation found · 3 epochs · 8 faults verified

The rules:

1.  The run does not wait for it.  It reads the history, as anybody could, in a thread of its own; a line that is said
    is handed to that thread.  What fails in here ends the view, not the run: lines are then printed as they come.
2.  There is nothing to restore.  The cursor is not hidden, no mode of the terminal is changed: a terminal is as usable
    after a `kill -9` as after the end.
3.  One write a frame, and none when nothing has changed.  No line is as wide as the terminal; when that has become
    narrower, what was drawn takes more rows than it did, and so many are wiped.
4.  Text of hosts is text: control characters are shown as such, not sent.
"""

from __future__ import annotations

import logging
import os
import threading
import unicodedata
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from checker.counted import counted
from harness.watch.follow import Follower
from harness.watch.progress import Progress
from harness.watch.scene import PHASES, FaultSeen, Scene, SceneServer
from harness.watch.terminal import printable
from nemesis.schedule import ScheduleError, load

LOG = logging.getLogger("onethrone.screen")

PERIOD_S = 0.2
"""Between two looks at the history."""
READ_BYTES = 1 << 20
LINES_MAX = 10_000
"""Lines that wait for a terminal that takes none (Ctrl-S); beyond that the oldest are only in the log."""
PATIENCE_S = 2.0

BOLD, DIM, RED, YELLOW, GREEN = "1", "2", "31", "33", "32"

Part = tuple[str, str]
"""Some text and its style."""


def suits(file: TextIO) -> bool:
    """Whether a view can be drawn there: a terminal that can move its cursor."""
    try:
        return file.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb")
    except ValueError:  # it is closed
        return False


@contextmanager
def view(history: Path, schedule: Path, progress: Progress) -> Iterator[None]:
    """Shows the run of that history for as long as the block lasts, if `progress` says its lines to a terminal."""
    file = progress.terminal
    if file is None or not suits(file):
        yield
        return
    screen = Screen(history, schedule, progress, file)
    screen.start()
    try:
        yield
    finally:
        screen.stop()


class Screen:
    """The view of one run; `start` it and `stop` it."""

    def __init__(self, history: Path, schedule: Path, progress: Progress, file: TextIO) -> None:
        self._follower = Follower(history)
        self._schedule = schedule
        self._progress = progress
        self._region = Region(file)
        self._said: deque[str] = deque(maxlen=LINES_MAX)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)

    def start(self) -> None:
        self._progress.divert(self._said.append)
        self._thread.start()

    def stop(self) -> None:
        """Wipe the view; what was said and not shown yet is printed.  A terminal that takes nothing is left alone."""
        self._stop.set()
        self._thread.join(PATIENCE_S)
        self._progress.divert(None)
        while self._said and not self._thread.is_alive():
            self._progress.print(self._said.popleft())

    def _run(self) -> None:
        try:
            shown: object = None
            while not self._stop.wait(PERIOD_S):
                grown = self._read()
                now = (int(self._follower.now / 1e9), self._region.size())
                if grown or self._said or now != shown:
                    shown = now
                    self._draw()
            self._region.draw(self._take(), [])
        except Exception:
            LOG.warning("the live view ended", exc_info=True)
            self._progress.divert(None)
            for line in self._take():
                self._progress.print(line)

    def _read(self) -> bool:
        try:
            grown = self._follower.read(READ_BYTES)
        except OSError:  # not begun, or not readable: there is nothing to show
            return False
        scene = self._follower.scene
        if scene.duration_s is None and scene.servers:
            try:
                scene.duration_s = load(self._schedule).duration_s
            except ScheduleError:
                scene.duration_s = 0.0
        return grown

    def _draw(self) -> None:
        width, height = self._region.size()
        lines = frame(self._follower, width, height) if self._follower.scene.servers else []
        self._region.draw(self._take(), lines)

    def _take(self) -> list[str]:
        return [self._said.popleft() for _ in range(len(self._said))]


class Region:
    """The last lines of a terminal, drawn again and again."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._plain = bool(os.environ.get("NO_COLOR"))
        self._ascii = "utf" not in (file.encoding or "").lower()
        self._widths: list[int] = []
        """How wide the lines are that stand there now."""

    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        try:
            columns, rows = os.get_terminal_size(self._file.fileno())
        except OSError:
            return 80, 24
        return columns or 80, rows or 24

    def draw(self, above: list[str], lines: list[list[Part]]) -> None:
        """Put `lines` in the place of those that are there, and above them, for good, what was said."""
        columns, rows = self.size()
        taken = sum(max(1, -(-width // columns)) for width in self._widths)
        wipe = "\r" + (f"\x1b[{min(taken, rows) - 1}A" if taken > 1 else "") + "\x1b[J"
        cut = [_cut(line, columns - 1) for line in lines]
        body = "\n".join("".join(self._styled(part) for part in line) for line in cut)
        self._file.write(wipe + "".join(f"{line}\n" for line in above) + body)
        self._file.flush()
        self._widths = [sum(_cells(text) for text, _ in line) for line in cut]

    def _styled(self, part: Part) -> str:
        text, style = part
        if self._ascii:
            text = text.replace("─", "-").replace("·", "-").encode("ascii", "replace").decode()
        if self._plain and style not in (BOLD, DIM):
            style = ""
        return f"\x1b[{style}m{text}\x1b[m" if style else text


def _cells(text: str) -> int:
    """How many columns a text takes."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def _cut(line: list[Part], cells_max: int) -> list[Part]:
    """As much of a line as fits."""
    cut: list[Part] = []
    left = cells_max
    for text, style in line:
        shown = printable(text).replace("\n", " ")
        while _cells(shown) > left:
            shown = shown[: max(0, min(left, len(shown) - 1))]
        cut.append((shown, style))
        left -= _cells(shown)
    return cut


# ---- what is drawn -------------------------------------------------------------------------------------------------


def frame(follower: Follower, columns: int, rows: int) -> list[list[Part]]:
    """The lines of the view for a terminal of that size; none is wider, and there are fewer than `rows`."""
    scene, now = follower.scene, follower.now
    head, rest = [_head(scene, now, columns)], _so_far(follower, columns)
    if rows >= 8:
        rest = [_faults(scene, now, columns), *rest]
    if rows >= 12:
        head = [[("─" * (columns - 1), DIM)], *head]
        rest = [rest[0], _clients(scene), *rest[1:]]
    room = max(0, rows - 1 - len(head) - len(rest))
    servers = list(scene.servers.values())
    shown = servers if len(servers) <= room else servers[: max(0, room - 1)]
    lines = [_server(scene, server, columns) for server in shown]
    if len(shown) < len(servers):
        lines.append([(f"and {counted(len(servers) - len(shown), 'more server')}", DIM)])
    return [*head, *lines[:room], *rest][: max(1, rows - 1)]


def _head(scene: Scene, now: int, columns: int) -> list[Part]:
    seconds = int(now / 1e9)
    left_s = scene.left_s(now)
    phase = "it has ended" if scene.ended else PHASES.get(scene.phase, scene.phase) or "waiting for a first leader"
    if columns < 70:
        phase = phase.split(":")[0]
    said = f"{seconds // 60:02}:{seconds % 60:02}  {phase}" + (f" · {left_s:.0f} s left" if left_s is not None else "")
    who = f"{scene.system or scene.name}" + (f" · bug {scene.bug}" if scene.bug else "") + f" · seed {scene.seed}"
    gap = columns - 1 - _cells(said) - _cells(who)
    return [(said, BOLD), (" " * gap + who if gap >= 2 else "", DIM)]


def _server(scene: Scene, server: SceneServer, columns: int) -> list[Part]:
    name = max(map(len, scene.servers))
    kind = server.kind
    role, style = server.role, ""
    if kind == "leading":
        style = BOLD
    elif kind == "down":
        role, style = "down", DIM
    elif not kind:
        role, style = "not heard yet", DIM
    elif kind in ("looking", "elected"):
        style = YELLOW
    line: list[Part] = [(f"{server.host:<{name}}  ", ""), (f"{role:<9}  ", style)]
    if columns >= 60:
        line.append((f"{server.phase:<15}  ", DIM))
    line.append(
        (f"{f'epoch {server.epoch}' if server.epoch is not None else '':<9}  ", style if kind == "leading" else "")
    )
    follows = scene.name_of(server.leader) if kind in ("following", "observing") else ""
    line.append((f"{follows:<{name}}  ", ""))
    line.append((", ".join(f"{fault.id} {fault.kind}" for fault in scene.hits(server.host)), RED))
    return line


def _faults(scene: Scene, now: int, columns: int) -> list[Part]:
    def said(fault: FaultSeen) -> str:
        words = f"{fault.id} {fault.kind} {' '.join(fault.hosts)}"
        return f"{words} {max(0, now - fault.since) // 10**9} s" if columns >= 60 else words

    faults = scene.in_force
    return [("faults   ", DIM), (" · ".join(map(said, faults)) or "none in force", RED if faults else "")]


def _clients(scene: Scene) -> list[Part]:
    parts = []
    for f, counts in scene.clients.items():
        ends = [
            f"{counts[end]} {word}"
            for end, word in (("ok", "ok"), ("fail", "failed"), ("info", "unknown"))
            if counts[end]
        ]
        parts.append(", ".join([f"{f} {counts['invoke']}", *ends]))
    return [("clients  ", DIM), (" · ".join(parts) or "none yet", "")]


def _so_far(follower: Follower, columns: int) -> list[list[Part]]:
    scene, so_far = follower.scene, follower.so_far
    found = so_far.found
    counts = f" · {counted(len(scene.epochs), 'epoch')} · {counted(scene.verified, 'fault')} verified"
    if so_far.trouble:
        return [[("so far   ", DIM), (so_far.sentence, YELLOW), (counts, "")]]
    if not found and not so_far.suspected:
        return [[("so far   ", DIM), ("no violation found", GREEN), (counts, "")]]
    return [
        [("so far   ", DIM), (f"{counted(len(found), 'violation')} found", RED if found else ""),
         (f", {len(so_far.suspected)} suspected" if so_far.suspected else "", YELLOW), (counts, "")],
        [("         ", ""), (f"{(found or so_far.suspected)[0].message}", RED if found else YELLOW)],
    ]  # fmt: skip
