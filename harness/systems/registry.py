"""The systems that there are, by name: entry points of the group `onethrone.systems`, or a plug-in by its place.

    make("zookeeper", settings, ensemble)            an installed plug-in
    make("tests.toys.claimant:Claimant", ...)        a class in a module that can be imported, or is found from here

A checkout that was not installed again since its pyproject.toml changed is read there, so that it needs no metadata.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
import tomllib
from functools import cache
from pathlib import Path

import msgspec

from harness import UsageError
from harness.systems.base import Ensemble, System

GROUP = "onethrone.systems"
DEFAULT = "onethrone"
_PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


@cache
def _places() -> dict[str, str]:
    """The module and class of each plug-in that is known by a name."""
    found = {entry.name: entry.value for entry in importlib.metadata.entry_points(group=GROUP)}
    if _PYPROJECT.is_file():
        project = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]
        found |= project["entry-points"][GROUP]
    return found


def names() -> tuple[str, ...]:
    """Every system that is known by a name."""
    return tuple(sorted(_places()))


def forget() -> None:
    """Look for plug-ins anew: one was installed since."""
    for known in (_places, load, simulated):
        known.cache_clear()


@cache
def load(name: str) -> type[System]:
    """The plug-in.  Raises UsageError where there is none, or where it cannot be imported."""
    place = name if ":" in name else _places().get(name)
    if place is None:
        raise UsageError(f"there is no {name!r} (there are: {', '.join(names())}; a plug-in of yours is MODULE:CLASS)")
    module, _, attribute = place.partition(":")
    if ":" in name and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where people have their own plug-ins
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"{name!r} cannot be imported: {error}") from None
    plug_in: type[System] | None = getattr(found, attribute, None)
    if not isinstance(plug_in, type) or not hasattr(plug_in, "Settings"):
        raise UsageError(f"{name!r} is not a system: {module} has no class {attribute!r} with Settings")
    return plug_in


def make(name: str, settings: msgspec.Struct | None, ensemble: Ensemble) -> System:
    """The system for this ensemble; `settings` None are its defaults.  Raises UsageError."""
    plug_in = load(name)
    return plug_in(plug_in.Settings() if settings is None else settings, ensemble)


@cache
def simulated(name: str) -> bool:
    """Whether the simulator runs this system's protocol core.  It runs none of a plug-in that is not here."""
    try:
        return make(name, None, Ensemble({})).profile().simulated
    except UsageError:
        return False
