"""Holds the checkers against the referee on random histories: `make referee` runs a million.

    python -m tests.checker.comparison --seeds 1000000 --processes 2 --keep build/referee

prints how often each promise came out valid, invalid and unknown, and each disagreement with its seed and a minimal
file.  The exit code is 1 if there is any.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing import Pool
from pathlib import Path

from checker.history import HistoryError
from checker.verdict import check
from tests.checker.random_histories import RandomHistory, random_history, shrinks
from tests.checker.referee import INVALID, JUDGED, PROMISES, UNKNOWN, VALID, judge

WORDS = {True: VALID, False: INVALID, "unknown": UNKNOWN}
CHUNK = 500
KEPT_MAX = 5
"""Maximum number of minimal files of one kind of disagreement."""

Verdicts = dict[str, str]


def checked(path: Path) -> Verdicts:
    """The checkers' verdicts, in the words of the referee; what they refuse is a disagreement too."""
    try:
        verdict = check(path).to_dict()
    except HistoryError:
        return dict.fromkeys(JUDGED, "no history")
    found = {name: WORDS[verdict["results"][name]["valid"]] for name in PROMISES if verdict["results"][name]["judged"]}
    return {**found, "verdict": WORDS[verdict["valid"]]}


@dataclass(frozen=True, order=True)
class Kind:
    """A way to disagree on a promise."""

    promise: str
    checker: str
    referee: str

    def __str__(self) -> str:
        return f"{self.promise}: {self.checker} say the checkers, {self.referee} says the referee"


def differences(checkers: Verdicts, referee: Verdicts) -> list[Kind]:
    """Where they differ; on the verdict of the run only if they agree on every promise."""
    kinds = [
        Kind(name, checkers.get(name, "not judged"), referee.get(name, "not judged"))
        for name in JUDGED
        if checkers.get(name) != referee.get(name)
    ]
    return [kind for kind in kinds if kind.promise != "verdict"] or kinds


def compare(history: RandomHistory, path: Path) -> tuple[Verdicts, list[Kind]]:
    """Writes the history to the path; returns the referee's verdicts, and where the checkers' differ."""
    history.write(path)
    referee = judge(path)
    return referee, differences(checked(path), referee)


def shrink(history: RandomHistory, kind: Kind, path: Path) -> RandomHistory:
    """A history in which no op can be dropped, on which the two disagree in the same way."""
    while True:
        for smaller in shrinks(history):
            if kind in compare(smaller, path)[1]:
                history = smaller
                break
        else:
            history.write(path)
            return history


Counts = Counter[tuple[str, str]]


def compare_seeds(seeds: range) -> tuple[Counts, list[tuple[int, Kind]]]:
    """How often each promise came out how, and the seeds on which the two disagree."""
    counts: Counts = Counter()
    found: list[tuple[int, Kind]] = []
    with tempfile.TemporaryDirectory(prefix="referee-") as folder:
        for seed in seeds:
            verdicts, kinds = compare(random_history(seed), Path(folder) / "history.jsonl")
            counts.update(verdicts.items())
            found += [(seed, kind) for kind in kinds]
    return counts, found


def chunks(first: int, seeds: int) -> Iterator[range]:
    for start in range(first, first + seeds, CHUNK):
        yield range(start, min(start + CHUNK, first + seeds))


def table(counts: Counts) -> str:
    rows: list[tuple[str, ...]] = [("promise", VALID, INVALID, UNKNOWN)]
    rows += [(name, *(f"{counts[name, word]:,}" for word in rows[0][1:])) for name in JUDGED]
    return "\n".join(f"{row[0]:15}" + "".join(f"{number:>12}" for number in row[1:]) for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the checkers with the referee on random histories.")
    parser.add_argument("--seeds", type=int, default=1_000_000, help="Number of histories. Default: a million.")
    parser.add_argument("--first", type=int, default=0, help="The first seed. Default: 0.")
    parser.add_argument("--processes", type=int, default=2, help="Number of processes. Default: 2.")
    parser.add_argument("--keep", type=Path, required=True, help="Folder for minimal histories of disagreements.")
    wanted = parser.parse_args()
    counts: Counts = Counter()
    kept: Counter[Kind] = Counter()
    with Pool(wanted.processes) as pool:
        for more, found in pool.imap_unordered(compare_seeds, chunks(wanted.first, wanted.seeds)):
            counts += more
            for seed, kind in found:
                kept[kind] += 1
                where = ""
                if kept[kind] <= KEPT_MAX:
                    wanted.keep.mkdir(parents=True, exist_ok=True)
                    path = wanted.keep / f"{kind.promise}-{kind.checker}-{kind.referee}-{seed}.jsonl".replace(" ", "-")
                    smallest = shrink(random_history(seed), kind, path)
                    where = f": {path} ({len(smallest.ops)} ops)"
                print(f"seed {seed}: {kind}{where}", flush=True)
    print(table(counts))
    for kind, times in sorted(kept.items()):
        print(f"{times:,} times: {kind}")
    return 1 if kept else 0


if __name__ == "__main__":
    sys.exit(main())
