"""`onethrone simulate`: what it prints, what it keeps, how it ends, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from harness.cli.onethrone import main
from harness.plan.schema import EnsemblePlan, HostsPlan, Plan
from harness.simulator.inputs import Inputs
from harness.simulator.knobs import Knobs
from harness.simulator.simulated_run import SimulatorSettings
from harness.systems.zookeeper.settings import ZooKeeperSettings
from nemesis.faults import Fault
from nemesis.schedule import Schedule

ONETHRONE = [sys.executable, "-c", "from harness.cli import main; main()"]
WITHOUT_ROOM = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
DEADLINE_S = 120.0


def simulate(*words: object) -> int:
    """In this process; the exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["simulate", *map(str, words)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


# ---- one seed --------------------------------------------------------------------------------------------------------


def test_one_seed_keeps_its_folder_valid_or_not_and_ends_with_the_command_that_repeats_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate("--seed", 7, "--results", tmp_path) == 0
    said = capsys.readouterr().out.splitlines()
    first = (tmp_path / "latest").resolve()
    assert (first / "report.html").is_file()
    assert said[-1] == "again: onethrone simulate --seed 7 --servers 5"
    again = shlex.split(said[-1].removeprefix("again: onethrone simulate "))
    assert simulate(*again, "--results", tmp_path, "--json") == 0
    second = Path(json.loads(capsys.readouterr().out)["run"])
    assert second != first
    assert (second / "history.jsonl").read_bytes() == (first / "history.jsonl").read_bytes()


# ---- many ------------------------------------------------------------------------------------------------------------


def test_many_seeds_keep_only_the_failing_ones_and_each_is_repeated_by_its_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--seeds", "0:2", "--servers", 3, "--jobs", 1, "--results", tmp_path, "--quiet")
    assert simulate(*words) == 0
    assert capsys.readouterr().out.startswith("Valid: 2 seeds")
    assert not list(tmp_path.rglob("history.jsonl"))

    code = simulate(*words, "--bug", "forgets-epoch", "--json")
    result = json.loads(capsys.readouterr().out)
    assert code == 1
    failing = [seed for seed in result["failing"] if seed["valid"] is False]
    assert failing
    assert len(list(tmp_path.rglob("history.jsonl"))) == len(result["failing"])
    assert simulate(*shlex.split(failing[0]["repeat"])[2:], "--results", tmp_path / "again") == 1
    again = (tmp_path / "again" / "latest" / "history.jsonl").read_bytes()
    assert again == (Path(failing[0]["run"]) / "history.jsonl").read_bytes()
    assert result["canary"] == {"runs": 0, "found": 0}  # the bug is its own


def test_the_same_faults_in_many_worlds_show_how_often_the_promise_breaks_again_with_an_interval(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate("--seed", 5, "--bug", "half-quorum", "--results", tmp_path) == 1
    run = (tmp_path / "latest").resolve()
    capsys.readouterr()
    code = simulate("--schedule", run, "--seeds", "4:7", "--jobs", 1, "--results", tmp_path / "more", "--quiet")
    said = capsys.readouterr().out
    assert code == 1
    broke = re.search(r"evidence broke in (\d) of 3 runs: ([\d.]+) % \(95 % interval ([\d.]+) to ([\d.]+) %\)", said)
    assert broke is not None
    hits, share, low, high = (float(group) for group in broke.groups())
    assert hits > 0
    assert share == pytest.approx(100 * hits / 3, abs=0.05)
    assert low < share <= high
    assert said.splitlines()[-1].strip().startswith("again: onethrone simulate --seed ")


def test_a_run_of_a_hierarchical_ensemble_on_hosts_is_simulated_with_its_groups_weights_and_observers(
    tmp_path: Path,
) -> None:
    hosts = ("tic", "a1", "a2", "a3", "b1", "b2", "b3")
    ensemble = EnsemblePlan(observers=("tic",), groups=(("a1", "a2", "a3"), ("b1", "b2", "b3")), weights={"b3": 2})
    run = tmp_path / "run"
    run.mkdir()
    settings = ZooKeeperSettings(tick_ms=300)
    plan = Plan(name="night", hosts=HostsPlan(names=hosts), ensemble=ensemble, system_settings=settings)
    (run / "plan.toml").write_text(plan.to_toml())
    faults = (Fault("f1", "kill", 2.0, 2.0, "leader"),)
    Schedule(9, 6, 24.0, 1.0, 8.0, 16.0, faults).save(run / "schedule.json")
    assert simulate("--schedule", run, "--seed", 3, "--results", tmp_path / "results") == 0
    inputs = Inputs.beside(tmp_path / "results" / "latest")
    assert inputs is not None
    assert (inputs.servers, inputs.settings.observers, inputs.settings.tick_ms) == (7, 1, 300)
    assert inputs.settings.groups == ((1, 2, 3), (4, 5, 6))
    assert inputs.settings.weights == {6: 2}
    assert 'observers = [\n    "n7",\n]' in (tmp_path / "results" / "latest" / "plan.toml").read_text()


def test_the_commands_that_repeat_name_the_run_that_latest_was_when_the_command_was_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert simulate("--seed", 0, "--servers", 3, "--bug", "forgets-epoch") == 1
    run = Path("results/latest").resolve().relative_to(tmp_path)
    with pytest.raises(SystemExit):
        main(["report", "results/latest"])
    assert f"onethrone simulate --schedule {run}<" in Path(run, "report.html").read_text()
    for seeds in (["--seed", "0"], ["--seeds", "0:1", "--jobs", "1", "--quiet"]):
        Path("results/latest").unlink()
        Path("results/latest").symlink_to(run.relative_to("results"))
        capsys.readouterr()
        assert simulate("--schedule", "results/latest", *seeds) == 1
        again = capsys.readouterr().out.splitlines()[-1].strip()
        assert again == f"again: onethrone simulate --seed 0 --servers 3 --schedule {run}"


# ---- interrupted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_campaign_prints_what_it_has_counted_and_leaves_no_process(
    number: signal.Signals, tmp_path: Path
) -> None:
    words = ["simulate", "--seeds", "0:100000", "--servers", "3", "--jobs", "2", "--results", str(tmp_path)]
    errors = tmp_path / "stderr"
    with errors.open("w") as stderr:
        process = subprocess.Popen([*ONETHRONE, *words], stdout=subprocess.PIPE, stderr=stderr, start_new_session=True)
        try:
            _until(lambda: re.search(r"\b[1-9]\d* of 100000 seeds", errors.read_text()) is not None)
            if number == signal.SIGINT:
                os.killpg(process.pid, number)  # as Ctrl-C does: everybody in the foreground gets it
            else:
                process.terminate()
            said, _ = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert process.returncode == 2
    assert re.match(rb"Unknown: it was interrupted \([1-9]\d* seeds, ", said), said
    assert "Traceback" not in errors.read_text()
    _until(lambda: not _alive(process.pid))


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def _until(condition: object) -> None:
    deadline = time.monotonic() + DEADLINE_S
    assert callable(condition)
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


# ---- what does not work ----------------------------------------------------------------------------------------------


def test_without_room_one_seed_fails_with_a_reason_and_a_campaign_still_tells_what_it_counted(tmp_path: Path) -> None:
    def without_room(*words: str) -> subprocess.CompletedProcess[str]:
        onethrone = [sys.executable, "-c", WITHOUT_ROOM + "from harness.cli import main; main()"]
        return subprocess.run(
            [*onethrone, "simulate", *words, "--results", str(tmp_path)],
            capture_output=True, text=True, timeout=DEADLINE_S, check=False,
        )  # fmt: skip

    one = without_room("--seed", "7", "--servers", "3")
    assert one.returncode == 255
    assert re.search("the run cannot be kept: (File too large|journal: short write)", one.stderr), one.stderr
    many = without_room("--seeds", "5:7", "--bug", "half-quorum", "--jobs", "1", "--quiet")
    assert many.returncode == 1
    assert many.stdout.startswith("Invalid: ")
    assert "could not be kept" in many.stdout
    assert "Traceback" not in one.stderr + many.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--seeds", "7"], "give A:B"),
        (["--seeds", "9:3"], "there is no seed from 9 up to 3"),
        (["--seeds", "3:3"], "there is no seed"),
        (["--seeds", "0:99999999999"], "at most 2147483647"),
        (["--seeds", "0:99999999999999999999999"], "at most 2147483647"),
        (["--seeds", f"{'9' * 5000}:"], "at most 2147483647"),
        (["--seeds", "5:"], "has no end"),
        (["--seeds", "-1:5"], "give A:B"),
        (["--seed", "1", "--seeds", "0:3"], "Give one or the other"),
        (["--seed", "-1"], "--seed"),
        (["--until", "soon"], "give a length of time"),
        (["--until", ""], "--until '': give a length of time"),
        (["--seeds", "0:9", "--until", ""], "--until '': give a length of time"),
        (["--seeds", ""], "--seeds '': give A:B"),
        (["--until", "0s"], "has to be more than nothing"),
        (["--until", "1e400h"], "has to be finite"),
        (["--until", f"{'9' * 400}h"], "has to be finite"),
        (["--seed", "1", "--bug", "no-such"], "there is no such bug"),
        (["--seed", "1", "--bug", "all"], "--bug all"),
        (["--seed", "1", "--servers", "4", "--observers", "2"], "needs at least 3 participants"),
        (["--seed", "1", "--groups", "1,2/3,4"], "each of the participants"),
        (["--seed", "1", "--groups", "1,2/2,3,4,5"], "each of the participants"),
        (["--seed", "1", "--groups", "one"], "give each group's sids"),
        (["--seed", "1", "--weights", "1=2"], "they count within groups only"),
        (["--seed", "1", "--groups", "1,2,3/4,5", "--weights", "9=1"], "server 9 is not one of the servers"),
        (
            ["--seed", "1", "--groups", "1,2,3,4,5", "--weights", "1=0,2=0,3=0,4=0,5=0"],
            "all are 0, so no server can be elected",
        ),
        (["--seed", "1", "--time-limit", "20"], "too short for a storm"),
        (["--seed", "1", "--schedule", "nowhere.json"], "there is no schedule"),
        (["--seeds", "0:2", "--scheduler", "nonsense"], "--scheduler nonsense"),
        (["--seed", "1", "--name", "../up"], "name '../up'"),
        (["--seed", "1", "--results", "/dev/null"], "no run can be kept there"),
    ],
)
def test_bad_input_is_refused_with_what_is_wrong(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert simulate(*words) == 254
    assert says in capsys.readouterr().err
    assert not list(tmp_path.rglob("history.jsonl"))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"schema": 1}', '{"schema": 2, "seed": 1, "servers": 3}', "\x00\xff"],
)
def test_a_bad_schedule_is_refused_with_its_file(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "schedule.json"
    file.write_text(text, encoding="latin-1")
    assert simulate("--seed", 1, "--schedule", file, "--results", tmp_path) == 254
    assert str(file) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("field", "number"),
    [
        ("servers", 1_000_000),
        ("servers", 0),
        ("seed", -5),
        ("seed", 99999999999999999999),
        ("duration_s", 1e308),
        ("duration_s", 86_401),
    ],
)
def test_a_number_of_a_schedule_that_no_option_would_take_is_refused_with_its_file_and_field(
    field: str, number: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "schedule.json"
    Schedule(1, 3, 30.0, 1.0, 14.0, 22.0, ()).save(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: number}))
    assert simulate("--seeds", "0:2", "--schedule", file, "--results", tmp_path / "results") == 254
    assert f"{file}: {field}: " in capsys.readouterr().err


def test_an_emptied_plan_of_a_run_on_hosts_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Schedule(1, 3, 30.0, 1.0, 14.0, 22.0, ()).save(tmp_path / "schedule.json")
    (tmp_path / "history.jsonl").touch()
    (tmp_path / "plan.toml").touch()
    assert simulate("--schedule", tmp_path, "--seeds", "0:1", "--jobs", 1, "--results", tmp_path / "results") == 254
    said = capsys.readouterr().err
    assert f"{tmp_path / 'plan.toml'}: [hosts] no hosts are given" in said
    assert "Restore" in said


@pytest.mark.parametrize(
    ("at", "changes", "says"),
    [
        ("settings", {"tick_ms": -5}, "settings.tick_ms: from 1 to 60000, not -5"),
        ("settings", {"sync_limit": 0}, "settings.sync_limit: from 1 to 1000, not 0"),
        ("settings", {"duration_s": 1e300}, "settings.duration_s: from 0 to 86400, not 1e+300"),
        ("settings", {"observers": -1}, "settings.observers: from 0 to 50, not -1"),
        ("", {"servers": 1_000_000}, "servers: from 3 to 99, not 1000000"),
        ("", {"seed": -5}, "seed: from 0 to 2147483647, not -5"),
    ],
)
def test_a_number_of_simulated_json_out_of_bounds_is_refused_with_its_file_and_field(
    at: str, changes: dict[str, float], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Schedule(1, 3, 30.0, 1.0, 14.0, 22.0, ()).save(tmp_path / "schedule.json")
    document = msgspec.to_builtins(Inputs(1, 3, "", SimulatorSettings(), Knobs()))
    (document[at] if at else document).update(changes)
    file = tmp_path / "simulated.json"
    file.write_text(json.dumps(document))
    assert simulate("--schedule", tmp_path, "--results", tmp_path / "results") == 254
    assert f"{file}: {says}" in capsys.readouterr().err


def test_where_no_run_can_be_kept_no_campaign_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "file"
    file.touch()
    for results in (file, file / "below"):
        assert simulate("--seeds", "0:1", "--jobs", 1, "--results", results) == 254
        assert "no run can be kept there" in capsys.readouterr().err
