"""`simulated.json`: what a simulated run is a function of, beside its schedule."""

from __future__ import annotations

from operator import attrgetter
from pathlib import Path

import msgspec

from harness import UsageError
from harness.results import files
from harness.simulator.knobs import Knobs
from harness.simulator.simulated_run import SimulatorSettings
from nemesis.schedule import SEED_MAX, SERVERS_MAX, SERVERS_MIN

INPUTS = "simulated.json"


class Inputs(msgspec.Struct, frozen=True):
    """The file `simulated.json` of a run's folder: what the run is a function of, beside its schedule; and its knobs,
    which follow from the seed, for people to read."""

    seed: int
    servers: int
    bug: str
    settings: SimulatorSettings
    knobs: Knobs

    @staticmethod
    def beside(folder: Path) -> Inputs | None:
        """Those of a run's folder; None where it is not a simulated run's."""
        file = folder / INPUTS
        try:
            inputs = msgspec.json.decode(files.read(file), type=Inputs)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
        except msgspec.DecodeError as error:
            raise UsageError(f"{file}: {error}") from None
        for field, (least, most) in _BOUNDS.items():
            number = attrgetter(field)(inputs)
            if not least <= number <= most:
                raise UsageError(
                    f"from {least} to {most}, not {number}", where=f"{file}: {field}", remedy="Restore the run's file."
                )
        return inputs


_BOUNDS = {
    "seed": (0, SEED_MAX),
    "servers": (SERVERS_MIN, SERVERS_MAX),
    "settings.tick_ms": (1, 60_000),
    "settings.init_limit": (1, 1000),
    "settings.sync_limit": (1, 1000),
    "settings.max_notification_interval_ms": (1, 3_600_000),
    "settings.observers": (0, 50),
    "settings.duration_s": (0, 86_400),
}
"""Those of the options, and of a plan's settings."""
