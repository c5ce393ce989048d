"""`onethrone shrink`, from a run that broke a promise to its story and its test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from checker.history import Op
from checker.verdict import check
from harness import UsageError
from harness.cli.onethrone import main
from harness.shrink import NotReproduced, Shrunk, shrink
from harness.shrink.narrative import story
from harness.simulator.run import judge, simulate
from harness.simulator.simulated_run import SimulatorSettings
from nemesis import schedule as schedules

BUG, PROMISE, SEED = "forgets-epoch", "epochs", 2
ONETHRONE = [sys.executable, "-c", "from harness.cli import main; main()"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a simulated run with a planted bug, which breaks its promise."""
    folder = tmp_path_factory.mktemp("run")
    ended = simulate(SEED, servers=5, bug=BUG, settings=SimulatorSettings(duration_s=45), keep=folder)
    assert PROMISE in ended.broken
    return folder


@pytest.fixture(scope="module")
def shrunk(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Shrunk:
    said: list[str] = []
    done = shrink(run, tmp_path_factory.mktemp("shrunk") / "small", runs_max=250, say=said.append)
    assert any(" left: " in line for line in said)
    return done


def like_hosts(run: Path, folder: Path) -> Path:
    """The same as a run on hosts leaves it: nobody knows of a seed that shows it."""
    shutil.copytree(run, folder)
    (folder / "simulated.json").unlink()
    return folder


def test_what_is_left_is_an_ordinary_run_that_breaks_the_same_promise(shrunk: Shrunk, run: Path) -> None:
    assert shrunk.promise == PROMISE
    assert shrunk.faults <= 6 < shrunk.faults_before == len(schedules.load(run / "schedule.json").faults)
    assert len(schedules.load(shrunk.folder / "schedule.json").faults) == shrunk.faults
    verdict = check(shrunk.folder)
    assert [v.promise for v in verdict.violations].count(PROMISE)
    for name in ("plan.toml", "results.json", "report.html", "n1/journal.jsonl"):
        assert (shrunk.folder / name).stat().st_size > 0
    assert shrunk.runs <= 250
    assert not shrunk.interrupted


def test_its_journals_replay_to_the_same_violation(shrunk: Shrunk, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(shrunk.folder)])
    assert ended.value.code == 0, capsys.readouterr().out


def test_simulate_repeats_it_from_its_folder_alone(shrunk: Shrunk, tmp_path: Path) -> None:
    """Its knobs are not those of its seed any more."""
    again = subprocess.run(
        [*ONETHRONE, "simulate", "--schedule", str(shrunk.folder), "--results", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    assert again.returncode == 1, again.stderr
    kept = (tmp_path / "latest").resolve()
    assert (kept / "history.jsonl").read_bytes() == (shrunk.folder / "history.jsonl").read_bytes()


def test_the_story_tells_who_led_what_went_wrong_and_what_broke(shrunk: Shrunk) -> None:
    assert (shrunk.folder / "story.txt").read_text(encoding="utf-8").strip() == shrunk.story
    assert "leads epoch 1" in shrunk.story
    assert f"{PROMISE} is broken" in shrunk.story
    assert "\n" not in shrunk.story


def test_the_emitted_test_fails_with_the_bug_and_passes_without_it(shrunk: Shrunk, tmp_path: Path) -> None:
    """It stands by itself: another folder, nothing beside it."""
    file = shutil.copy(shrunk.test, tmp_path)

    def pytest_says(**variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file)],
            capture_output=True,
            text=True,
            env=os.environ | variables,
            check=False,
        )

    planted = pytest_says()
    assert planted.returncode == 1, planted.stdout + planted.stderr
    assert f"{PROMISE}" in planted.stdout
    correct = pytest_says(ONETHRONE_BUG="none")
    assert correct.returncode == 0, correct.stdout + correct.stderr


def test_more_cores_give_the_same_result(run: Path, tmp_path: Path) -> None:
    found = [shrink(run, tmp_path / str(jobs), runs_max=12, jobs=jobs, say=lambda text: None).folder for jobs in (1, 2)]
    assert (found[0] / "schedule.json").read_bytes() == (found[1] / "schedule.json").read_bytes()
    assert (found[0] / "history.jsonl").read_bytes() == (found[1] / "history.jsonl").read_bytes()


def test_of_a_run_on_hosts_a_world_is_searched_that_breaks_the_promise(run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    hosts = like_hosts(run, tmp_path / "hosts")
    done = shrink(hosts, tmp_path / "small", runs_max=120, say=said.append)
    assert done.promise == PROMISE
    assert done.faults <= done.faults_before
    assert any("looking for a world" in line for line in said)


def test_where_no_world_breaks_it_the_command_says_so(run: Path, tmp_path: Path) -> None:
    hosts = like_hosts(run, tmp_path / "hosts")
    with pytest.raises(NotReproduced, match=f"did not break {PROMISE} in 3 simulated worlds"):
        shrink(hosts, tmp_path / "small", bug="", runs_max=6, say=lambda text: None)
    assert not (tmp_path / "small").exists()
    words = ["shrink", str(hosts), "--bug", "none", "--runs", "4", "--out", str(tmp_path / "small")]
    ended = subprocess.run([*ONETHRONE, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "did not break" in ended.stderr


@pytest.mark.parametrize("runs_max", [1, 2])
def test_a_budget_that_ends_before_the_first_step_keeps_the_case_that_was_found(
    runs_max: int, run: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    done = shrink(run, tmp_path / "small", runs_max=runs_max, say=said.append)
    assert (done.promise, done.runs, done.whole, done.interrupted) == (PROMISE, runs_max, False, False)
    assert done.faults == done.faults_before
    assert done.test.exists()
    assert said[-1].endswith("the budget is spent")


def test_a_budget_that_ends_before_anything_is_found_says_so(run: Path, tmp_path: Path) -> None:
    words = ["shrink", str(like_hosts(run, tmp_path / "hosts")), "--budget", "0.01s", "--out", str(tmp_path / "small")]
    ended = subprocess.run([*ONETHRONE, *words], capture_output=True, text=True, check=False)
    assert ended.returncode == 2, ended.stderr
    assert f"did not break {PROMISE} in 0 simulated worlds" in ended.stderr
    assert "--budget" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_keeps_the_best_so_far(number: signal.Signals, run: Path, tmp_path: Path) -> None:
    small = tmp_path / "small"
    shrinking = subprocess.Popen(
        [*ONETHRONE, "shrink", str(run), "--out", str(small), "--jobs", "1", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert shrinking.stderr is not None
        for line in shrinking.stderr:  # the first that is smaller
            if " left: " in line and "nothing smaller" not in line:
                break
        shrinking.send_signal(number)
        out, err = shrinking.communicate(timeout=120)
    finally:
        shrinking.kill()
    assert shrinking.returncode == 255, err
    told = json.loads(out)
    assert told["interrupted"]
    assert not told["whole"]
    assert told["faults"] < told["faults_before"]
    assert PROMISE in {violation.promise for violation in check(small).violations}
    assert Path(told["test"]).exists()


def test_a_killed_shrink_leaves_no_worker_behind(run: Path, tmp_path: Path) -> None:
    shrinking = subprocess.Popen(
        [*ONETHRONE, "shrink", str(run), "--out", str(tmp_path / "small"), "--jobs", "2"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert shrinking.stderr is not None
    next(line for line in shrinking.stderr if " left: " in line)
    children = Path(f"/proc/{shrinking.pid}/task/{shrinking.pid}/children").read_text().split()
    assert len(children) >= 2
    shrinking.kill()
    shrinking.wait()
    shrinking.stderr.close()
    deadline = time.monotonic() + 60
    while any(_runs(child) for child in children):
        assert time.monotonic() < deadline, "a worker outlives its campaign"
        time.sleep(0.05)


def _runs(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def refused(*words: str | Path) -> str:
    ended = subprocess.run([*ONETHRONE, "shrink", *map(str, words)], capture_output=True, text=True, check=False)
    assert ended.returncode == 254, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stderr


def test_what_cannot_be_shrunk_is_refused_with_the_reason(run: Path, tmp_path: Path) -> None:
    assert "there is no schedule" in refused(tmp_path / "nowhere")
    garbage = tmp_path / "garbage"
    shutil.copytree(run, garbage)
    (garbage / "simulated.json").write_text("{", encoding="utf-8")
    assert "simulated.json" in refused(garbage)
    (garbage / "schedule.json").write_bytes(b"\x00\xff")
    assert "schedule.json" in refused(garbage)
    with pytest.raises(UsageError, match="there is something in it already"):
        shrink(run, run, say=lambda text: None)
    with pytest.raises(UsageError, match="did not break convergence"):
        shrink(run, tmp_path / "small", promise="convergence", say=lambda text: None)


def test_a_run_that_broke_nothing_is_refused(run: Path, tmp_path: Path) -> None:
    fine = tmp_path / "fine"
    fine.mkdir()
    assert simulate(1, servers=3, settings=SimulatorSettings(duration_s=40), keep=fine).valid is True
    with pytest.raises(UsageError, match="broke no promise"):
        shrink(fine, tmp_path / "small", say=lambda text: None)
    (fine / "results.json").unlink()  # judged anew
    with pytest.raises(UsageError, match="broke no promise"):
        shrink(fine, tmp_path / "small", say=lambda text: None)


@pytest.mark.parametrize("text", ["garbage", "{}", '{"results": {"epochs": {"valid": false}}}', "[]", ""])
def test_a_verdict_that_is_none_is_bad_input_and_not_a_run_that_broke_nothing(
    text: str, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "results.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        shrink(tmp_path / "run", tmp_path / "small", say=lambda text: None)
    assert str(refused.value).startswith(f"{path}: this is not a verdict")
    assert "onethrone check --json" in str(refused.value)


def test_a_fault_is_told_by_what_it_did() -> None:
    def op(index: int, f: str, value: dict[str, object], process: str = "nemesis", kind: str = "ok") -> Op:
        return Op(index, index * 10**9, process, kind, f, value)  # type: ignore[arg-type]

    cut = {"n1": ["n2", "n3"], "n2": ["n1"], "n3": ["n1"]}
    led = {"role": "LEADING", "established": True, "epoch": 4}
    ops = [
        op(1, "state", led, "n1", "info"),
        op(2, "partition", {"fault": "f1", "step": "start", "hosts": ["n1", "n2", "n3"], "grudge": cut}),
        op(3, "state", {"role": "LOOKING"}, "n1", "info"),
        op(4, "kill", {"fault": "f2", "step": "start", "hosts": ["n2"]}),
        op(5, "kill", {"fault": "f2", "step": "stop", "hosts": ["n2"]}),
    ]
    verdict = judge(simulate(1, servers=3, settings=SimulatorSettings(duration_s=40)).ops)
    assert story(ops, verdict, "epochs") == (
        "n1 leads epoch 4; the links between n1 and n2 and n3 are cut; n1 leads epoch 4 no more; "
        "n2 is killed; n2 is started again."
    )
