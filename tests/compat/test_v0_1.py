"""What version 0.1 made still works: `v0_1/` holds one of each, as commit e326dce left it (see its README).

Everything goes through the command line, so that these tests outlive every move inside.  They never change the fixture.
"""

from __future__ import annotations

import gzip
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

V0_1 = Path(__file__).with_name("v0_1")
ONETHRONE = [sys.executable, "-c", "from harness.cli import main; main()"]
EMITTED = ("shrunk-epochs/small/test_forgets_epoch.py", "shrunk-history/small/test_trunc_skipped.py")
SEEDS_OF_A_BATCH = 12


def onethrone(*words: str | Path, code: int) -> str:
    """What it prints, having ended with this code."""
    ended = subprocess.run([*ONETHRONE, *map(str, words)], capture_output=True, text=True, timeout=200, check=False)
    assert ended.returncode == code, f"{words}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def unpacked(folder: Path) -> Path:
    with tarfile.open(V0_1 / "results.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "results"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results folder of 0.1; no test writes into it."""
    return unpacked(tmp_path_factory.mktemp("v0_1"))


def one(results: Path, pattern: str) -> Path:
    """The run's folder that this pattern means; `latest` is a second name of a run."""
    (found,) = (path for path in results.glob(pattern) if not path.is_symlink())
    return found


def hosts_run(results: Path) -> Path:
    return one(results, "onethrone/2*")


def planted(results: Path) -> Path:
    return one(results, "planted/2*")


def packed(results: Path) -> Path:
    """A passing run on hosts, of which a campaign kept little."""
    return one(results, "night/2*/runs/h00002/h00002/2*")


def canary(results: Path) -> Path:
    """A run on hosts with a planted bug, which a campaign kept whole."""
    return one(results, "night/2*/runs/h00001/h00001/2*")


def runs(results: Path, having: str) -> list[Path]:
    """Every run's folder with this in it, each once."""
    found = sorted({path.parent.resolve() for path in results.rglob("results.json") if [*path.parent.glob(having)]})
    assert found
    return found


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_bytes())
    return document


def code_of(verdict: dict[str, Any]) -> int:
    return {True: 0, False: 1, "unknown": 2}[verdict["valid"]]


def violations(verdict: dict[str, Any]) -> set[tuple[int, tuple[int, ...]]]:
    """Times and ops.  0.1 ended one of liveness with the first op after its bound; it now ends with what ended it."""
    found = set()
    for name, result in verdict["results"].items():
        for violation in result["violations"]:
            ops = violation["ops"][:-1] if name in ("convergence", "stepping-down") else violation["ops"]
            found.add((violation["time"], tuple(ops)))
    return found


def history(run: Path) -> list[str]:
    file = run / "history.jsonl"
    lines = file.read_bytes() if file.exists() else gzip.decompress((run / "history.jsonl.gz").read_bytes())
    return lines.decode().splitlines()


# ---- histories -----------------------------------------------------------------------------------------------------


def test_every_history_gets_the_verdict_that_0_1_gave_it_by_the_same_ops(results: Path) -> None:
    """Plain and packed, from hosts and simulated, with and without a broken promise."""
    valids = set()
    for run in runs(results, "history.jsonl*"):
        then = read(run / "results.json")
        now = json.loads(onethrone("check", run, "--json", code=code_of(then)))
        assert now["valid"] == then["valid"], run
        assert now["counts"] == then["counts"], run
        assert violations(now) >= violations(then), run
        for name in then["results"].keys() & now["results"].keys():
            verdicts = [verdict["results"][name] for verdict in (then, now)]
            assert verdicts[0]["valid"] == verdicts[1]["valid"], f"{run}: {name}"
            assert verdicts[0]["judged"] == verdicts[1]["judged"], f"{run}: {name}"
        valids.add(then["valid"])
    assert valids == {True, False}
    bare = onethrone("check", packed(results) / "history.jsonl.gz", "--json", code=0)
    assert json.loads(bare)["counts"] == read(packed(results) / "results.json")["counts"]


@pytest.mark.parametrize("find", [hosts_run, planted, packed, canary])
def test_a_report_is_written_again_from_what_0_1_kept(find: Any, results: Path, tmp_path: Path) -> None:
    run, then = find(results), read(find(results) / "results.json")
    said = json.loads(onethrone("report", run, "--out", tmp_path / "report.html", "--json", code=0))
    assert said["valid"] == then["valid"]
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    title = re.search("<title>(.*)</title>", text)
    assert title
    assert then["run"]["name"] in title[1]
    assert "</html>" in text
    assert all(f'id="op-{op}"' in text for _, ops in violations(then) for op in ops)


@pytest.mark.parametrize("find", [hosts_run, planted, packed])
def test_a_run_of_0_1_is_exported(find: Any, results: Path, tmp_path: Path) -> None:
    run = find(results)
    onethrone("export", run, "--to", "edn", "--out", tmp_path / "history.edn", code=0)
    ops = [line for line in (tmp_path / "history.edn").read_text(encoding="utf-8").splitlines() if ":process" in line]
    assert len(ops) == len(history(run)) == read(run / "results.json")["run"]["ops"]
    onethrone("export", run, "--to", "perfetto", "--out", tmp_path / "trace.json", code=0)
    phases = {event["ph"] for event in read(tmp_path / "trace.json")["traceEvents"]}
    has_journals = bool([*run.glob("*/journal.jsonl")])
    assert {"X", "M"} <= phases
    assert has_journals == ("s" in phases)  # messages, which are found by repeating the journals
    if has_journals:
        onethrone("export", run, "--to", "shiviz", "--out", tmp_path / "run.log", code=0)
        text = (tmp_path / "run.log").read_text(encoding="utf-8")
        assert all(host in text for host in ("n1", "n2", "n3"))


# ---- journals ------------------------------------------------------------------------------------------------------


def test_every_journal_replays_to_the_same_effects_transitions_and_verdict(results: Path) -> None:
    for run in runs(results, "*/journal.jsonl"):
        replayed = json.loads(onethrone("replay", run, "--json", code=0))
        assert replayed["same"], run
        assert replayed["verdict_same"] is True, run
        assert len(replayed["servers"]) == len([*run.glob("*/journal.jsonl")]), run
        assert all(server["inputs"] and server["effects"] for server in replayed["servers"]), run


def test_the_correct_core_answers_a_planted_bugs_journal_otherwise_and_a_walk_goes_through_it(results: Path) -> None:
    run = planted(results)
    assert json.loads(onethrone("replay", run, "--bug", "none", "--json", code=1))["same"] is False
    walked = onethrone("replay", hosts_run(results), "--server", "n3", "--from", "line:5", "--until", "line:20", code=0)
    assert "epoch" in walked.lower()


# ---- again ---------------------------------------------------------------------------------------------------------


def test_a_simulated_run_of_0_1_is_run_again_from_its_folder(results: Path, tmp_path: Path) -> None:
    for run in (planted(results), *(results / name for name in ("shrunk-epochs/small", "shrunk-history/small"))):
        words = ("simulate", "--schedule", run, "--results", tmp_path, "--json")
        again, then = json.loads(onethrone(*words, code=1)), read(run / "results.json")
        assert again["seed"] == then["run"]["seed"]
        now = read(Path(again["run"]) / "results.json")
        assert violations(now) == violations(then), run
        assert now["counts"] == then["counts"], run


def test_a_run_on_hosts_of_0_1_is_simulated_with_its_schedule_and_plan(results: Path, tmp_path: Path) -> None:
    words = ("simulate", "--schedule", hosts_run(results), "--seed", "1", "--results", tmp_path, "--json")
    again = read(Path(json.loads(onethrone(*words, code=0))["run"]) / "results.json")
    assert again["counts"]["faults"] == read(hosts_run(results) / "results.json")["counts"]["faults"]


def test_a_schedule_of_0_1_with_every_kind_target_and_shape_is_carried_out(results: Path, tmp_path: Path) -> None:
    words = ("simulate", "--schedule", V0_1 / "every-kind.json", "--seed", "5", "--results", tmp_path, "--json")
    again = read(Path(json.loads(onethrone(*words, code=0))["run"]) / "results.json")
    assert again["counts"] == read(one(results, "every-kind/2*/results.json"))["counts"]
    assert len(again["counts"]["faults"]) == 14


def test_a_plan_of_0_1_means_what_it_meant(tmp_path: Path) -> None:
    """Four servers, one of them an observer, ticks of 200 ms: a bound of 4.8 s, which no default gives."""
    shutil.copy(V0_1 / "run.toml", tmp_path / "plan.toml")
    shutil.copy(V0_1 / "schedule.json", tmp_path)
    words = ("simulate", "--schedule", tmp_path, "--seed", "3", "--results", tmp_path / "results", "--json")
    run = Path(json.loads(onethrone(*words, code=0))["run"])
    verdict = read(run / "results.json")
    assert verdict["results"]["convergence"]["stats"]["bound_s"] == 4.8
    assert verdict["counts"]["faults"] == {"partition": 1, "kill": 1, "pause": 1, "stop": 1}
    assert len([*run.glob("n*/")]) == 4
    assert '"role":"observer"' in history(run)[0].replace(" ", "")


@pytest.mark.parametrize(("find", "bug"), [(planted, "forgets-epoch"), (canary, "half-quorum")])
def test_a_failing_run_of_0_1_is_shrunk(find: Any, bug: str, results: Path, tmp_path: Path) -> None:
    words = ("--out", tmp_path / "small", "--runs", "20", "--json")
    shrunk = json.loads(onethrone("shrink", find(results), *words, code=0))
    assert shrunk["faults"] < shrunk["faults_before"]
    assert bug in Path(shrunk["test"]).read_text(encoding="utf-8")


@pytest.mark.parametrize("emitted", EMITTED)
def test_a_test_that_0_1_emitted_fails_with_the_bug_and_passes_without(
    emitted: str, results: Path, tmp_path: Path
) -> None:
    """As it was written: its import, what it asks of the case, the names of bug and promise."""
    file = shutil.copy(results / emitted, tmp_path)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file)]

    def pytest_says(**variables: str) -> subprocess.CompletedProcess[str]:
        given = {name: value for name, value in os.environ.items() if name != "ONETHRONE_BUG"} | variables
        return subprocess.run(words, capture_output=True, text=True, env=given, check=False)

    with_bug, without = pytest_says(), pytest_says(ONETHRONE_BUG="none")
    assert with_bug.returncode == 1, with_bug.stdout + with_bug.stderr  # 2 would be: it cannot be imported
    assert "AssertionError" in with_bug.stdout
    assert "1 failed" in with_bug.stdout
    assert without.returncode == 0, without.stdout + without.stderr
    assert "1 passed" in without.stdout


# ---- campaigns -----------------------------------------------------------------------------------------------------


def test_a_finished_campaign_of_0_1_is_tallied_and_reported_as_it_was(tmp_path: Path) -> None:
    """Its length is over, so that nothing is run: the sums are those of its journal alone."""
    campaign = one(unpacked(tmp_path), "night/2*")
    then = read(campaign / "summary.json")
    for name in ("summary.json", "report.html", "junit.xml"):
        (campaign / name).unlink()
    onethrone("campaign", campaign, "--resume", "--quiet", code=1)
    now = read(campaign / "summary.json")
    for name in ("valid", "runs", "canary", "faults", "epochs", "marks", "faults_by_kind", "victims", "partitions"):
        assert now[name] == then[name], name
    kept = ("id", "promise", "bug", "servers", "seed", "runs", "first")
    assert [[group[key] for key in kept] for group in now["groups"]] == [
        [group[key] for key in kept] for group in then["groups"]
    ]
    assert (now["runs"]["hosts"]["valid"], now["runs"]["simulator"]["invalid"]) == (2, 104)
    assert "</html>" in (campaign / "report.html").read_text(encoding="utf-8")
    assert "<testsuite" in (campaign / "junit.xml").read_text(encoding="utf-8")


def test_a_campaign_that_was_killed_under_0_1_goes_on_where_it_was(tmp_path: Path) -> None:
    """It was killed after three seeds of a batch: every batch is whole in the end, so that no seed counts twice."""
    results = unpacked(tmp_path)
    campaign = one(results, "seeds/2*")
    then = read(campaign / "summary.json")
    assert [*campaign.rglob("seeds.jsonl")]
    onethrone("campaign", "--resume", "--results", results, "--for", "3s", "--quiet", code=1)
    now = read(campaign / "summary.json")
    found = now["runs"]["simulator"]
    assert found["runs"] >= 2 * SEEDS_OF_A_BATCH > then["runs"]["simulator"]["runs"]
    assert found["runs"] % SEEDS_OF_A_BATCH == found["unknown"] == found["harness"] == 0
    assert found["invalid"] >= then["runs"]["simulator"]["invalid"] == 5
    assert now["canary"] == then["canary"]
    assert [group["id"] for group in now["groups"]][:2] == ["g1", "g2"]
    assert now["sessions"] == then["sessions"] + 1
    assert not [*campaign.rglob("seeds.jsonl")]  # the old batch's, which was read and is done


def test_a_campaigns_plan_of_0_1_is_begun_anew(tmp_path: Path) -> None:
    """Without its hosts: those are for the tests of the lab."""
    text = (V0_1 / "campaign.toml").read_text(encoding="utf-8")
    (tmp_path / "night.toml").write_text(text.replace('ensembles = ["lab:3"]', "ensembles = []"))
    words = [
        "campaign",
        str(tmp_path / "night.toml"),
        "--for",
        "10m",
        "--quiet",
        "--results",
        str(tmp_path / "results"),
    ]
    with subprocess.Popen([*ONETHRONE, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as campaign:
        until = time.monotonic() + 200
        while not any(
            '"new":[{' in file.read_text() for file in (tmp_path / "results").glob("night/2*/campaign.jsonl")
        ):
            assert campaign.poll() is None
            assert time.monotonic() < until, "the planted bug is not found"
            time.sleep(0.2)
        campaign.send_signal(signal.SIGINT)
        assert campaign.wait(200) == 1
    now = read(one(tmp_path / "results", "night/2*/summary.json"))
    assert now["canary"]["simulator"] == {"bug": "half-quorum", "runs": 3, "found": 3}
    assert [(group["bug"], group["setting"], group["servers"]) for group in now["groups"]] == [
        ("forgets-epoch", "planted", 3)
    ]
    assert now["groups"][0]["seed"] >= 100
    assert now["runs"]["simulator"]["unknown"] == now["harness_failed"] == 0


# ---- a browser's view ----------------------------------------------------------------------------------------------


@pytest.fixture
def port(results: Path) -> Iterator[int]:
    words = [*ONETHRONE, "serve", "--results", str(results), "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stderr is not None
            found = re.search(r"http://[^:/]+:(\d+)/", serving.stderr.readline())
            assert found
            yield int(found[1])
        finally:
            serving.terminate()


def page(port: int, target: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", target)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        assert answer.status == 200, f"{target}: {answer.status}"
        return text
    finally:
        connection.close()


def test_everything_that_0_1_left_is_served_and_every_link_of_it_leads_somewhere(port: int, results: Path) -> None:
    index = page(port, "/")
    links = set(re.findall(r'href="(/r/[^"]+)"', index))
    for folder in runs(results, "history.jsonl*"):
        assert f"/r/{folder.relative_to(results)}/" in links, folder
    for campaign in ("night", "seeds"):
        assert f"/r/{one(results, f'{campaign}/2*').relative_to(results)}/" in links
    for link in sorted(links):
        page(port, link)
    raw = page(port, f"/r/{hosts_run(results).relative_to(results)}/history.jsonl")
    assert raw.splitlines() == history(hosts_run(results))
