"""A failing case as a file: everything that its run is a function of, in JSON that a person can read.

    {"bug": "half-quorum", "promise": "evidence", "seed": 3, "servers": 3, "settings": {...}, "knobs": {...},
     "schedule": {"schema": 1, ..., "faults": [
      {"id": "f4", ...}
     ]}}

`settings` and `knobs` hold what is not ordinary.  Beside these a file may say what was measured (`found`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from harness import UsageError
from harness.results import files
from harness.simulator.knobs import Knobs
from harness.simulator.run import simulate
from harness.simulator.simulated_run import SimulatedRun, SimulatorSettings
from nemesis.schedule import Schedule, ScheduleError
from nemesis.schedule import parse as parse_schedule


class Kept(msgspec.Struct, frozen=True):
    """One failing case.  `servers` counts observers, too."""

    bug: str
    promise: str
    seed: int
    servers: int
    settings: SimulatorSettings
    knobs: Knobs
    schedule: Schedule
    found: dict[str, Any] = {}
    """How the bug was found: {"runs": how many seeds it took, "core_s": seconds of one core}."""

    def run(self, bug: str | None = None, keep: Path | None = None) -> SimulatedRun:
        """The run, once more; `bug` in place of its own ("" is the correct server).  KeyError: there is no such bug."""
        return simulate(
            self.seed,
            servers=self.servers,
            schedule=self.schedule,
            bug=self.bug if bug is None else bug,
            settings=self.settings,
            knobs=self.knobs,
            keep=keep,
        )

    def to_json(self) -> str:
        head: dict[str, Any] = {
            name: getattr(self, name) for name in ("bug", "promise", "seed", "servers") if name != "bug" or self.bug
        }
        head |= {"found": self.found} if self.found else {}
        head |= {"settings": _unusual(self.settings), "knobs": _unusual(self.knobs)}
        return f'{json.dumps(head)[:-1]},\n "schedule": {self.schedule.to_json().strip()}}}\n'


def _unusual(struct: SimulatorSettings | Knobs) -> dict[str, Any]:
    ordinary = type(struct)()
    return {
        name: msgspec.to_builtins(getattr(struct, name))
        for name in struct.__struct_fields__
        if getattr(struct, name) != getattr(ordinary, name)
    }


def parse(text: str | bytes, where: str = "case") -> Kept:
    """Raises UsageError, which says what is wrong in `where`."""
    try:
        document = json.loads(text)
        if not isinstance(document, dict):
            raise UsageError(f"{where}: this is no JSON object")
        schedule = parse_schedule(json.dumps(document.get("schedule")), f"{where}: schedule")
        return msgspec.structs.replace(
            msgspec.convert({"bug": "", **document, "schedule": _NO_FAULTS}, Kept), schedule=schedule
        )
    except ScheduleError as error:
        raise UsageError(str(error)) from None
    except (ValueError, msgspec.ValidationError) as error:
        raise UsageError(f"{where}: {error}") from None


_NO_FAULTS = msgspec.to_builtins(Schedule(0, 1, 0.0, 0.0, 0.0, 0.0, ()))


def load(path: Path) -> Kept:
    """Raises UsageError."""
    try:
        return parse(files.read(path), str(path))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
