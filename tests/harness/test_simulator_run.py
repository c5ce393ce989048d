"""One seed is one history; a run's folder is an ordinary one; each seed turns its own knobs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from checker.verdict import check
from harness.results import version
from harness.simulator import knobs as seeds
from harness.simulator.inputs import Inputs
from harness.simulator.knobs import Knobs
from harness.simulator.run import drawn, run_value, simulate
from harness.simulator.simulated_run import SimulatedRun, SimulatorSettings
from nemesis import storm
from nemesis.faults import Fault
from nemesis.schedule import Schedule
from node.protocol.messages import Notification
from node.protocol.server import Server

SHORT = SimulatorSettings(duration_s=40.0)
ONETHRONE = [sys.executable, "-c", "from harness.cli import main; main()"]


def _calm(servers: int, *faults: Fault) -> Schedule:
    """Few faults, if any: what is looked at is the world around them."""
    return Schedule(1, servers, 30.0, 1.0, 14.0, 22.0, faults)


# ---- determinism -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [9, 11])  # in the world of 9 connections are cut, stall, and end half open
def test_one_seed_gives_one_folder_byte_for_byte_in_processes_with_different_hash_seeds(
    tmp_path: Path, seed: int
) -> None:
    folders = []
    for hash_seed, malloc in (("1", "pymalloc"), ("4242", "malloc")):  # other hashes, and other addresses
        results = tmp_path / hash_seed
        words = [*ONETHRONE, "simulate", "--seed", str(seed), "--time-limit", "40", "--results", str(results)]
        environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONMALLOC": malloc}
        subprocess.run(words, env=environment, check=True, capture_output=True, timeout=120)
        folders.append((results / "latest").resolve())
    files = sorted(path.relative_to(folders[0]) for path in folders[0].rglob("*") if path.is_file())
    assert Path("history.jsonl") in files
    assert Path("n5/journal.jsonl") in files
    for file in files:
        first, second = ((folder / file).read_bytes().replace(bytes(folder.parent.parent), b"") for folder in folders)
        first, second = (
            text.replace(bytes(folder.name, "ascii"), b"")
            for text, folder in zip((first, second), folders, strict=True)
        )
        assert first == second, file


def test_a_second_run_in_one_process_gives_the_same_and_another_seed_does_not() -> None:
    first, again, other = (simulate(seed, settings=SHORT).history.encoded() for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_keeping_a_run_changes_nothing_of_it(tmp_path: Path) -> None:
    kept = simulate(3, settings=SHORT, keep=tmp_path)
    assert (tmp_path / "history.jsonl").read_bytes() == simulate(3, settings=SHORT).history.encoded()
    assert kept.valid is True


# ---- a run's folder --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[SimulatedRun, Path]:
    folder = tmp_path_factory.mktemp("kept")
    return simulate(5, bug="half-quorum", keep=folder), folder


def test_the_folders_verdict_is_what_checking_its_history_gives(kept: tuple[SimulatedRun, Path]) -> None:
    run, folder = kept
    said = json.loads((folder / "results.json").read_text())
    assert said.pop("onethrone")["version"] == version.number()
    assert said == check(folder / "history.jsonl").to_dict() == run.verdict.to_dict()


@pytest.mark.parametrize(("words", "code"), [(["check"], 1), (["report"], 0), (["replay"], 0)])
def test_check_report_and_replay_work_on_the_folder_and_agree(
    kept: tuple[SimulatedRun, Path], words: list[str], code: int
) -> None:
    run, folder = kept
    assert run.valid is False
    said = subprocess.run([*ONETHRONE, *words, str(folder)], capture_output=True, text=True, timeout=120, check=False)
    assert said.returncode == code, said.stderr
    if words == ["replay"]:
        assert "The same: " in said.stdout
        assert "another version" not in said.stdout
    if words != ["report"]:
        assert run.verdict.summary.splitlines()[0] in said.stdout


def test_the_folder_says_what_the_run_is_a_function_of(kept: tuple[SimulatedRun, Path]) -> None:
    run, folder = kept
    inputs = Inputs.beside(folder)
    assert inputs is not None
    assert (inputs.seed, inputs.servers, inputs.bug, inputs.knobs) == (5, 5, "half-quorum", seeds.draw(5))
    again = simulate(
        inputs.seed, servers=inputs.servers, schedule=run.schedule, bug=inputs.bug, settings=inputs.settings
    )
    assert again.history.encoded() == (folder / "history.jsonl").read_bytes()


# ---- knobs -----------------------------------------------------------------------------------------------------------


def test_each_seed_turns_its_own_knobs_and_each_of_them_is_off_in_some_worlds_and_on_in_others() -> None:
    drawn = [seeds.draw(seed) for seed in range(200)]
    assert len(set(drawn)) == len(drawn)
    may_be_off = (
        "stalls", "resets", "half_open", "sync", "slow_syncs", "drift_ppm", "worst_instant", "restart_crashes",
        "fault_latency", "snap_count", "observers",
    )  # fmt: skip
    for name in may_be_off:
        off = sum(not getattr(knobs, name) for knobs in drawn)
        assert 20 <= off <= 180, (name, off)
    assert {knobs.delay_tail for knobs in drawn} == {"narrow", "wide", "heavy"}
    assert sum(not knobs.kinds for knobs in drawn) > 20
    deposing = {card.kind for card in storm.deposing()}
    assert all(set(knobs.kinds) & deposing for knobs in drawn if knobs.kinds)


def test_a_seeds_faults_are_of_its_own_kinds() -> None:
    narrow = [seed for seed in range(40) if 0 < len(seeds.draw(seed).kinds) <= 6]
    assert len(narrow) > 3
    for seed in narrow:
        settings = SimulatorSettings()
        schedule = drawn(seed, 5, settings, seeds.draw(seed), run_value(seed, 5, "", settings))
        assert {fault.kind for fault in schedule.faults} <= set(seeds.draw(seed).kinds)


@pytest.mark.parametrize(
    ("knobs", "mark"),
    [
        (Knobs(resets=1.5, half_open=0.8), "half-open"),
        (Knobs(worst_instant=1.0, sync=200_000), "died-between-two-effects"),
        (Knobs(worst_instant=1.0), "write-lost-in-a-crash"),
        (Knobs(worst_instant=1.0), "write-kept-in-a-crash"),
        (Knobs(snap_count=16, client_rate=8.0), "log-compacted"),
    ],
)
def test_a_knob_that_is_turned_up_does_what_it_is_for_and_turned_down_never_does_it(knobs: Knobs, mark: str) -> None:
    kills = [Fault(f"k{n}", "kill", 2.0 + n, 0.5, "leader" if n % 2 else "follower") for n in range(0, 11)]
    up = [simulate(seed, schedule=_calm(3, *kills), knobs=knobs) for seed in range(3)]
    down = simulate(0, schedule=_calm(3, *kills), knobs=Knobs())
    assert sum(run.reached.get(mark, 0) for run in up) > 0
    assert mark not in down.reached
    assert all(run.valid is True for run in up)


def test_a_server_that_starts_again_may_die_once_more_before_the_fault_is_said_to_be_over() -> None:
    run = simulate(1, schedule=_calm(3, Fault("k", "kill", 3.0, 1.0, "leader")), knobs=Knobs(restart_crashes=1.0))
    over = next(op for op in run.ops if op.process == "nemesis" and op.type == "ok" and op.value["step"] == "stop")
    lives = [
        op for op in run.ops if op.f == "started" and op.process == over.value["hosts"][0] and op.time <= over.time
    ]
    assert len(lives) >= 3


# ---- the two acts ----------------------------------------------------------------------------------------------------


def test_a_run_ends_in_two_acts_the_core_without_those_broken_for_good_and_then_everyone() -> None:
    run = simulate(2)
    phases = {op.value["phase"]: op.time for op in run.ops if op.f == "phase"}
    assert list(phases) == ["calm", "storm", "majority", "everyone", "end"]
    for_good = [fault.id for fault in run.schedule.faults if fault.for_s is None]
    assert for_good
    ended = {
        op.value["fault"]: op.time
        for op in run.ops
        if op.process == "nemesis" and op.type == "invoke" and op.value["step"] == "stop"
    }
    assert all(ended[fault] >= phases["everyone"] for fault in for_good if fault in ended)
    assert all(at <= phases["majority"] + 5e9 for fault, at in ended.items() if fault not in for_good)
    last = {op.process: op.value for op in run.ops if op.f == "state" and op.time < phases["end"]}
    assert {state["phase"] for state in last.values()} == {"broadcast"}
    assert run.verdict.results


# ---- other ensembles -------------------------------------------------------------------------------------------------


def test_observers_follow_and_never_vote_and_a_seed_may_ask_for_them() -> None:
    asking = next(seed for seed in range(100) if seeds.draw(seed).observers)
    run = simulate(asking, settings=SHORT)
    ensemble = run.ops[0].value["ensemble"]
    observers = {name for name, server in ensemble.items() if server["role"] == "observer"}
    assert len(observers) == seeds.draw(asking).observers == run.settings.observers
    assert run.reached["non-voter-asks"]
    assert run.valid is True
    for op in run.ops:
        if op.f == "state" and op.process in observers:
            assert op.value["role"] in ("LOOKING", "OBSERVING")
    assert simulate(asking, settings=msgspec.structs.replace(SHORT, swarm=False)).settings.observers == 0


GROUPS = SimulatorSettings(groups=((1, 2, 3), (4, 5, 6), (7, 8, 9)), weights={9: 0}, duration_s=40.0)


def test_a_hierarchical_ensemble_is_led_by_quorums_of_its_groups_and_judged_by_them(tmp_path: Path) -> None:
    run = simulate(6, servers=9, settings=GROUPS, keep=tmp_path)
    assert run.valid is True
    quorums = [
        set(op.value["evidence"]["votes"])
        for op in run.ops
        if op.f == "state" and op.value["established"] and "epoch_acks" in op.value["evidence"]
    ]
    assert quorums
    for quorum in quorums:
        carried = [2 * len(quorum & set(group) - {9}) > len(set(group) - {9}) for group in GROUPS.groups]
        assert sum(carried) >= 2
    assert min(map(len, quorums)) == 4  # fewer than a majority of nine
    assert not any(op.f == "state" and op.process == "n9" and op.value["role"] == "LEADING" for op in run.ops)
    inputs = Inputs.beside(tmp_path)
    assert inputs is not None
    assert inputs.settings == GROUPS
    assert json.loads((tmp_path / "history.jsonl").read_text().splitlines()[0])["value"]["quorum"]["weights"] == {
        "9": 0
    }


class Echoing(Server):
    """Tells every notification back, twice."""

    def on_notification(self, sid: int, n: Notification) -> None:
        super().on_notification(sid, n)
        for _ in range(2):
            self.send_to(sid, self.present_notification(sid))


def test_servers_that_multiply_their_messages_end_their_run_as_unknown() -> None:
    run = simulate(1, servers=3, server_class=Echoing)
    assert run.valid == "unknown"
    assert any("steps each in one second" in reason for reason in run.verdict.reasons)


def test_weather_is_as_much_milder_as_a_short_tick_has_shorter_time_outs_and_for_longer_ones_as_it_is() -> None:
    """With delays of up to 300 ms, followers of a leader that waits 200 ms for them come and go (seed 29)."""
    quick = SimulatorSettings(tick_ms=100, max_notification_interval_ms=300, duration_s=20.0)
    knobs = msgspec.structs.replace(seeds.draw(29), kinds=("partition", "flap", "loss", "rate", "slow"))
    assert simulate(29, knobs=knobs, settings=quick).broken == []
    assert seeds.paced(knobs, 100).delay * 5 == knobs.delay
    assert all(seeds.paced(knobs, tick_ms) == knobs for tick_ms in (500, 2000))
    assert (seeds.pace(100), seeds.pace(500), seeds.pace(2000)) == (0.2, 1.0, 1.0)
