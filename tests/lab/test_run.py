"""`onethrone run`, used as its users use it: real hosts, a real ensemble, and then everything that can end it early."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checker.history import Op, read
from checker.verdict import check
from harness.hosts.provision.lab import Lab

SCHEDULES = Path(__file__).with_name("schedules")
ONETHRONE = [sys.executable, "-c", "from harness.cli import main; main()"]


def onethrone(*words: str | Path, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ONETHRONE, *map(str, words)], capture_output=True, text=True, timeout=timeout_s, check=False
    )


def run_of(results: Path) -> Path:
    return (results / "latest").resolve()


def until(what: Callable[[], bool], deadline_s: float, why: str, every_s: float = 0.05) -> None:
    end = time.monotonic() + deadline_s
    while not what():
        assert time.monotonic() < end, f"not within {deadline_s} s: {why}"
        time.sleep(every_s)


def faults(history: Path, kind: str) -> list[Op]:
    return [op for op in read(history) if op.process == "nemesis" and op.type == kind and op.value["step"] == "start"]


@pytest.fixture(scope="module")
def minute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of one run as a newcomer makes it."""
    results = tmp_path_factory.mktemp("results")
    ended = onethrone("run", "--hosts", "lab:5", "--time-limit", "60", "--seed", "7", "--results", results)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.startswith("Valid: ")
    assert "leads epoch" in ended.stderr  # progress is visible
    return run_of(results)


def test_a_minute_of_chaos_holds_a_dozen_verified_faults_of_four_kinds_and_five_epochs(minute: Path) -> None:
    verified = [op for op in faults(minute / "history.jsonl", "ok") if op.value["evidence"]]
    assert len(verified) >= 12
    assert len({op.f for op in verified}) >= 4
    epochs = {op.value["epoch"] for op in read(minute) if op.f == "state" and op.value["established"]}
    assert len(epochs) >= 5
    verdict = check(minute)
    convergence = next(result for result in verdict.results if result.name == "convergence")
    assert verdict.valid is True
    assert convergence.stats["proving"] >= 2


def test_a_run_leaves_everything_that_its_folder_promises(minute: Path) -> None:
    for name in ("plan.toml", "schedule.json", "history.jsonl", "results.json", "report.html", "controller.log"):
        assert (minute / name).stat().st_size > 0, name
    for host in ("n1", "n2", "n3", "n4", "n5"):
        for name in ("zoo.cfg", "server.log", "events.jsonl", "journal.jsonl"):
            assert (minute / host / name).stat().st_size > 0, f"{host}/{name}"
    assert json.loads((minute / "results.json").read_text())["valid"] is True
    assert not (minute.parent.parent / "current").is_symlink()


def test_the_history_says_whom_a_fault_hits_before_anything_is_sent(minute: Path) -> None:
    invoked = {op.value["fault"]: op for op in faults(minute / "history.jsonl", "invoke")}
    for op in faults(minute / "history.jsonl", "ok"):
        before = invoked[op.value["fault"]]
        assert before.index < op.index
        assert before.value["hosts"] == op.value["hosts"]
        assert all(began >= before.time for began in op.value["began"].values())


def test_every_event_of_every_host_arrived_once(minute: Path) -> None:
    heard: Counter[str] = Counter()
    for op in read(minute):
        if op.f in ("state", "started") and isinstance(op.process, str):
            heard[op.process] += 1
    for host, count in heard.items():
        lines = [json.loads(line) for line in (minute / host / "events.jsonl").read_text().splitlines()]
        assert count == sum(line["f"] in ("state", "started") for line in lines), host


def test_the_verdict_comes_out_the_same_from_the_bare_history(minute: Path) -> None:
    ended = onethrone("check", minute / "history.jsonl", "--json")
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["valid"] is True


# ---- the checkers can fail -----------------------------------------------------------------------------------------


def run_with(bug: str, schedule: str, folder: Path) -> Path:
    """A run that ends invalid.

    Clients are slow: an epoch in which nothing is written leaves no trace in a log, so it is easily forgotten.
    """
    plan = folder / "plan.toml"
    plan.write_text("[hosts]\nlab = 5\n[workload]\nworkers = 1\nrate_per_s = 0.1\n")
    ended = onethrone(
        "run", "--plan", plan, "--schedule", SCHEDULES / schedule, "--bug", bug, "--results", folder, "--json"
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert json.loads(ended.stdout)["valid"] is False
    return run_of(folder)


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_with("half-quorum", "kill-all.json", tmp_path_factory.mktemp("failing"))


def broken(run: Path) -> set[str]:
    return {result.name for result in check(run).results if result.valid is False}


@pytest.mark.parametrize(
    ("bug", "schedule", "promise"),
    [
        ("forgets-epoch", "kill-all.json", "epochs"),
        ("never-steps-down", "isolate-leader.json", "stepping-down"),
    ],
)
def test_a_planted_bug_is_found_and_the_promise_that_it_breaks_is_named(
    bug: str, schedule: str, promise: str, tmp_path: Path
) -> None:
    assert promise in broken(run_with(bug, schedule, tmp_path))


def test_a_failure_on_hosts_is_repeated_from_its_journals_shrunk_and_kept_as_a_test(
    failing: Path, tmp_path: Path
) -> None:
    assert "evidence" in broken(failing)

    repeated = onethrone("replay", failing, "--json")
    assert repeated.returncode == 0, repeated.stdout + repeated.stderr
    told = json.loads(repeated.stdout)
    assert told["verdict_same"] is True
    assert told["verdict"] is False

    small = tmp_path / "small"
    shrunk = onethrone("shrink", failing, "--promise", "evidence", "--budget", "60s", "--out", small, "--json")
    assert shrunk.returncode == 0, shrunk.stdout + shrunk.stderr
    told = json.loads(shrunk.stdout)
    assert told["faults"] <= 6

    def emitted(bug: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", told["test"]]
        environment = {**os.environ, "ONETHRONE_BUG": bug}
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )

    planted, correct = emitted("half-quorum"), emitted("none")
    assert planted.returncode == 1, planted.stdout + planted.stderr
    assert "1 failed" in planted.stdout
    assert correct.returncode == 0, correct.stdout + correct.stderr


@pytest.mark.parametrize("schedule", ["kill-all.json", "isolate-leader.json"])
def test_the_correct_server_breaks_nothing_under_the_schedules_that_show_the_bugs(
    schedule: str, tmp_path: Path
) -> None:
    ended = onethrone("run", "--hosts", "lab:5", "--schedule", SCHEDULES / schedule, "--results", tmp_path)
    assert ended.returncode in (0, 2), ended.stdout + ended.stderr  # acts as short as theirs need not prove anything
    assert not check(run_of(tmp_path)).violations


# ---- the controller dies -------------------------------------------------------------------------------------------


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Hosts that outlive the controller."""
    with Lab.up(3, tmp_path / "lab", ephemeral=False) as made:
        yield made


def on_host(lab: Lab, host: str, command: str) -> str:
    ended = subprocess.run(
        ["ssh", "-F", lab.ssh_config, host, command], capture_output=True, text=True, timeout=60, check=True
    )
    return ended.stdout


def stopped_processes(lab: Lab, host: str) -> list[str]:
    return [line for line in on_host(lab, host, "ps -eo stat=,args=").splitlines() if line.startswith("T")]


def ours(lab: Lab, host: str) -> list[str]:
    return [line for line in on_host(lab, host, "ps -eo args=").splitlines() if "onethrone" in line and ".pyz" in line]


def in_the_middle(lab: Lab, results: Path, lease_s: float) -> subprocess.Popen[str]:
    """A run that holds a partition and a pause, both verified, seen from outside too."""
    controller = subprocess.Popen(
        [*ONETHRONE, "run", "-F", str(lab.ssh_config), "--hosts", "n1,n2,n3", "--results", str(results),
         "--schedule", str(SCHEDULES / "hold.json"), "--lease", str(lease_s)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    history = results / "current" / "history.jsonl"

    def in_force() -> bool:
        assert controller.poll() is None, f"the run ended early: {controller.communicate()[0]}"
        return history.exists() and len(faults(history, "ok")) == 2

    try:
        until(in_force, 120, "two faults are in force")
        assert any("onethrone" in on_host(lab, host, "nft list tables") for host in lab.hosts)
        assert any(stopped_processes(lab, host) for host in lab.hosts)
    except BaseException:
        controller.kill()
        controller.communicate(timeout=30)
        raise
    return controller


def test_a_controller_that_is_killed_leaves_no_rule_no_stopped_process_and_a_history_to_read(
    lab: Lab, tmp_path: Path
) -> None:
    lease_s = 5.0
    controller = in_the_middle(lab, tmp_path / "results", lease_s)
    controller.send_signal(signal.SIGKILL)
    controller.communicate(timeout=30)

    def healed() -> bool:
        return not any(
            "onethrone" in on_host(lab, host, "nft list tables") or stopped_processes(lab, host) for host in lab.hosts
        )

    # Well before a lease of the default length; how soon it is after this one, a benchmark judges.
    until(healed, 25, "every host has healed itself")
    until(lambda: not any(ours(lab, host) for host in lab.hosts), 60, "servers and injectors are gone")

    ended = onethrone("check", tmp_path / "results" / "latest")
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "cut off" in ended.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_leaves_the_hosts_as_it_found_them_and_judges_what_it_saw(
    lab: Lab, tmp_path: Path, number: signal.Signals
) -> None:
    controller = in_the_middle(lab, tmp_path / "results", 30.0)
    controller.send_signal(number)
    output, _ = controller.communicate(timeout=120)
    assert controller.returncode == 255, output
    assert "interrupted" in output
    for host in lab.hosts:
        assert "onethrone" not in on_host(lab, host, "nft list tables")
        assert ours(lab, host) == []
        assert on_host(lab, host, "ls /var/lib/onethrone").split() == []
    folder = run_of(tmp_path / "results")
    assert json.loads((folder / "results.json").read_text())["valid"] == "unknown"
    assert (folder / "report.html").stat().st_size > 0
    assert not (tmp_path / "results" / "current").is_symlink()


@pytest.mark.parametrize("moment", ["it has a folder", "it connects"])
def test_a_run_that_is_interrupted_before_its_history_began_leaves_no_folder(tmp_path: Path, moment: str) -> None:
    """Its hosts never answer, so that no history begins however late the signal comes."""
    results, connecting = tmp_path / "results", tmp_path / "connecting"
    (tmp_path / "config").write_text(f"Host *\n  ProxyCommand touch {connecting}; exec sleep 600\n")
    controller = subprocess.Popen(
        [*ONETHRONE, "run", "-F", str(tmp_path / "config"), "--hosts", "n1,n2,n3", "--results", str(results)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        until((results if moment == "it has a folder" else connecting).exists, 60, moment, every_s=0.0)
        controller.send_signal(signal.SIGINT)
        _, said = controller.communicate(timeout=120)
    finally:
        controller.kill()
    assert controller.returncode == 255, said
    assert not results.exists()


def test_a_bad_schedule_is_refused_before_anything_is_done_to_a_host(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    (tmp_path / "config").write_text("Host n1 n2 n3\n")
    ended = onethrone(
        "run", "--hosts", "n1,n2,n3", "-F", tmp_path / "config", "--results", tmp_path / "results",
        "--schedule", tmp_path / "bad.json",
    )  # fmt: skip
    assert ended.returncode == 254, ended.stderr
    assert "bad.json: this is not JSON" in ended.stderr
    assert not (tmp_path / "results").exists()


def test_connections_that_are_cut_during_a_run_lose_no_event_and_change_no_verdict(lab: Lab, tmp_path: Path) -> None:
    """Every SSH connection of a run is killed, on the hosts' side; the run ends as if nothing had been."""
    controller = subprocess.Popen(
        [*ONETHRONE, "run", "-F", str(lab.ssh_config), "--hosts", "n1,n2,n3", "--results", str(tmp_path / "results"),
         "--schedule", str(SCHEDULES / "isolate-leader.json"), "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    history = tmp_path / "results" / "current" / "history.jsonl"
    until(lambda: history.exists() and bool(faults(history, "ok")), 60, "the fault is in force")
    for host in lab.hosts:
        # The last of these words kills the session that it came through.
        subprocess.run(
            ["ssh", "-F", lab.ssh_config, host, "pkill -KILL -f '^sshd: root'"],
            capture_output=True, timeout=60, check=False,
        )  # fmt: skip
    output, progress = controller.communicate(timeout=120)
    assert controller.returncode in (0, 2), output + progress
    assert "there is a new channel" in (run_of(tmp_path / "results") / "controller.log").read_text()
    last = list(read(run_of(tmp_path / "results")))[-1]
    assert last.f == "end"
    assert last.value["complete"], last.value
    for host, stream in last.value["streams"].items():
        assert stream["sent"] == stream["received"], host
    assert not check(run_of(tmp_path / "results")).violations


def test_a_disk_that_fills_up_ends_the_run_with_a_clear_error_and_clean_hosts(lab: Lab, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", small], check=True, timeout=30)
    try:
        ended = onethrone(
            "run", "-F", lab.ssh_config, "--hosts", "n1,n2,n3", "--results", small / "results",
            "--schedule", SCHEDULES / "pause-one.json",
        )  # fmt: skip
    finally:
        subprocess.run(["umount", small], check=True, timeout=30)
    assert ended.returncode == 255, ended.stdout + ended.stderr
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    for host in lab.hosts:
        assert "onethrone" not in on_host(lab, host, "nft list tables")
        assert ours(lab, host) == []


# ---- nothing grows -------------------------------------------------------------------------------------------------


def test_no_thread_descriptor_or_process_is_added_per_fault(minute: Path, lab: Lab, tmp_path: Path) -> None:
    """Counted from outside while a run goes on: after its first faults, and after many more."""
    many = [
        {"id": f"f{n}", "kind": kind, "at_s": 1.0 + 0.5 * n, "for_s": 0.3, "targets": "random"}
        | ({"shape": "isolate"} if kind == "partition" else {})
        for n, kind in enumerate(["partition", "pause", "kill"] * 12, 1)
    ]
    schedule = {"schema": 2, "seed": 1, "servers": 3, "duration_s": 22.0, "calm_s": 1.0, "majority_at_s": 20.0,
                "everyone_at_s": 21.0, "faults": many}  # fmt: skip
    (tmp_path / "many.json").write_text(json.dumps(schedule))
    controller = subprocess.Popen(
        [*ONETHRONE, "run", "-F", str(lab.ssh_config), "--hosts", "n1,n2,n3", "--results", str(tmp_path / "results"),
         "--schedule", str(tmp_path / "many.json")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    history = tmp_path / "results" / "current" / "history.jsonl"

    def counted() -> tuple[int, int, int]:
        status = Path(f"/proc/{controller.pid}/status").read_text()
        threads = int(re.search(r"^Threads:\s+(\d+)", status, re.M)[1])  # type: ignore[index]
        children = Path(f"/proc/{controller.pid}/task/{controller.pid}/children").read_text().split()
        return threads, len(os.listdir(f"/proc/{controller.pid}/fd")), len(children)

    def after(count: int) -> tuple[int, int, int]:
        until(lambda: history.exists() and len(faults(history, "ok")) >= count, 90, f"{count} faults were injected")
        samples = [counted() for _ in range(20) if not time.sleep(0.02)]  # type: ignore[func-returns-value]
        return min(s[0] for s in samples), min(s[1] for s in samples), min(s[2] for s in samples)

    early, late = after(12), after(33)
    output, _ = controller.communicate(timeout=120)
    assert controller.returncode in (0, 2), output
    assert late[0] <= early[0], "threads"
    assert late[1] <= early[1] + 3, "descriptors"  # a worker of the workload may be between two sessions
    assert late[2] <= early[2], "processes"
