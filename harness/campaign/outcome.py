"""What one run leaves to be counted; a batch of simulated runs leaves the sum of its seeds'.

Each run is exactly one of: `valid`, `invalid`, `unknown`, or `cut`.  A run is *cut* when the campaign itself ended it
(the controller was killed, or interrupted): what it broke until then counts, and what it did not show is held against
nobody.  A run that the harness failed at, or that hung, is unknown, and says so in `harness`.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from checker.promises.base import Valid
from harness.campaign.coverage import Coverage
from harness.campaign.signature import Signature

FILE = "outcome.json"
LISTED_MAX = 50
"""So many failing runs of a batch are told of one by one; all are counted, in `groups`."""


class Failure(msgspec.Struct, omit_defaults=True):
    """A run that broke a promise."""

    signature: Signature
    message: str
    seed: int
    at_s: float
    """When the promise first broke, in seconds of the run."""
    also: list[str] = []
    """Other promises that it broke."""
    folder: str = ""
    """The run's, in the campaign's folder; empty: it comes again from its seed."""


class Trouble(msgspec.Struct, omit_defaults=True):
    """A run that is unknown, or that the harness failed at, and why."""

    why: str
    seed: int
    folder: str = ""
    log: str = ""


class CountedOutcome(msgspec.Struct, omit_defaults=True):
    """What there is to count of a job."""

    valid: int = 0
    invalid: int = 0
    unknown: int = 0
    cut: int = 0
    groups: dict[str, int] = {}
    """Runs that broke a promise, by the key of their signature."""
    failures: list[Failure] = []
    """The first of them."""
    unknowns: list[Trouble] = []
    harness: list[Trouble] = []
    """What failed in the harness itself; these runs are among the unknown, unless they broke a promise."""
    folder: str = ""
    """Of a run on hosts, in the campaign's folder."""
    summary: str = ""
    seconds: float = 0.0
    """Of the runs: simulated ones, in the simulator."""
    ops: int = 0
    bytes: int = 0
    """What is kept of it."""
    coverage: Coverage = msgspec.field(default_factory=Coverage)
    marks: dict[str, int] = {}

    @property
    def runs(self) -> int:
        return self.valid + self.invalid + self.unknown + self.cut

    def judged(self, valid: Valid, *, cut: bool = False) -> None:
        """Counts a run with this verdict."""
        if valid is False:
            self.invalid += 1
        elif cut:
            self.cut += 1
        elif valid is True:
            self.valid += 1
        else:
            self.unknown += 1

    def failed(self, failure: Failure) -> None:
        key = failure.signature.key
        self.groups[key] = self.groups.get(key, 0) + 1
        self.failures.append(failure)

    def add(self, other: CountedOutcome) -> None:
        for name in ("valid", "invalid", "unknown", "cut", "seconds", "ops", "bytes"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("failures", "unknowns", "harness"):
            mine = getattr(self, name)
            mine += getattr(other, name)[: LISTED_MAX - len(mine)]
        self.coverage.add(other.coverage)
        for counts, others in ((self.marks, other.marks), (self.groups, other.groups)):
            for name, count in others.items():
                counts[name] = counts.get(name, 0) + count


def save(outcome: CountedOutcome, folder: Path) -> None:
    """Whole or not at all.  Raises OSError."""
    half = folder / f".{FILE}.half"
    half.write_bytes(msgspec.json.encode(outcome))
    half.replace(folder / FILE)


def load(folder: Path) -> CountedOutcome | None:
    """None where there is none, or none that can be read."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=CountedOutcome)
    except (OSError, msgspec.DecodeError):
        return None


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
