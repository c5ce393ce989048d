"""The parts of a campaign by themselves: what is covered, when failures are the same, the journal, deadlines."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import signal
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import UsageError
from harness.campaign import coverage, figures, journal, signature, watch, work
from harness.campaign import outcome as outcomes
from harness.campaign.child import Child
from harness.campaign.coverage import Coverage, Lengths
from harness.campaign.journal import CampaignJournal, Job
from harness.campaign.ledger import Books
from harness.campaign.outcome import CountedOutcome
from harness.campaign.plan import HOSTS, SIMULATOR, CampaignPlan, Retention
from harness.campaign.tally import Tally, add_up
from tests.checker.story import Story, cut

# ---- coverage --------------------------------------------------------------------------------------------------------


def read(story: Story, tmp_path: Path) -> Coverage:
    return coverage.read_history(story.write(tmp_path / "history.jsonl"))


def hit(story: Story, kind: str, target: str, *, at: float, until: float, effects: list[Any], **value: Any) -> None:
    """A fault as the nemesis tells it: aimed by a word, and verified."""
    told = {"fault": f"f{at:g}", "hosts": [target], "targets": [target], "effects": effects, **value}
    for type_, step, when in (("invoke", "start", at), ("ok", "start", at + 0.01), ("invoke", "stop", until)):
        evidence = {"evidence": {target: {"seen": True}}} if type_ == "ok" else {}
        story.tell("nemesis", type_, kind, told | {"step": step} | evidence, at=when)
    story.tell("nemesis", "ok", kind, told | {"step": "stop", "effects": []}, at=until + 0.01)


@pytest.fixture
def killed() -> Story:
    """n3 leads, is killed, and n2 is established 0.79 s after."""
    story = Story(3)
    story.elect("n3", epoch=1, at=0.5)
    hit(story, "kill", "n3", at=2.0, until=5.0, effects=[{"down": ["n3"]}], reason="leader")
    story.stopped("n3", at=2.005)
    story.state("n1", at=2.2)
    story.state("n2", at=2.2)
    story.elect("n2", epoch=2, at=2.75, voters="n1 n2")
    return story


def test_a_fault_is_counted_by_its_word_and_by_the_state_that_its_victim_was_in(killed: Story, tmp_path: Path) -> None:
    found = read(killed, tmp_path)
    assert found.faults == {"kill": {"leader": 1}}
    assert found.victims == {"kill": {"leading broadcast": 1}}
    assert found.epochs == 2


def test_the_time_without_a_leader_is_put_down_to_the_fault_that_began_it(killed: Story, tmp_path: Path) -> None:
    found = read(killed, tmp_path)
    assert found.elections["kill"].count == 1
    # From the kill's verification to the moment that n1 follows n2 in broadcast.
    assert found.elections["kill"].max_ms == pytest.approx(790, abs=40)
    assert found.slowest[0].after == "kill"


def test_what_was_not_verified_covers_nothing(tmp_path: Path) -> None:
    story = Story(3)
    told = {"fault": "f1", "step": "start", "hosts": ["n1"], "effects": [{"paused": ["n1"]}]}
    story.tell("nemesis", "invoke", "pause", told, at=1.0)
    story.tell("nemesis", "fail", "pause", told, at=1.1)
    found = read(story, tmp_path)
    assert found.faults == found.victims == {}
    assert found.refused == {"pause": 1}


def test_a_partition_is_counted_by_what_it_leaves_and_where_the_leader_is(tmp_path: Path) -> None:
    story = Story(3)
    story.elect("n3", epoch=1, at=0.5)
    effects = cut("n3", "n1 n2")
    hit(story, "partition", "n3", at=2.0, until=3.0, effects=effects, shape="isolate", grudge=effects[0]["drops"])
    found = read(story, tmp_path)
    assert found.partitions == {"isolate": {"clean 2+1, the leader alone": 1}}
    assert any(state.endswith("| clean 2+1") for state in found.states)


def test_a_word_that_fitted_nobody_is_counted_apart(tmp_path: Path) -> None:
    story = Story(3)
    reason = "leader (nobody leads: a random one)"
    hit(story, "pause", "n1", at=1.0, until=2.0, effects=[{"paused": ["n1"]}], reason=reason)
    assert read(story, tmp_path).faults == {"pause": {"a substitute": 1}}


def test_what_was_never_reached_is_listed() -> None:
    found = Coverage(faults={"kill": {"leader": 3}}, victims={"kill": {"LOOKING": 1}})
    never = coverage.never(found, ["kill", "partition"])
    assert "kill of leader" not in never["faults"]
    assert "kill of all" in never["faults"]
    assert "kill while LOOKING" not in never["victims"]
    assert "kill while leading discovery" in never["victims"]
    assert "isolate" in never["partitions"]
    assert not any("pause" in text for text in never["faults"])


SERVERS = ("a", "b", "c", "d")
PAIRS = list(itertools.permutations(SERVERS, 2))


@given(st.sets(st.sampled_from(PAIRS)))
def test_parts_of_the_links_are_those_of_a_naive_search(drops: set[tuple[str, str]]) -> None:
    def near(a: str) -> set[str]:
        return {b for b in SERVERS if b != a and (a, b) not in drops and (b, a) not in drops}

    parts: set[frozenset[str]] = set()
    for server in SERVERS:
        group = {server}
        while more := set().union(*(near(member) for member in group)) - group:
            group |= more
        parts.add(frozenset(group))
    sizes = "+".join(map(str, sorted(map(len, parts), reverse=True)))
    one_way = any((b, a) not in drops for a, b in drops)
    whole = all((a, b) not in drops for part in parts for a in part for b in part)
    word = "one-way" if one_way else "clean" if whole else "partial"
    assert coverage.links(SERVERS, drops) == (f"{word} {sizes}" if drops else "whole")


@given(st.lists(st.floats(1, 1e6), min_size=1, max_size=60), st.floats(0.01, 1))
def test_a_quantile_of_the_histogram_is_near_the_true_one_and_histograms_add_up(ms: list[float], share: float) -> None:
    whole, one, other = Lengths(), Lengths(), Lengths()
    for n, length in enumerate(ms):
        whole.take(length)
        (one if n % 2 else other).take(length)
    one.add(other)
    assert one.bins == whole.bins
    assert one.count == whole.count == len(ms)
    true = sorted(ms)[max(0, -int(-share * len(ms) // 1) - 1)]
    assert true / 1.13 <= whole.quantile(share) <= true * 1.13


# ---- signatures ------------------------------------------------------------------------------------------------------


def test_failures_that_differ_in_hosts_numbers_and_details_are_the_same() -> None:
    one = signature.shape("epoch 7 has two established leaders: n1 (op 312) and n14 (op 330)", ["n1", "n14"])
    assert one == signature.shape("epoch 12 has two established leaders: n3 (op 2) and n1 (op 3)", ["n1", "n3"])
    owed = "{} were owed a leader since op {} and did not all have one within 9.0 s (it was {}): {}"
    first = owed.format("n1, n2, n3", 5, "still without one 10.2 s later", "no leader: n1 is LOOKING; n2 is down")
    second = owed.format("n4, n5", 81, "had one only 11 s later", "no leader: n4 is FOLLOWING n5 (discovery)")
    hosts = [f"n{n}" for n in range(1, 6)]
    assert signature.shape(first, hosts) == signature.shape(second, hosts)
    third = owed.format("n4, n5", 81, "had one only 11 s later", "2 leaders: n4 is LEADING; n5 is LEADING")
    assert signature.shape(first, hosts) != signature.shape(third, hosts)
    lost = signature.shape("1 committed value is lost on n5: 35 (op 1)", hosts)
    assert lost == signature.shape("3 committed values are lost on n5, n1: 35, 36, 37 (op 1)", hosts)


def test_a_planted_bug_is_never_taken_for_a_failure_of_the_correct_server() -> None:
    real = signature.Signature("epochs", "x", "onethrone")
    assert real.key != signature.Signature("epochs", "x", "onethrone", "forgets-epoch").key


# ---- the journal -----------------------------------------------------------------------------------------------------


def run_of(number: int, kind: str = "hosts", **about: Any) -> Job:
    place = "lab:3" if kind == "hosts" else SIMULATOR
    return Job(f"{kind[0]}{number:05}", kind, place, "plain", 3, "all", number, system="onethrone", **about)


def write_run(books: CampaignJournal, job: Job, **runs: Any) -> None:
    books.write("plan", job=msgspec.to_builtins(job))
    books.write("begin", id=job.id, pid=1)
    books.write("end", id=job.id, code=0, why="")
    books.write("count", id=job.id, runs=runs)


def test_a_journal_cut_at_any_byte_is_read_up_to_its_last_whole_line_and_goes_on(tmp_path: Path) -> None:
    books = CampaignJournal(tmp_path)
    for number in range(3):
        write_run(books, run_of(number), valid=1)
    books.close()
    whole = (tmp_path / journal.FILE).read_bytes()
    for at in range(len(whole) - 400, len(whole) + 1, 7):
        (tmp_path / journal.FILE).write_bytes(whole[:at])
        lines = whole[:at].count(b"\n")
        assert len(list(journal.read(tmp_path))) == lines
        add_up(tmp_path)
        again = CampaignJournal(tmp_path)
        again.write("over", why="x")
        again.close()
        assert [entry["what"] for entry in journal.read(tmp_path)][-1] == "over"
        assert len(list(journal.read(tmp_path))) == lines + 1


def test_a_run_that_is_counted_twice_is_an_error_that_names_the_line(tmp_path: Path) -> None:
    books = CampaignJournal(tmp_path)
    write_run(books, run_of(1), valid=1)
    books.write("count", id="h00001", runs={"valid": 1})
    with pytest.raises(UsageError, match=r"campaign\.jsonl:5"):
        add_up(tmp_path)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"at":4,"what":"count","id":"h00009","runs":{}}', "no entry before it began h00009"),
        ('{"at":4,"what":"end","id":"h00009","code":0,"why":""}', "no entry before it began h00009"),
        ('{"at":4,"what":"thin","id":"h00009","bytes":1}', "no entry before it counted h00009"),
        ('{"at":4,"what":"end","id":"h00001","why":""}', "it has no 'code'"),
        ('{"at":4,"what":"count","id":"h00001","runs":{"valid":"many"}}', "what a field of it says is not"),
        ('{"at":4,"what":"begin","id":["h00001"]}', "what a field of it says is not"),
        ('{"at":"x","what":"over","why":""}', "what a field of it says is not"),
        ("garbage", "this line is no entry"),
        ("[1]", "this line is no entry"),
        ("\xff", "this line is no entry"),
    ],
)
def test_a_damaged_journal_is_refused_in_words_with_the_line_and_what_to_do(
    tmp_path: Path, line: str, reason: str
) -> None:
    books = CampaignJournal(tmp_path)
    books.write("session", pid=1, length_s=1.0)
    books.write("plan", job=msgspec.to_builtins(run_of(1)))
    books.write("begin", id="h00001", pid=1)
    books.close()
    with (tmp_path / journal.FILE).open("ab") as file:
        file.write(line.encode("latin-1") + b"\n")
    with pytest.raises(UsageError) as caught:
        add_up(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / journal.FILE}:4: ")
    assert reason in message
    assert "put it back from a copy, or begin a new campaign" in message
    assert not re.search(r"Error|malformed|`", message)


def test_only_the_time_that_controllers_were_at_it_counts() -> None:
    found = Tally()
    for at, what in ((0.0, "session"), (40.0, "alive"), (60.0, "alive"), (5000.0, "session"), (5030.0, "alive")):
        found.feed({"at": at, "what": what, "rss_mb": 40.0, "free_mb": 1})
    assert found.active_s == 90.0


# ---- retention -------------------------------------------------------------------------------------------------------


def test_passing_runs_that_stay_are_spread_and_failing_ones_are_never_removed(tmp_path: Path) -> None:
    plan = msgspec.structs.replace(CampaignPlan(), retention=Retention(passing=4))
    books = Books(tmp_path, plan, lambda text: None)
    for number in range(1, 33):
        job = run_of(number)
        run = tmp_path / "runs" / job.id / job.id / f"20261128T0000{number:02}Z"
        run.mkdir(parents=True)
        (run / "history.jsonl.gz").write_bytes(b"x" * 100)
        books.note("plan", job=msgspec.to_builtins(job))
        failing = number % 8 == 0
        found = CountedOutcome(bytes=100, folder=str(run.relative_to(tmp_path)))
        found.judged(not failing)
        books.count(job, found)
    kept = sorted(int(path.name[1:]) for path in (tmp_path / "runs").iterdir() if list(path.glob("*/*")))
    books.close()
    failing_ones, passing = [n for n in kept if n % 8 == 0], [n for n in kept if n % 8]
    assert failing_ones == [8, 16, 24, 32]
    assert len(passing) == 4
    assert passing[0] < 16 < passing[-1]
    assert add_up(tmp_path).total.bytes == 800
    assert [int(name[1:]) for name in add_up(tmp_path).passing] == passing


def test_a_passing_run_is_made_small_and_can_still_be_judged(tmp_path: Path) -> None:
    history = Path("tests/histories/good-run.jsonl").read_bytes()
    (tmp_path / "history.jsonl").write_bytes(history)
    for name in ("plan.toml", "schedule.json", "results.json", "report.html", "controller.log"):
        (tmp_path / name).write_text(name)
    (tmp_path / "n1").mkdir()
    (tmp_path / "n1" / "journal.jsonl").write_text("much")
    work.thin(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(work.THINNED)
    assert gzip.decompress((tmp_path / "history.jsonl.gz").read_bytes()) == history


# ---- deadlines -------------------------------------------------------------------------------------------------------


def test_a_child_that_hangs_is_asked_to_end_and_then_forced(tmp_path: Path) -> None:
    child = Child(["command", "serve", "--help"], tmp_path, end_s=0.3)
    os.kill(child.pid, signal.SIGSTOP)  # SIGTERM cannot reach it
    child.allow(0.2, "a nap")
    code = None
    while code is None:
        code = child.poll()
        time.sleep(0.02)
    assert code == -signal.SIGKILL
    assert child.why == "a nap took longer than 0.2 s"


def test_the_phases_of_a_run_are_seen_in_its_history_however_it_is_cut_into_writes(tmp_path: Path) -> None:
    class Allowed:
        def __init__(self) -> None:
            self.steps: list[str] = []

        def allow(self, seconds: float, doing: str) -> None:
            self.steps.append(doing)

    run = tmp_path / "h1" / "20261128T000000Z"
    run.mkdir(parents=True)
    child = Allowed()
    watching = watch.RunWatch(tmp_path, CampaignPlan(), child)  # type: ignore[arg-type]
    lines = [
        {"index": n, "time": n, "process": "controller", "type": "info", "f": f, "value": value}
        for n, (f, value) in enumerate(
            [
                ("run", {}),
                ("phase", {"phase": "calm"}),
                ("phase", {"phase": "storm"}),
                ("phase", {"phase": "end"}),
                ("end", {"complete": True}),
            ]
        )
    ]
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines).encode()
    with (run / "history.jsonl").open("ab", buffering=0) as file:
        for at in range(0, len(text), 5):
            file.write(text[at : at + 5])
            watching.look()
    assert [step.split()[0] for step in child.steps] == ["making", "starting", "the", "collecting", "judging"]


# ---- the sum ---------------------------------------------------------------------------------------------------------


def test_what_runs_left_is_added_up_once_and_again_from_the_start_when_the_sum_is_lost(tmp_path: Path) -> None:
    books = CampaignJournal(tmp_path)
    books.write("session", pid=1, length_s=9)
    for number in (1, 2):
        job = run_of(number, "simulate")
        folder = tmp_path / "runs" / job.id
        folder.mkdir(parents=True)
        outcomes.save(
            CountedOutcome(valid=1, coverage=Coverage(faults={"kill": {"leader": 2}}, states={"x": 1})), folder
        )
        write_run(books, job, valid=1)
        once = figures.read(tmp_path).sum
        assert once.coverage[SIMULATOR].faults == {"kill": {"leader": 2 * number}}
    assert figures.read(tmp_path).sum == once
    (tmp_path / figures.SUM).write_text("{")
    assert figures.read(tmp_path).sum == once
    assert once.coverage[HOSTS] == Coverage()


def test_a_slow_simulated_run_has_a_command_that_repeats_it_with_its_mix_and_setting(tmp_path: Path) -> None:
    from harness.campaign import figures, plan, report, work
    from harness.campaign.journal import Job
    from harness.campaign.tally import Tally
    from harness.simulator.run import simulate
    from harness.simulator.source_run import given

    kills = plan.CampaignPlan(name="night", mixes={"kills": ("kill",)})
    job = Job("s00001", "simulate", plan.SIMULATOR, "plain", 3, "kills", 68, system="onethrone")
    found = work._seed(kills, job, 68, tmp_path, tmp_path, {})
    total = figures.Night(Tally(), figures.Sum(), [], [])
    total.sum.coverage[plan.SIMULATOR].add(found.coverage)
    row = report.build(tmp_path, kills, total)["slowest"][0]
    folder = tmp_path / "slowest" / "68"
    assert row["again"] == f"onethrone simulate --schedule {folder}"
    again = given(folder)
    assert again.seed == 68
    run = simulate(68, servers=again.servers, schedule=again.schedule, settings=again.settings, knobs=again.knobs)
    ops = [op for op in run.ops if op.process.__class__ is not int]
    assert work._counted(ops, job, 68) == found.coverage
