"""The schedule of a run, drawn from its seed: on hosts and in the simulator it is drawn in the same way."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from checker import vocabulary
from checker.promises.convergence import bound_ns
from nemesis import storm
from nemesis.faults import KINDS
from nemesis.schedule import Schedule


def draw(
    run: Mapping[str, Any],
    duration_s: float,
    detect_s: float,
    *,
    abilities: Collection[str],
    kinds: Collection[str] = (),
    cannot: Collection[str] = (),
    lasting: float = 0.0,
) -> Schedule:
    """The schedule for a run whose op `run` has this value.

    `abilities` are those of every host, `kinds` those to draw from (empty is all that hosts can do), `cannot` kinds
    that make no sense for the system.  Each of the two acts at the end is a third longer than the bound of
    `convergence`: a shorter one could prove nothing.  Raises ScheduleError.
    """
    about = msgspec.convert(run, vocabulary.RunOp)
    if cannot:
        kinds = [kind for kind in kinds or _able(abilities) if kind not in cannot]
    return storm.draw(
        run["seed"],
        len(about.voters),
        duration_s,
        abilities=abilities,
        kinds=kinds,
        detect_s=detect_s,
        act_s=round(4 / 3 * bound_ns(about) / 1e9, 3),
        spared=about.quorums().spared(),
        lasting=lasting,
    )


def _able(abilities: Collection[str]) -> list[str]:
    return [name for name, kind in KINDS.items() if not kind.needs or kind.needs in abilities]
