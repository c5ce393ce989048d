"""The messages that the page draws: at most `MESSAGES_MAX`, chosen so that a failure can be followed.

    all messages around a violation  >  those of elections, anywhere  >  the beginning of everything else

Columns, for the page: `s` sent and `w` how long it took, in microseconds (-1: it never arrived), `f` from and `o` to,
hosts by their places, `k` the place of what it says in `said`: [kind, text, label].
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import UsageError
from harness.replay.messages import Exchange, exchange
from harness.replay.server import JOURNAL
from harness.report.columns import Strings, column, visible

MESSAGES_MAX = 30_000
AROUND_NS = 3_000_000_000
"""So long before and after a violation, every message is wanted."""
ROUTINE = ("PING", "PROPOSAL", "ACK", "COMMIT", "INFORM", "REQUEST", "SYNC", "REVALIDATE")
"""What an ensemble says while nothing happens."""
NO_JOURNALS = (
    "The messages between servers come from the servers' journals, and there are none: another system than Onethrone's "
    "own server keeps no journal, and a bare history is without its run's folder."
)
US = 1_000
_SAID_BYTES_MAX = 800_000


def exchanged(folder: Path | None, hosts: list[str], violations_ns: list[int]) -> tuple[dict[str, Any], list[str]]:
    """The columns, and what has to be said about them.  Without journals there are none, and `why` says so."""
    if folder is None or next(folder.glob(f"*/{JOURNAL}"), None) is None:
        return columns(Exchange([]), hosts, []) | {"why": NO_JOURNALS}, []
    try:
        found = exchange(folder)
    except (UsageError, OSError) as error:
        return columns(Exchange([]), hosts, []) | {"why": visible(_plainly(str(error), folder))}, []
    notes = [f"Messages: {note}." for note in found.notes]
    chosen = _chosen(found, violations_ns)
    if len(chosen) < len(found):
        notes.append(
            f"Messages: {len(chosen)} of {len(found)} are in this page; all of those within 3 s of a violation come "
            "first, then those of elections."
        )
    return columns(found, hosts, chosen), notes


def _plainly(error: str, folder: Path) -> str:
    """Without the folder's path, which means nothing in another place."""
    text = error.replace(f"{folder}: ", "")
    return text[:1].upper() + text[1:]


def _chosen(found: Exchange, violations_ns: list[int]) -> list[int]:
    """Places of rows, in order."""
    if len(found.rows) <= MESSAGES_MAX:
        return list(range(len(found.rows)))
    windows: list[list[int]] = []
    for at in sorted(violations_ns):
        if windows and at - AROUND_NS <= windows[-1][1]:
            windows[-1][1] = at + AROUND_NS
        else:
            windows.append([at - AROUND_NS, at + AROUND_NS])
    ranks: tuple[list[int], ...] = ([], [], [])
    routine = {place for place, (kind, _, _) in enumerate(found.said) if kind in ROUTINE}
    window = 0
    for place, row in enumerate(found.rows):
        while window < len(windows) and windows[window][1] < row[0]:
            window += 1
        near = window < len(windows) and windows[window][0] <= row[0]
        ranks[0 if near else 2 if row[4] in routine else 1].append(place)
    return sorted((ranks[0] + ranks[1] + ranks[2])[:MESSAGES_MAX])


def columns(found: Exchange, hosts: list[str], chosen: list[int]) -> dict[str, Any]:
    """The chosen rows of `found`, for a page whose hosts are these."""
    place = {host: n for n, host in enumerate(hosts)}
    theirs = [place.get(host, -1) for host in found.hosts]
    rows = [found.rows[n] for n in chosen]
    rows = [row for row in rows if theirs[row[2]] >= 0 and theirs[row[3]] >= 0]
    said: list[list[str]] = []
    places: dict[int, int] = {}
    room = Strings(_SAID_BYTES_MAX)
    for row in rows:
        if row[4] not in places:
            kind, text, label = found.said[row[4]]
            text = text if room.add(text) >= 0 else label
            places[row[4]] = len(said)
            said.append([kind, visible(text), visible(label)])
    return {
        "s": column(row[0] // US for row in rows),
        "w": column(-1 if row[1] < 0 else row[1] // US - row[0] // US for row in rows),
        "f": column(theirs[row[2]] for row in rows),
        "o": column(theirs[row[3]] for row in rows),
        "k": column(places[row[4]] for row in rows),
        "said": said,
        "why": "" if rows else "No server sent a message.",
    }
