"""The conductor alone: what is due and what hosts answered in, ops and orders out.  No threads, hosts or clocks."""

from __future__ import annotations

import doctest
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

import nemesis.conductor
from nemesis.conductor import UNDO_TRIES, Conductor, Dispatch, Due, HostAnswer, Note, Retry, ToDo
from nemesis.faults import Fault
from nemesis.schedule import Schedule
from nemesis.storm import draw
from nemesis.targets import View

VIEW = View(servers=("n1", "n2", "n3"), leader="n2")
YES = HostAnswer(True, {"gone": True}, began=5)
NO = HostAnswer(False, {}, "there is no server")
NOBODY_KNOWS = HostAnswer(False, {}, "no answer within 20 s", unknown=True)

KILL = Fault(id="f1", kind="kill", at_s=1.0, for_s=2.0, targets="leader")
KILL_TWO = Fault(id="f1", kind="kill", at_s=1.0, for_s=2.0, targets="followers")
FOR_GOOD = Fault(id="f1", kind="pause", at_s=1.0, targets="leader")


def conductor_of(*faults: Fault) -> Conductor:
    return Conductor(Schedule(1, 3, 9.0, 1.0, 5.0, 7.0, faults))


def due(conductor: Conductor, step: str, fault_id: str, view: View = VIEW) -> ToDo:
    entry = next(d for d in conductor.timeline() if d.step == step and d.fault and d.fault.id == fault_id)
    return conductor.due(entry, view)


def answered(conductor: Conductor, answers: Mapping[str, HostAnswer], fault_id: str = "f1") -> ToDo:
    return conductor.answered(fault_id, answers, 2.5)


def said(todo: ToDo) -> list[str]:
    """Each of them in a word or two: `invoke start`, `ok stop`, `send stop`, `retry`."""
    words = []
    for what in todo:
        if isinstance(what, Note):
            words.append(f"{what.type} {what.value['step']}")
        else:
            words.append(f"send {what.step}" if isinstance(what, Dispatch) else "retry")
    return words


def notes(todo: ToDo) -> list[Note]:
    return [what for what in todo if isinstance(what, Note)]


def test_a_fault_is_written_before_it_is_sent() -> None:
    todo = due(conductor_of(KILL), "start", "f1")
    assert said(todo) == ["invoke start", "send start"]
    note, send = todo
    assert isinstance(note, Note)
    assert isinstance(send, Dispatch)
    assert note.value["hosts"] == ["n2"]
    assert send.resolved.hosts == ("n2",)


def test_a_fault_that_hits_nobody_fails_and_is_not_sent() -> None:
    held = View(servers=("n1", "n2"), broken=frozenset(("n1", "n2")))
    conductor = conductor_of(KILL)
    todo = due(conductor, "start", "f1", held)
    assert said(todo) == ["invoke start", "fail start"]
    assert "nobody to hit" in str(notes(todo)[1].error)
    assert due(conductor, "stop", "f1") == []


def test_a_fault_is_in_force_with_the_evidence_of_all_its_hosts() -> None:
    conductor = conductor_of(KILL_TWO)
    due(conductor, "start", "f1")
    [ok] = answered(conductor, {"n1": YES._replace(began=9), "n3": YES})
    assert isinstance(ok, Note)
    assert ok.type == "ok"
    assert ok.value["evidence"] == {"n1": {"gone": True}, "n3": {"gone": True}}
    assert list(ok.value["began"].items()) == [("n3", 5), ("n1", 9)]
    assert ok.value["in_place_ms"] == 2.5


def test_a_fault_that_no_host_did_is_a_failure_with_nothing_to_undo() -> None:
    conductor = conductor_of(KILL_TWO)
    due(conductor, "start", "f1")
    todo = answered(conductor, {"n1": NO, "n3": NO})
    assert said(todo) == ["fail start"]
    assert notes(todo)[0].error == "n1: there is no server; n3: there is no server"
    assert due(conductor, "stop", "f1") == []


@pytest.mark.parametrize("other", [YES, NOBODY_KNOWS])
def test_a_fault_that_came_into_effect_on_one_of_two_hosts_is_info_and_undone_at_once(other: HostAnswer) -> None:
    conductor = conductor_of(KILL_TWO)
    due(conductor, "start", "f1")
    todo = answered(conductor, {"n1": NO, "n3": other})
    assert said(todo) == ["info start", "invoke stop", "send stop"]
    assert said(answered(conductor, {"n1": YES, "n3": YES})) == ["ok stop"]
    assert due(conductor, "stop", "f1") == [], "its own stop has nothing left to do"


def test_the_stop_of_a_fault_whose_halves_are_being_undone_does_not_send_another() -> None:
    conductor = conductor_of(KILL_TWO)
    due(conductor, "start", "f1")
    answered(conductor, {"n1": NO, "n3": YES})
    assert due(conductor, "stop", "f1") == []
    assert said(answered(conductor, {"n1": YES, "n3": YES})) == ["ok stop"]


def test_a_stop_waits_for_the_answers_to_its_own_start() -> None:
    conductor = conductor_of(KILL)
    due(conductor, "start", "f1")
    assert due(conductor, "stop", "f1") == []
    assert said(answered(conductor, {"n2": YES})) == ["ok start", "invoke stop", "send stop"]


def test_a_stop_that_came_before_the_start_had_failed_is_dropped() -> None:
    conductor = conductor_of(KILL)
    due(conductor, "start", "f1")
    due(conductor, "stop", "f1")
    assert said(answered(conductor, {"n2": NO})) == ["fail start"]
    assert conductor.take_back() == []


@pytest.mark.parametrize("refusals", [0, 1, 2])
def test_a_stop_that_does_not_show_is_sent_again_until_it_does(refusals: int) -> None:
    conductor = conductor_of(KILL)
    due(conductor, "start", "f1")
    answered(conductor, {"n2": YES})
    assert said(due(conductor, "stop", "f1")) == ["invoke stop", "send stop"]
    for _ in range(refusals):
        todo = answered(conductor, {"n2": NO})
        assert said(todo) == ["info stop", "retry"]
        assert notes(todo)[0].value["evidence"] == {}
        assert said(conductor.again("f1")) == ["invoke stop", "send stop"]
    assert said(answered(conductor, {"n2": YES})) == ["ok stop"]


def test_a_stop_that_never_shows_is_given_up() -> None:
    conductor = conductor_of(KILL)
    due(conductor, "start", "f1")
    answered(conductor, {"n2": YES})
    todo = due(conductor, "stop", "f1")
    for _ in range(UNDO_TRIES - 1):
        assert said(answered(conductor, {"n2": NO})) == ["info stop", "retry"]
        todo = conductor.again("f1")
    assert said(todo) == ["invoke stop", "send stop"]
    assert said(answered(conductor, {"n2": NO})) == ["info stop"]
    assert conductor.take_back() == []


def test_what_a_fault_for_good_holds_is_broken_from_its_start_to_the_end_of_its_stop() -> None:
    conductor = conductor_of(FOR_GOOD)
    assert conductor.broken == []
    due(conductor, "start", "f1")
    assert conductor.broken == ["n2"]
    answered(conductor, {"n2": YES})
    due(conductor, "stop", "f1")
    assert conductor.broken == ["n2"], "until the host has answered"
    answered(conductor, {"n2": YES})
    assert conductor.broken == []


def test_a_passing_fault_breaks_nobody() -> None:
    conductor = conductor_of(KILL)
    due(conductor, "start", "f1")
    assert conductor.broken == []


def test_a_fault_for_good_that_failed_holds_its_servers_until_its_stop() -> None:
    conductor = conductor_of(FOR_GOOD)
    due(conductor, "start", "f1")
    answered(conductor, {"n2": NO})
    assert conductor.broken == ["n2"]
    assert due(conductor, "stop", "f1") == []
    assert conductor.broken == []


def test_at_the_end_everything_in_force_is_taken_back_once() -> None:
    second = Fault(id="f2", kind="pause", at_s=1.0, for_s=2.0, targets="follower")
    conductor = conductor_of(KILL, second)
    due(conductor, "start", "f1")
    answered(conductor, {"n2": YES})
    [_, send] = due(conductor, "start", "f2")
    assert isinstance(send, Dispatch)
    assert said(conductor.take_back()) == ["invoke stop", "send stop"]
    assert conductor.take_back() == [], "f1 is being stopped, and f2 is not yet in force"
    then = answered(conductor, dict.fromkeys(send.resolved.hosts, YES), "f2")
    assert said(then) == ["ok start", "invoke stop", "send stop"]


def test_a_phase_is_an_op_of_the_controller() -> None:
    assert conductor_of().due(Due(0.0, "phase", phase="calm"), VIEW) == [
        Note("controller", "info", "phase", {"phase": "calm"})
    ]


def test_at_one_instant_first_come_the_stops_then_the_phase_then_the_starts() -> None:
    ends = Fault(id="f1", kind="kill", at_s=0.5, for_s=0.5, targets="leader")
    begins = Fault(id="f2", kind="kill", at_s=1.0, for_s=1.0, targets="leader")
    at_one = [due for due in conductor_of(begins, ends).timeline() if due.at_s == 1.0]
    assert [due.step for due in at_one] == ["stop", "phase", "start"]
    assert [due.fault and due.fault.id for due in at_one] == ["f1", None, "f2"]


def test_the_example_in_its_docstring_is_true() -> None:
    assert doctest.testmod(nemesis.conductor).attempted
    assert not doctest.testmod(nemesis.conductor).failed


ANSWERS = st.sampled_from([YES, YES, YES, NO, NOBODY_KNOWS])


@given(st.data(), st.integers(0, 1000))
def test_whatever_hosts_answer_and_whenever_each_invoke_has_one_end_and_nothing_is_left(
    data: st.DataObject, seed: int
) -> None:
    """The orders under way are answered in any order between what is due, and the schedule may break off anywhere."""
    schedule = draw(seed, 3, 30.0)
    conductor = Conductor(schedule)
    under_way: list[Dispatch | Retry] = []
    open_: dict[str, Note] = {}
    happened: set[str] = set()
    undone: set[str] = set()

    def take(todo: ToDo) -> None:
        for what in todo:
            if not isinstance(what, Note):
                if isinstance(what, Dispatch):
                    assert what.resolved.fault.id in open_, "it is sent, and is not in the history"
                under_way.append(what)
            elif what.process == "nemesis":
                fault_id = what.value["fault"]
                if what.type == "invoke":
                    assert fault_id not in open_
                    open_[fault_id] = what
                    if what.value["step"] == "stop":
                        undone.add(fault_id)
                else:
                    assert open_.pop(fault_id).value["step"] == what.value["step"]
                    if what.value["step"] == "start" and what.type != "fail":
                        happened.add(fault_id)

    def answer_one() -> None:
        number: int = data.draw(st.integers(0, len(under_way) - 1))
        what = under_way.pop(number)
        fault_id = what.resolved.fault.id
        if isinstance(what, Retry):
            take(conductor.again(fault_id))
        else:
            take(conductor.answered(fault_id, {host: data.draw(ANSWERS) for host in what.resolved.hosts}, 1.0))

    timeline = conductor.timeline()
    for entry in timeline[: data.draw(st.integers(0, len(timeline)))]:
        take(conductor.due(entry, View(servers=("n1", "n2", "n3"), leader="n1", broken=frozenset(conductor.broken))))
        for _ in range(data.draw(st.integers(0, len(under_way)))):
            answer_one()
    take(conductor.take_back())
    while under_way:
        answer_one()
    assert not open_
    assert undone == happened
    assert conductor.take_back() == []
