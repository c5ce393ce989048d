"""`onethrone campaign`, used as its users use it, on simulated runs; and then everything that can happen to it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from checker.verdict import check
from harness.campaign import journal
from harness.campaign.tally import DONE
from harness.cli.campaign import _begin
from harness.cli.onethrone import main
from tests.harness.campaigns import (
    ONETHRONE,
    PLANTED,
    QUICK,
    begin,
    children,
    entries,
    folder_of,
    interrupted,
    kill_all,
    onethrone,
    summary,
    tally,
    until,
)

KILLS = int(os.environ.get("ONETHRONE_TEST_KILLS", "2"))


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a short campaign with a planted bug among its settings."""
    place = tmp_path_factory.mktemp("night")
    (place / "night.toml").write_text(QUICK + PLANTED)
    results = place / "results"

    def enough(campaign: Path) -> bool:
        counted = {entry["id"] for entry in entries(campaign, "count")}
        settings = {key[1] for key in tally(campaign).by}
        return "g1-replay" in counted and settings == {"plain", "planted"}

    campaign, code = interrupted(place / "night.toml", results, enough, "a replay, and both settings")
    assert code == 1, (place / "log").read_text()
    return campaign


def test_a_planted_bug_is_found_grouped_and_replayed_and_the_rest_is_valid(night: Path) -> None:
    found = summary(night)
    assert found["valid"] is False
    assert found["summary"].startswith("Invalid: only what was planted failed, in 1 distinct way")
    (group,) = found["groups"]
    assert group["bug"] == "forgets-epoch"
    assert group["promise"] == "epochs"
    assert group["replay"]["ok"] is True
    by_setting = {row["setting"]: row for row in found["settings"]}
    assert by_setting["planted"]["invalid"] == group["runs"]["simulator"] > 0
    assert by_setting["plain"]["valid"] == by_setting["plain"]["runs"] > 0


def test_failing_seeds_are_kept_whole_up_to_a_number_and_passing_ones_not_at_all(night: Path) -> None:
    kept = sorted(path.parent for path in night.glob("runs/*/*/history.jsonl"))
    assert 1 <= len(kept) <= 5  # [retention] failing_seeds
    for run in kept:
        assert check(run).valid is False
        assert (run / "report.html").exists()
        assert all((run / host / "journal.jsonl").exists() for host in ("n1", "n2", "n3"))


def test_the_canary_was_found_and_is_no_failure_of_the_campaign(night: Path) -> None:
    found = summary(night)
    assert found["canary"]["simulator"]["found"] > 0
    assert all(group["bug"] != found["canary"]["simulator"]["bug"] for group in found["groups"])


def test_what_was_covered_is_counted_and_what_was_not_is_listed(night: Path) -> None:
    found = summary(night)
    assert found["faults_by_kind"]["kill"]["leader"]["simulator"] > 0
    assert found["victims"]["kill"]["leading broadcast"]["simulator"] > 0
    assert found["states_seen"] > 20
    assert set(found["faults_by_kind"]) == {"kill", "stop", "host-kill", "pause"}
    assert found["never_reached"]["marks"]
    after_kill = next(row for row in found["elections"] if row["after"] == "kill")
    assert 0 < after_kill["simulator"]["median_ms"] <= after_kill["simulator"]["max_ms"]


def test_the_junit_file_has_a_failure_for_what_failed_and_counts_that_add_up(night: Path) -> None:
    root = ET.parse(night / "junit.xml").getroot()
    assert root.tag == "testsuites"
    cases = list(root.iter("testcase"))
    for suite in [root, *root]:
        inside = list(suite.iter("testcase"))
        assert int(suite.attrib["tests"]) == len(inside)
        assert int(suite.attrib["failures"]) == sum(case.find("failure") is not None for case in inside)
        assert int(suite.attrib["errors"]) == sum(case.find("error") is not None for case in inside)
    assert all(case.attrib["name"] and case.attrib["classname"] and float(case.attrib["time"]) >= 0 for case in cases)
    failed = [case.attrib["name"] for case in cases if case.find("failure") is not None]
    assert failed[0] == "the campaign is valid"
    assert [name.partition(":")[0] for name in failed[1:]] == ["planted, crashes"]


def test_the_controller_imports_little_and_stays_small(night: Path) -> None:
    assert 0 < summary(night)["rss_mb"] < 100


def test_links_lead_to_the_campaign_and_none_says_that_it_goes_on(night: Path) -> None:
    results = night.parent.parent
    assert folder_of(results) == night == (results / "quick" / "latest").resolve()
    assert not (results / "current").is_symlink()
    assert children(night) == []


def test_a_campaign_that_is_killed_before_its_first_session_can_be_read_and_resumed(tmp_path: Path) -> None:
    (tmp_path / "night.toml").write_text(QUICK)
    _begin(tmp_path / "night.toml", None, tmp_path / "results")  # the links lead to it from now on
    campaign = folder_of(tmp_path / "results")
    assert tally(campaign).sessions == 0
    onethrone("campaign", "--resume", campaign, "--for", "1s")
    assert (tally(campaign).sessions, tally(campaign).over) == (1, DONE)


# ---- it is killed --------------------------------------------------------------------------------------------------


def counted_seeds(campaign: Path) -> Counter[int]:
    """Every seed of every batch that is counted, with how often."""
    jobs: dict[str, Any] = {}
    seeds: Counter[int] = Counter()
    for entry in journal.read(campaign):  # once: the controller may plan and count a job between two readings
        if entry["what"] == "plan":
            jobs[entry["job"]["id"]] = entry["job"]
        if entry["what"] != "count":
            continue
        job = jobs[entry["id"]]
        if job["kind"] == "simulate" and not job.get("canary"):
            runs = entry["runs"]
            count = runs.get("valid", 0) + runs.get("invalid", 0) + runs.get("unknown", 0)
            assert count == job["seeds"], entry
            seeds.update(range(job.get("seed", 0), job.get("seed", 0) + job["seeds"]))
    return seeds


def kill_at_random(words: list[str | Path], results: Path, log: Path, sessions: int, chance: random.Random) -> Path:
    """Starts a controller and kills it with SIGKILL some time later; every second time all its children as well."""
    process = begin(*words, log=log)
    try:
        campaign: Path = until(lambda: (results / "latest").exists() and folder_of(results), "it began")
        until(lambda: len(entries(campaign, "session")) > sessions, "a session")
        done = len(entries(campaign, "begin")) + chance.randrange(4)
        until(lambda: len(entries(campaign, "begin")) >= done, "some jobs were begun")
        until(lambda: chance.random() < 0.02, "an instant")
        if sessions % 2:
            kill_all(children(campaign))  # as when the machine dies
    finally:
        process.kill()
        process.wait()
    return campaign


def test_kills_at_random_instants_lose_no_run_and_count_none_twice(tmp_path: Path) -> None:
    (tmp_path / "night.toml").write_text(QUICK + PLANTED)
    results, log = tmp_path / "results", tmp_path / "log"
    chance = random.Random(2026)
    words: list[str | Path] = [tmp_path / "night.toml", "--results", results, "--for", "1h"]
    for kill in range(KILLS):
        campaign = kill_at_random(words, results, log, kill, chance)
        words = ["--resume", campaign, "--for", "1h"]
    before = len(counted_seeds(campaign))
    process = begin(*words, log=log)
    until(lambda: len(counted_seeds(campaign)) > before and tally(campaign).total.invalid, "it goes on")
    process.send_signal(signal.SIGINT)
    assert process.wait(120) == 1
    ids = [entry["id"] for entry in entries(campaign, "count")]
    assert len(ids) == len(set(ids))
    seeds = counted_seeds(campaign)
    assert set(seeds.values()) == {1}
    planned = [entry["job"] for entry in entries(campaign, "plan")]
    open_ = tally(campaign).open
    dealt = sum(job["seeds"] for job in planned if job["kind"] == "simulate" and not job.get("canary"))
    assert len(seeds) + sum(o.job.seeds for o in open_.values() if o.job.kind == "simulate") == dealt
    assert summary(campaign)["sessions"] == KILLS + 1
    assert tally(campaign).over == "interrupted"
    for history in campaign.glob("runs/*/*/history.jsonl"):
        check(history)
    assert children(campaign) == []


# ---- what goes wrong around it -------------------------------------------------------------------------------------


def test_a_batch_that_hangs_is_ended_and_its_other_seeds_are_run(tmp_path: Path) -> None:
    deadlines = "[deadlines]\nseed_s = 10.0\nend_s = 0.5\n"
    (tmp_path / "night.toml").write_text(QUICK.replace("batch = 6", "batch = 2000") + deadlines)
    results = tmp_path / "results"
    process = begin(tmp_path / "night.toml", "--results", results, "--for", "1h", log=tmp_path / "log")
    try:
        campaign = until(lambda: (results / "latest").exists() and folder_of(results), "it began")
        seeds = campaign / "runs" / "s00002" / "seeds.jsonl"
        until(lambda: seeds.exists() and seeds.read_bytes().count(b"\n") > 6, "some seeds are done")
        hung = entries(campaign, "begin")[-1]["pid"]
        os.kill(hung, signal.SIGSTOP)  # it hangs as a process can hang: SIGTERM does not reach it
        before = seeds.read_bytes()
        until(lambda: entries(campaign, "begin")[-1]["pid"] != hung, "it was killed and its batch goes on")
        until(lambda: seeds.read_bytes().count(b"\n") > before.count(b"\n") + 4, "more seeds are done")
        assert seeds.read_bytes().startswith(before[: before.rfind(b"\n") + 1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)
    begun = [json.loads(line)["seed"] for line in seeds.read_bytes().splitlines()[:-1] if b"outcome" not in line]
    assert Counter(Counter(begun).values()).keys() <= {1, 2}


def test_a_full_disk_stops_new_runs_in_time_and_the_campaign_goes_on_when_there_is_room(tmp_path: Path) -> None:
    plan = QUICK.replace("free_mb = 1.0", "free_mb = 4.0") + PLANTED
    (tmp_path / "night.toml").write_text(plan)
    command = " ".join(f"'{word}'" for word in ONETHRONE)
    script = f"""
        mkdir small && mount -t tmpfs -o size=26m tmpfs small
        {command} campaign night.toml --results small/results --for 10m; echo first $?
        cp -r small/results one
        dd if=/dev/zero of=small/more bs=1M count=100 2>dd.log
        {command} campaign --resume small/results/latest --for 10m; echo full $?
        rm small/more && mount -o remount,size=400m small
        {command} campaign --resume small/results/latest --for 10m & pid=$!
        before=$(grep -c '"count"' small/results/latest/campaign.jsonl); n=0
        while [ $(grep -c '"count"' small/results/latest/campaign.jsonl) -lt $((before + 2)) ] && [ $n -lt 1000 ]
        do sleep 0.1; n=$((n + 1)); done
        kill -TERM $pid; wait $pid; echo third $?
        cp -r small/results two
    """
    # retention keeps so much that the disk fills
    (tmp_path / "night.toml").write_text(plan + "[retention]\nfailing_seeds = 1000\n")
    root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    ended = subprocess.run(
        ["unshare", *root, "--mount", "sh", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    told = ended.stdout + ended.stderr
    assert "first 1" in told, told
    assert "MB are to be left" in told
    assert "full 1" in told, told
    assert "third 1" in told, told
    assert "Traceback" not in told, told
    first, last = (folder_of(tmp_path / name) for name in ("one", "two"))
    assert "ended before its time" in " ".join(summary(first)["doubts"])
    assert set(counted_seeds(last).values()) == {1}
    assert len(counted_seeds(last)) > len(counted_seeds(first))


def test_a_canary_or_a_planted_bug_that_is_not_found_makes_the_verdict_unknown(tmp_path: Path) -> None:
    hidden = "connects-for-ever"  # which no storm of crashes shows
    text = QUICK.replace("1000 }", f"1000, bug = '{hidden}' }}") + f"[canary]\nbug = '{hidden}'\n"
    (tmp_path / "night.toml").write_text(text)
    campaign, code = interrupted(tmp_path / "night.toml", tmp_path / "results", counted_seeds, "a run is counted")
    found = summary(campaign)
    assert code == 2
    assert found["valid"] == "unknown"
    assert "the harness is blind in the simulator" in found["doubts"][0]
    assert "planted by setting 'plain', was not found" in found["doubts"][1]


def test_a_campaign_goes_on_in_one_controller_only_and_when_its_time_is_over_it_is_valid(tmp_path: Path) -> None:
    (tmp_path / "night.toml").write_text(QUICK)
    results = tmp_path / "results"
    process = begin(tmp_path / "night.toml", "--results", results, "--for", "1h", log=tmp_path / "log")
    try:
        campaign = until(lambda: (results / "latest").exists() and folder_of(results), "it began")
        until(lambda: counted_seeds(campaign), "a run is counted")
        assert (results / "current").resolve() == campaign
        ended = onethrone("campaign", "--resume", campaign, code=254)
        assert "this campaign is going on" in ended.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 2  # it ended before its time
    assert children(campaign) == []
    ended = onethrone("campaign", "--resume", campaign, "--for", "1s", "--json", "--quiet", code=0)
    result = json.loads(ended.stdout)
    assert result["valid"] is True
    assert result["over"] == DONE
    assert ended.stderr == ""


# ---- the command ---------------------------------------------------------------------------------------------------


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str]:
    """The exit code of `onethrone campaign`, and what it said."""
    with pytest.raises(SystemExit) as ended:
        main(["campaign", *map(str, words)])
    output = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    assert "Traceback" not in output.err
    return ended.value.code, output.out + output.err


def test_init_writes_a_plan_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "night.toml"
    assert told(capsys, "--init", path) == (0, f"{path} is a plan; onethrone campaign {path}\n")
    code, words = told(capsys, "--init", path)
    assert code == 254
    assert "there is a file already" in words


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--resume", "{tmp}"), "no campaign's folder"),
        (("--resume", "--results", "{tmp}"), "no campaign to go on with"),
        (("--init", "--resume"), "give one of them"),
        (("{tmp}/nowhere.toml",), "there is no such plan"),
        (("--for", "8x"), "give a length of time, as in 90s, 10m, 8h or 1d"),
        (("{tmp}/night.toml", "--results", "{tmp}/results", "--for", ""), "--for '': give a length of time"),
        (("--resume", "{tmp}/begun", "--for", ""), "--for '': give a length of time"),
        (("{tmp}/night.toml", "--results", "{tmp}/night.toml/x"), "no run can be kept there"),
        (("--resume", "{tmp}/changed"), "campaign.jsonl:2"),
    ],
)
def test_bad_words_are_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reason: str
) -> None:
    (tmp_path / "night.toml").write_text(QUICK)
    changed, begun = tmp_path / "changed", tmp_path / "begun"
    changed.mkdir()
    begun.mkdir()
    (begun / "campaign.toml").write_text(QUICK)
    (begun / "campaign.jsonl").write_text('{"at":1,"what":"session"}\n')
    (changed / "campaign.toml").write_text(QUICK)
    (changed / "campaign.jsonl").write_text('{"at":1,"what":"session"}\n{"at":2,"what":"count","id":"s1","runs":{}}\n')
    code, said = told(capsys, *(word.format(tmp=tmp_path) for word in words))
    assert code == 254
    assert reason in said


@pytest.mark.parametrize(("left", "what"), [("runs/s00001/seeds.jsonl", "runs"), ("summary.json", "summary.json")])
@pytest.mark.parametrize("text", ["", '{"at":1,"what":"ses'])
def test_an_emptied_journal_is_not_gone_on_with_where_there_are_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], left: str, what: str, text: str
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "campaign.toml").write_text(QUICK)
    (tmp_path / "campaign.jsonl").write_text(text)
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).write_text("dear")
    code, said = told(capsys, "--resume", tmp_path, "--for", "1s")
    assert code == 254
    assert f"{tmp_path}/campaign.jsonl: the journal is empty, though there are" in said
    assert what in said
    assert "Put the journal back" in said
    assert (tmp_path / left).read_text() == "dear"
    assert (tmp_path / "campaign.jsonl").read_text() == text


def test_hosts_that_are_gone_are_a_failure_of_the_harness_and_the_simulator_goes_on(tmp_path: Path) -> None:
    (tmp_path / "ssh_config").write_text("Host *\n  ProxyCommand false\n  ConnectTimeout 2\n")
    plan = QUICK.replace("ensembles = []", 'ensembles = ["gone1,gone2,gone3"]\nssh_config = "ssh_config"')
    (tmp_path / "night.toml").write_text(plan)

    def both(campaign: Path) -> bool:
        return len(list(campaign.glob("runs/h*/outcome.json"))) >= 2 and bool(counted_seeds(campaign))

    campaign, code = interrupted(tmp_path / "night.toml", tmp_path / "results", both, "two runs failed, seeds passed")
    found = summary(campaign)
    assert code == 2
    assert found["runs"]["simulator"]["valid"] > 0
    assert found["groups"] == []
    assert all("gone1" in told["why"] for told in found["harness"])
    assert len(found["harness"]) >= 1
    ends = [entry for entry in entries(campaign, "end") if entry["id"].startswith("h")]
    begun = [entry["at"] for entry in entries(campaign, "begin") if entry["id"].startswith("h")]
    assert {entry["code"] for entry in ends} <= {254, 255}
    assert begun[1] - ends[0]["at"] >= 3  # it rested
