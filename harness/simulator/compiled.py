"""The inner loop of a simulation, compiled to C: the same modules, the same histories, in about half of the time.

The model.  mypyc makes of typed modules extension modules that do what the sources do.  `make compiled` puts them
below `build/compiled`, each in its package's folder, beside a stamp of the sources that they were made of.  Only the
processes of a pool take them (`harness.simulator.worker`): there most seeds are run.  The rules:

1.  Never stale: where a source, the Python or the machine is not what the stamp says, the sources are run.
2.  All or none: the modules know each other's classes, so a process that has imported one source stays with them.
3.  A compiled class has one base.  `Server` has two, leader and learner, both on `Transactions`: the compiled leader
    stands on the compiled learner (`ONE_BASE`), which is the line in which Python looks up a method of `Server` too.
4.  What is kept, replayed, deployed or debugged is always the sources' doing.  A failing seed is run again by them,
    so each failure that is told was seen by both.

`ONETHRONE_COMPILED=no` leaves them out; `python -m harness.simulator.compiled` builds them.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import sys
import sysconfig
from pathlib import Path

_ROOT = Path(__file__).parents[2]

MODULES = (
    "node.config",
    *(f"node.protocol.{name}" for name in ("broadcast", "connections", "core", "database", "election", "events")),
    *(f"node.protocol.{name}" for name in ("following", "leadership", "leading", "messages", "quorums", "server")),
    *(f"node.protocol.{name}" for name in ("transactions", "votes")),
    *(f"node.wire.{name}" for name in ("jute", "packets")),
    *(f"node.agent.{name}" for name in ("four_letter_words", "links", "storage", "traffic")),
    *(f"checker.{name}" for name in ("availability", "effects", "quorums", "servers")),
    *(f"checker.promises.{name}" for name in ("convergence", "durability", "epochs", "evidence", "leadership")),
    *(
        f"checker.promises.{name}"
        for name in ("leader_history", "partial_connectivity", "stepping_down", "unique_leader")
    ),
    "nemesis.conductor",
    "harness.runs.observer",
    *(f"harness.simulator.{name}" for name in ("carriers", "clients", "clock", "ground", "nemesis", "network")),
    *(f"harness.simulator.{name}" for name in ("recorder", "world")),
    *(f"node.bugs.{file.stem}" for file in sorted(_ROOT.glob("node/bugs/[!_]*.py"))),
)

ONE_BASE = {
    "node.protocol.leadership": (
        "from node.protocol.transactions import Transactions\n",
        "from node.protocol.following import Learner as Transactions\n",
    ),
    "node.protocol.server": ("class Server(Leader, Learner):\n", "class Server(Leader):\n"),
}
"""What is written otherwise in a source before it is compiled, and how."""

SWITCH = "ONETHRONE_COMPILED"
_BUILT = _ROOT / "build" / "compiled"


def use() -> bool:
    """From now on this process imports the compiled modules; False where it goes on with the sources."""
    if os.environ.get(SWITCH) == "no" or any(name in sys.modules for name in MODULES):
        return False
    if not _is_fresh():
        return False
    sys.path.append(str(_BUILT))  # what they share lies at its top
    for package in sorted({name.rpartition(".")[0] for name in MODULES}):
        importlib.import_module(package).__path__.insert(0, str(_BUILT.joinpath(*package.split("."))))
    return True


def in_use() -> bool:
    """Whether this process runs compiled modules."""
    world = sys.modules.get("harness.simulator.world")
    return world is not None and str(world.__file__).startswith(str(_BUILT))


def _is_fresh() -> bool:
    try:
        return (_BUILT / "stamp").read_text() == _stamp()
    except OSError:
        return False


def _source(module: str) -> Path:
    return _ROOT.joinpath(*module.split(".")).with_suffix(".py")


def _stamp() -> str:
    made_of = hashlib.sha256(f"{sys.version} {sysconfig.get_platform()}".encode())
    for source in map(_source, (*MODULES, __name__ if __name__ != "__main__" else "harness.simulator.compiled")):
        made_of.update(source.read_bytes())
    return made_of.hexdigest()


def _copied(to: Path) -> Path:
    """The packages' sources, copied there, with one base for each class."""
    for package in sorted({name.partition(".")[0] for name in MODULES} | {"nemesis"}):
        shutil.copytree(_ROOT / package, to / package, ignore=shutil.ignore_patterns("__pycache__"))
    for module, (here, there) in ONE_BASE.items():
        source = to / _source(module).relative_to(_ROOT)
        text = source.read_text()
        if text.count(here) != 1:
            raise SystemExit(f"compiled: {module} does not say {here!r} once; change ONE_BASE with it")
        source.write_text(text.replace(here, there))
    return to


def build() -> None:
    """Builds them, all or none, unless they are there; needs mypy, a C compiler and Python's headers."""
    if _is_fresh():
        return
    from mypyc.build import mypycify
    from setuptools import Distribution  # type: ignore[import-untyped]

    stamp = _stamp()
    making = _BUILT.with_name("compiled.new")
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir(parents=True)
    os.chdir(_copied(making / "sources"))
    sources = [str(_source(module).relative_to(_ROOT)) for module in MODULES]
    extensions = mypycify(sources, opt_level="3", debug_level="0", multi_file=True, target_dir=str(making / "c"))
    command = Distribution({"ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib, command.build_temp, command.parallel = str(making), str(making / "o"), os.cpu_count()
    command.ensure_finalized()
    command.run()
    os.chdir(_ROOT)
    for intermediate in ("c", "o", "sources"):
        shutil.rmtree(making / intermediate, ignore_errors=True)
    (making / "stamp").write_text(stamp)
    shutil.rmtree(_BUILT, ignore_errors=True)
    making.rename(_BUILT)


if __name__ == "__main__":
    build()
