"""The compiled inner loop: the same histories, and never the old ones.  `make test` builds it first."""

from __future__ import annotations

import hashlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import pytest

from harness.simulator import compiled
from harness.simulator.worker import make_processes
from node import bugs, protocol

DEADLINE_S = 300
SEEDS = range(6)


class Outcome(NamedTuple):
    history: str
    verdict: str
    steps: int
    reached: dict[str, int]


def outcome(seed: int, bug: str) -> tuple[bool, Outcome]:
    """Whether it was compiled, and what came of it."""
    from harness.simulator.run import simulate

    run = simulate(seed, bug=bug)
    digest = hashlib.sha256(run.history.encoded()).hexdigest()
    return compiled.in_use(), Outcome(digest, run.verdict.to_json(), run.steps, run.reached)


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    with make_processes(1) as pool:
        yield pool


@pytest.mark.parametrize("bug", ["", *bugs.names()])
def test_compiled_servers_give_the_histories_of_the_sources_byte_for_byte(
    workers: ProcessPoolExecutor, bug: str
) -> None:
    seeds = SEEDS if not bug else range(1)
    started = [workers.submit(outcome, seed, bug) for seed in seeds]
    for seed, future in zip(seeds, started, strict=True):
        was_compiled, theirs = future.result(DEADLINE_S)
        assert was_compiled, "build/compiled is missing or older than the sources: make compiled"
        sources, ours = outcome(seed, bug)
        assert not sources
        assert theirs == ours


def test_the_whole_core_is_compiled_but_for_what_no_step_of_it_runs() -> None:
    core = {f"node.protocol.{module.name}" for module in pkgutil.iter_modules(protocol.__path__)}
    assert core - set(compiled.MODULES) == {"node.protocol.describe", "node.protocol.states"}


def layers() -> list[str]:
    from node.protocol.server import Server

    return [layer.__name__ for layer in Server.__mro__]


def test_a_compiled_server_finds_its_methods_in_the_same_order_of_layers(workers: ProcessPoolExecutor) -> None:
    assert workers.submit(layers).result(DEADLINE_S) == layers()


@pytest.mark.parametrize(
    ("before", "used"),
    [
        ("", True),
        ("compiled._stamp = lambda: 'of changed sources'", False),
        ("import node.protocol.server", False),
        ("import os; os.environ[compiled.SWITCH] = 'no'", False),
    ],
    ids=["built", "a source has changed", "the sources are loaded", "switched off"],
)
def test_a_process_takes_the_compiled_modules_only_where_they_are_the_present_sources(before: str, used: bool) -> None:
    code = f"""
from harness.simulator import compiled
{before}
used = compiled.use()
from harness.simulator import world
print(used, compiled.in_use(), world.__file__.endswith(".so"))
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S, check=True)
    assert said.stdout.split() == [str(used)] * 3
