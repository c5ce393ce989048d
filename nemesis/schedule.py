"""A schedule: the faults of a run, with their times, as a file that can be run again.

The model.  A run's time is cut into four phases:

    0 ------ calm_s ------------------ majority_at_s ------------ everyone_at_s ------------ duration_s
       calm             storm              act one: majority          act two: everyone

Nothing happens in the calm.  The storm is a row of faults that overlap.  At its end some servers break for good (a
fault whose `for_s` is None).  Everything else is healed at `majority_at_s`, and the majority that is left must converge
in act one.  At `everyone_at_s` the rest is healed, and everybody must converge in act two.

The rules of every schedule:

1.  A fault that is not for good is over at `majority_at_s`; one that is for good is over at `everyone_at_s`.
2.  Ids are unique.  Faults stand in the order of their starts.
3.  A schedule holds words for its targets, no host names: it fits any ensemble, on hosts or simulated.

A file is JSON, one fault a line:

    {"schema": 2, "seed": 7, "servers": 5, "duration_s": 60.0, "calm_s": 3.0, "majority_at_s": 36.0,
     "everyone_at_s": 48.0, "faults": [
      {"id": "f1", "kind": "kill", "at_s": 3.2, "for_s": 2.5, "targets": "leader"}
     ]}

Files of schema 1 (release 0.1) are read too: there the two times are called `core_at_s` and `all_at_s`.

How a storm is drawn is in `nemesis.storm`.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from nemesis.faults import KINDS, Fault, FaultError, check

SCHEMA = 2
_NAMES_OF_SCHEMA_1 = {"core_at_s": "majority_at_s", "all_at_s": "everyone_at_s"}

BYTES_MAX = 16 << 20
"""Maximum size of a file.  A thousand faults take 150 kB."""

SEED_MAX = 2**31 - 1
"""Maximum of every seed: a run's, a plan's, a simulation's."""

SERVERS_MIN, SERVERS_MAX = 3, 99
DURATION_MAX_S = 7 * 86_400.0
"""Maximum of a schedule's `duration_s` and of a plan's `limit_s`."""


class ScheduleError(ValueError):
    """A schedule, or what is asked of one, is wrong; the message names the file, the fault and the field."""


class Step(NamedTuple):
    """A fault starts or stops, `at_s` seconds after the schedule's beginning."""

    at_s: float
    step: str
    fault: Fault


class Schedule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Times are seconds since the schedule's beginning; see the module's docstring."""

    seed: int
    servers: int
    duration_s: float
    calm_s: float
    majority_at_s: float
    everyone_at_s: float
    faults: tuple[Fault, ...]
    schema: int = SCHEMA

    def end_s(self, fault: Fault) -> float:
        """When the fault is over."""
        return self.everyone_at_s if fault.for_s is None else fault.at_s + fault.for_s

    def steps(self) -> list[Step]:
        """Every start and stop, in the order of their times; at one time stops come first."""
        starts = [Step(fault.at_s, "start", fault) for fault in self.faults]
        stops = [Step(self.end_s(fault), "stop", fault) for fault in self.faults]
        return sorted(stops + starts, key=lambda step: step.at_s)

    def phases(self) -> list[tuple[float, str]]:
        """When each phase begins: (seconds, name)."""
        return [
            (0.0, "calm"),
            (self.calm_s, "storm"),
            (self.majority_at_s, "majority"),
            (self.everyone_at_s, "everyone"),
            (self.duration_s, "end"),
        ]

    def refusals(self, abilities: Mapping[str, Mapping[str, str]]) -> list[str]:
        """What the hosts cannot do of it, with the reasons; empty is nothing.

        `abilities` are by host and ability what its injector found: "" where it is able, otherwise the reason.
        """
        refused = []
        for kind in dict.fromkeys(fault.kind for fault in self.faults):
            needs = KINDS[kind].needs
            hosts: dict[str, list[str]] = {}
            for host, able in abilities.items():
                reason = able.get(needs, f"its injector knows nothing of {needs}") if needs else ""
                if reason:
                    hosts.setdefault(reason, []).append(host)
            ids = ", ".join(fault.id for fault in self.faults if fault.kind == kind)
            refused += [f"{', '.join(named)} cannot do {kind} ({ids}): {reason}" for reason, named in hosts.items()]
        return refused

    def to_json(self) -> str:
        """The file's text."""
        head = {name: getattr(self, name) for name in ("schema", *self.__struct_fields__[:6])}
        faults = ",\n".join(f"  {msgspec.json.encode(fault).decode()}" for fault in self.faults)
        return f'{json.dumps(head)[:-1]},\n "faults": [\n{faults}\n ]}}\n'

    def save(self, path: Path) -> None:
        path.write_text(self.to_json(), encoding="utf-8")


def load(path: Path) -> Schedule:
    """The schedule of a file.  Raises ScheduleError."""
    try:
        # A pipe is not waited for: it may never begin, or never end.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ScheduleError(f"{path}: not a file, so not a schedule")
            text = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ScheduleError(f"{path}: {error.strerror}") from None
    if len(text) > BYTES_MAX:
        raise ScheduleError(f"{path}: larger than {BYTES_MAX >> 20} MB, so not a schedule")
    return parse(text, str(path))


def parse(text: bytes | str, where: str = "schedule") -> Schedule:
    """The schedule of a file's text; `where` names it in errors.  Raises ScheduleError."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:  # RecursionError: thousands of brackets
        raise ScheduleError(f"{where}: this is not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("faults"), list):
        raise ScheduleError(f'{where}: a schedule is an object with a list of "faults"')
    if document.get("schema", 1) == 1:
        document = {_NAMES_OF_SCHEMA_1.get(name, name): value for name, value in document.items()} | {"schema": SCHEMA}
    if document["schema"] != SCHEMA:
        raise ScheduleError(
            f"{where}: schema: {document['schema']!r} is not known; this program reads schemas 1 and {SCHEMA}"
        )
    faults = [_fault(record, index, where) for index, record in enumerate(document["faults"])]
    try:
        schedule = msgspec.convert({**document, "faults": ()}, Schedule)
    except msgspec.ValidationError as error:
        raise ScheduleError(f"{where}: {error}") from None
    schedule = msgspec.structs.replace(schedule, faults=tuple(sorted(faults, key=lambda fault: fault.at_s)))
    _check(schedule, where)
    return schedule


def _fault(record: object, index: int, where: str) -> Fault:
    name = record.get("id") if isinstance(record, dict) else None
    here = f"{where}: faults[{index}]" + (f" ({name})" if name else "")
    try:
        fault = msgspec.convert(record, Fault)
        check(fault)
    except msgspec.ValidationError as error:
        raise ScheduleError(f"{here}: {error}") from None
    except FaultError as error:
        raise ScheduleError(f"{here}: {error.field}: {error}") from None
    return fault


def _check(schedule: Schedule, where: str) -> None:
    _within(schedule.seed, 0, SEED_MAX, f"{where}: seed")
    _within(schedule.servers, SERVERS_MIN, SERVERS_MAX, f"{where}: servers")
    _within(schedule.duration_s, 0, DURATION_MAX_S, f"{where}: duration_s")
    if not 0 <= schedule.calm_s <= schedule.majority_at_s <= schedule.everyone_at_s <= schedule.duration_s:
        raise ScheduleError(f"{where}: 0 <= calm_s <= majority_at_s <= everyone_at_s <= duration_s does not hold")
    seen: set[str] = set()
    for fault in schedule.faults:
        if fault.id in seen:
            raise ScheduleError(f"{where}: two faults have the id {fault.id!r}")
        seen.add(fault.id)
        limit = "everyone_at_s" if fault.for_s is None else "majority_at_s"
        ends = fault.at_s if fault.for_s is None else schedule.end_s(fault)
        if ends > getattr(schedule, limit) + 1e-6:
            what = "at_s" if fault.for_s is None else "for_s"
            raise ScheduleError(
                f"{where}: fault {fault.id}: {what}: it goes on to {ends:g} s, but has to be over by {limit}, "
                f"{getattr(schedule, limit):g} s"
            )


def _within(number: float, least: int, most: float, where: str) -> None:
    if not least <= number <= most:
        raise ScheduleError(f"{where}: from {least} to {most:.0f}, not {number}")
