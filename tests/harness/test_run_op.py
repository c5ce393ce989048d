"""The op `run` states what a system claims: bounds in seconds, and which promises are not judged, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from checker.promises import convergence, stepping_down
from checker.vocabulary import RunOp
from harness import UsageError
from harness.results.run_op import run_value
from harness.systems.base import Claim, Ensemble, Place, Profile
from harness.systems.onethrone import Onethrone
from harness.systems.zookeeper.settings import ZooKeeperSettings
from harness.systems.zookeeper.system import ZooKeeper

THREE = Ensemble({f"n{sid}": Place(f"n{sid}", sid) for sid in (1, 2, 3)})


class Claimless(Onethrone):
    """Onethrone's server with other claims, and without clients."""

    claims: Sequence[Claim] = ()

    def profile(self) -> Profile:
        return Profile("claimless", self.claims, 1.0)

    def clients(self) -> Any:
        return None


@pytest.mark.parametrize("tick_ms", [1, 7, 100, 333, 500, 2000])
@pytest.mark.parametrize(("init_limit", "sync_limit", "most_ms"), [(4, 2, 1000), (1, 9, 1), (10, 5, 60_000)])
def test_the_bounds_that_a_run_states_are_those_of_histories_that_state_none(
    tick_ms: int, init_limit: int, sync_limit: int, most_ms: int
) -> None:
    settings = ZooKeeperSettings(tick_ms, init_limit, sync_limit, most_ms)
    for kind in (Onethrone, ZooKeeper):
        value = run_value("x", 0, kind(settings, THREE), THREE)
        stated = msgspec.convert(value, RunOp)
        silent = msgspec.convert({**value, "bounds": {}}, RunOp)
        assert stated.bounds.convergence_s is not None
        assert stated.bounds.stepping_down_s is not None
        assert convergence.bound_ns(stated) == convergence.bound_ns(silent)
        assert stepping_down.bound_ns(stated) == stepping_down.bound_ns(silent)


def test_a_bound_of_the_plan_takes_the_place_of_the_systems_and_of_its_formula() -> None:
    value = run_value("x", 0, Onethrone(ZooKeeperSettings(), THREE), THREE, {"convergence_s": 6.0})
    assert value["bounds"] == {"convergence_s": 6.0, "stepping_down_s": 4.0}
    assert list(value["why"]) == ["stepping-down"]


def test_what_a_system_does_not_claim_is_not_judged_and_the_reason_stands_beside_it() -> None:
    value = run_value("x", 0, ZooKeeper(ZooKeeperSettings(), THREE), THREE)
    assert value["unjudged"] == ["evidence"]
    assert "which epoch" in value["why"]["evidence"]


def test_without_clients_durability_is_not_judged() -> None:
    system = Claimless(ZooKeeperSettings(), THREE)
    system.claims = [Claim("convergence", "within", 3.0), Claim("stepping-down", "reported", 2.0, why="it never does")]
    value = run_value("x", 0, system, THREE)
    assert value["unjudged"] == ["stepping-down", "durability"]
    assert value["why"]["durability"] == "claimless has no client that could write and read"
    assert value["bounds"] == {"convergence_s": 3.0, "stepping_down_s": 2.0}


def test_a_system_that_states_no_bound_is_refused() -> None:
    with pytest.raises(UsageError, match="claimless states no bound for convergence"):
        run_value("x", 0, Claimless(ZooKeeperSettings(), THREE), THREE)
