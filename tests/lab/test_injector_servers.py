"""Faults of servers: killed, stopped, paused, and their clocks bent (nemesis/injector/processes.py and clocks.py)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from tests.lab.injected import DEADLINE_S, DIRECTORY, RUNNING, Ensemble, ensemble, wait_for

IDLE = "import time\nprint('up')\nwhile True: time.sleep(60)"

# Answers `clck` as a server does, and writes its clocks down as asyncio's timers come due, with any step backwards and
# with the true time, which libfaketime does not bend where it is read from a file.
CLOCKS = """
import asyncio, json, time
async def answer(reader, writer):
    await reader.readexactly(4)
    writer.write(json.dumps({"wall_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()}).encode())
    await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(answer, "127.0.0.1", 7100)
    last = (0, 0)
    while True:
        now = (time.time_ns(), time.monotonic_ns())
        back = now[0] < last[0] or now[1] < last[1]
        with open("/proc/uptime") as file:
            true_s = float(file.read().split()[0])
        print(json.dumps({"back": back, "wall": now[0], "monotonic": now[1], "true_s": true_s}), flush=True)
        last = now
        await asyncio.sleep(0.05)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def one() -> Iterator[Ensemble]:
    with ensemble(1) as hosts:
        yield hosts


@pytest.fixture(autouse=True)
def ended(one: Ensemble) -> Iterator[None]:
    yield
    one.ask("n1", "undo-all")
    one.injectors["n1"].request("stop", DEADLINE_S, how="kill")
    one.sh("n1", f"rm -f {DIRECTORY}/out {DIRECTORY}/err")
    assert one.sh("n1", "ls /dev/shm") == "", "libfaketime's shared memory is not left behind"


def stopped(one: Ensemble, pid: int) -> dict[str, Any]:
    """The event that says how the process ended."""
    found: dict[str, Any] = wait_for(
        lambda: next((event for event in one.seen.named("n1", "stopped") if event["pid"] == pid), None), "it is told"
    )
    return found


# ---- down ----


def test_a_killed_server_is_gone_and_is_started_again_when_the_fault_is_over(one: Ensemble) -> None:
    pid = one.start("n1", IDLE)
    assert one.state("n1", pid) in RUNNING
    verified = one.ask("n1", "kill", fault="f1", how="kill")
    assert (verified["pid"], verified["gone"], verified["code"]) == (pid, True, -9)
    assert one.state("n1", pid) == ""
    assert stopped(one, pid)["how"] == "signal"
    again = one.ask("n1", "undo", fault="f1")["pid"]
    assert again != pid
    assert one.state("n1", again) in RUNNING


def test_a_server_killed_by_two_faults_comes_back_when_both_are_over(one: Ensemble) -> None:
    one.start("n1", IDLE)
    one.ask("n1", "kill", fault="f1")
    assert one.ask("n1", "kill", fault="f2") == {"pid": None, "already": True}
    assert one.ask("n1", "undo", fault="f1")["held_down_by"] == ["f2"]
    assert one.ask("n1", "status")["servers"]["server"]["pid"] is None
    assert one.ask("n1", "undo", fault="f2")["pid"] is not None


def test_a_stopped_server_may_say_goodbye_and_one_that_does_not_go_is_killed(one: Ensemble) -> None:
    polite = (
        "import signal, sys, time\nsignal.signal(15, lambda *_: sys.exit(7))\nprint('up')\nwhile True: time.sleep(60)"
    )
    pid = one.start("n1", polite)
    wait_for(lambda: one.sh("n1", f"cat {DIRECTORY}/out"), "the handler is there")
    assert one.ask("n1", "kill", fault="f1", how="stop")["code"] == 7
    assert stopped(one, pid)["how"] == "exit"
    assert stopped(one, pid)["asked"] == "stop"
    one.ask("n1", "undo", fault="f1")
    one.ask("n1", "stop")
    rude = "import signal, time\nsignal.signal(15, signal.SIG_IGN)\nprint('rude')\nwhile True: time.sleep(60)"
    one.start("n1", rude, stop_s=0.3)
    wait_for(lambda: "rude" in one.sh("n1", f"cat {DIRECTORY}/out"), "the signal is ignored")
    verified = one.ask("n1", "kill", fault="f2", how="stop")
    assert (verified["code"], verified["killed_after_stop"]) == (-9, True)


def test_an_end_that_nobody_asked_for_is_told(one: Ensemble) -> None:
    pid = one.start("n1", "import sys, time; time.sleep(0.3); sys.exit(3)")
    event = stopped(one, pid)
    assert (event["how"], event["code"], event["asked"]) == ("exit", 3, None)


def test_a_server_that_cannot_be_started_is_refused_with_the_reason(one: Ensemble) -> None:
    error = one.refused("n1", "start", server={"argv": ["/nowhere/java"]})
    assert "No such file or directory: '/nowhere/java'" in error
    assert "argv: has to be a list of words" in one.refused("n1", "start", server={"argv": "java"})
    assert "clock: 'sundial' is none of" in one.refused("n1", "start", server={"argv": ["true"], "clock": "sundial"})


# ---- paused ----


def test_a_paused_server_is_stopped_with_every_thread_and_goes_on_afterwards(one: Ensemble) -> None:
    pid = one.start("n1", "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n" + IDLE)
    wait_for(lambda: one.sh("n1", f"ls /proc/{pid}/task | wc -l") == "2", "two threads")
    assert one.ask("n1", "pause", fault="f1") == {"pid": pid, "states": ["T"]}
    assert set(one.sh("n1", f"cut -d' ' -f3 /proc/{pid}/task/*/stat").split()) == {"T"}
    assert "T" not in one.ask("n1", "undo", fault="f1")["states"]
    assert one.state("n1", pid) in RUNNING


def test_a_server_paused_by_two_faults_goes_on_when_both_are_over(one: Ensemble) -> None:
    pid = one.start("n1", IDLE)
    one.ask("n1", "pause", fault="f1")
    one.ask("n1", "pause", fault="f2")
    assert one.ask("n1", "undo", fault="f1")["held_paused_by"] == ["f2"]
    assert one.state("n1", pid) == "T"
    one.ask("n1", "undo", fault="f2")
    assert one.state("n1", pid) in RUNNING


def test_a_paused_server_can_be_killed_and_comes_back_paused(one: Ensemble) -> None:
    pid = one.start("n1", IDLE)
    one.ask("n1", "pause", fault="f1")
    one.ask("n1", "kill", fault="f2")
    assert one.state("n1", pid) == ""
    again = one.ask("n1", "undo", fault="f2")
    assert again["paused"]
    assert one.state("n1", again["pid"]) == "T"
    one.ask("n1", "undo", fault="f1")
    assert one.state("n1", again["pid"]) in RUNNING


# ---- clocks ----


@pytest.fixture(params=["clck", "probe"])
def clocked(one: Ensemble, request: pytest.FixtureRequest) -> Ensemble:
    """A server whose clock is bent; asked by its own word, or by a probe beside it."""
    asked = {"clck": ["127.0.0.1", 7100]} if request.param == "clck" else {}
    one.start("n1", CLOCKS, clock="monotonic", **asked)
    written(one)
    return one


def written(one: Ensemble) -> list[dict[str, Any]]:
    """What the server has written of its clocks, at least one line of it just now."""
    count = len(_lines(one))
    wait_for(lambda: len(_lines(one)) > count, "the server writes its clocks")
    return _lines(one)


def _lines(one: Ensemble) -> list[dict[str, Any]]:
    text = one.sh("n1", f"cat {DIRECTORY}/out 2>/dev/null || true")
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def rate(one: Ensemble) -> float:
    """How many seconds of the server's wall clock there are to a true one, by what it writes for a second or more."""
    before = written(one)[-1]
    later = before["true_s"] + 1.0
    after = wait_for(lambda: next((line for line in _lines(one) if line["true_s"] >= later), None), "a second goes by")
    return float((after["wall"] - before["wall"]) / 1e9 / (after["true_s"] - before["true_s"]))


def still(one: Ensemble) -> list[dict[str, Any]]:
    """What the server has written once it writes no more: a timer that was under way when it froze may come due."""

    def unchanged() -> list[dict[str, Any]]:
        lines = _lines(one)
        time.sleep(0.3)
        return lines if _lines(one) == lines else []

    found: list[dict[str, Any]] = wait_for(unchanged, "the server writes no more")
    return found


def leads_by(ms: float, verified: dict[str, Any]) -> bool:
    """Whether it was seen to, within the error of the looking."""
    return bool(verified["lead_ms"] == pytest.approx(ms, abs=30 + verified["lead_error_ms"]))


def ahead_s(one: Ensemble) -> float:
    """How far the server's wall clock is ahead of the host's, by what it wrote last."""
    wall = written(one)[-1]["wall"]
    return float((wall - int(one.sh("n1", "date +%s%N"))) / 1e9)


def test_a_clock_that_jumps_is_ahead_and_the_hosts_is_not(clocked: Ensemble) -> None:
    verified = clocked.ask("n1", "clock", fault="f1", change="jump", offset_ms=600_000)
    assert leads_by(600_000, verified)
    assert 595 < ahead_s(clocked) < 605
    assert abs(int(clocked.sh("n1", "date +%s%N")) - time.time_ns()) < 5e9
    verified = clocked.ask("n1", "undo", fault="f1")["clock"]
    assert verified["rate"] == pytest.approx(1, abs=verified["rate_error"] + 0.02)
    assert not any(line["back"] for line in written(clocked)), "no kernel's monotonic clock runs backwards"


def test_a_skewed_clock_gains_at_its_rate_without_a_jump(clocked: Ensemble) -> None:
    verified = clocked.ask("n1", "clock", fault="f1", change="skew", rate=4.0)
    assert verified["rate"] == pytest.approx(4, abs=verified["rate_error"] + 0.02)
    assert verified["monotonic_rate"] == pytest.approx(4, abs=verified["rate_error"] + 0.02)
    assert 0 < verified["lead_ms"] < 5000, "it did not jump"
    assert 3 < rate(clocked) < 5
    clocked.ask("n1", "undo", fault="f1")
    assert not any(line["back"] for line in written(clocked))


def test_a_slow_clock_leaps_to_true_time_when_the_fault_is_over(clocked: Ensemble) -> None:
    verified = clocked.ask("n1", "clock", fault="f1", change="skew", rate=0.5)
    assert verified["rate"] == pytest.approx(0.5, abs=verified["rate_error"] + 0.02)
    time.sleep(1.0)
    assert ahead_s(clocked) < -0.3
    verified = clocked.ask("n1", "undo", fault="f1")["clock"]
    assert leads_by(0, verified)
    assert not any(line["back"] for line in written(clocked))


def test_a_frozen_clock_stands_still_and_no_timer_comes_due_until_the_fault_is_over(clocked: Ensemble) -> None:
    verified = clocked.ask("n1", "clock", fault="f1", change="freeze")
    assert verified["rate"] == 0
    assert verified["monotonic_rate"] == 0
    before = still(clocked)
    time.sleep(0.7)
    assert _lines(clocked) == before
    clocked.ask("n1", "undo", fault="f1")
    after = written(clocked)
    assert after[-1]["monotonic"] - before[-1]["monotonic"] > 0.6e9, "it leapt over the time that it slept through"
    assert not any(line["back"] for line in after)


def test_a_strobing_clock_stands_still_and_leaps(clocked: Ensemble) -> None:
    verified = clocked.ask("n1", "clock", fault="f1", change="strobe", period_ms=300)
    error_ms = verified["lead_error_ms"]
    assert -450 - error_ms < verified["lead_ms"] < 30 + error_ms

    def longest_step_ns() -> int:
        return int(max((after["wall"] - before["wall"] for before, after in pairwise(_lines(clocked))), default=0))

    wait_for(lambda: longest_step_ns() > 0.2e9, "it leaps by about its period")
    verified = clocked.ask("n1", "undo", fault="f1")["clock"]
    assert leads_by(0, verified)
    assert not any(line["back"] for line in written(clocked))


def test_a_server_that_sleeps_is_woken_to_see_that_its_timer_came_due_in_the_jump(one: Ensemble) -> None:
    sleeper = """
import asyncio
async def main():
    asyncio.get_running_loop().call_later(0.2, print, "asleep")
    await asyncio.sleep(40)
    print("woke")
asyncio.run(main())
"""
    one.start("n1", sleeper, clock="monotonic")
    wait_for(lambda: "asleep" in one.sh("n1", f"cat {DIRECTORY}/out"), "it sleeps")
    one.ask("n1", "clock", fault="f1", change="jump", offset_ms=50_000)
    wait_for(lambda: "woke" in one.sh("n1", f"cat {DIRECTORY}/out"), "it woke", deadline_s=20)


def test_of_two_bends_the_latest_holds_and_then_the_other(clocked: Ensemble) -> None:
    clocked.ask("n1", "clock", fault="f1", change="skew", rate=2.0)
    assert clocked.ask("n1", "clock", fault="f2", change="freeze")["rate"] == 0
    verified = clocked.ask("n1", "undo", fault="f2")["clock"]
    assert verified["rate"] == pytest.approx(2, abs=verified["rate_error"] + 0.02)
    verified = clocked.ask("n1", "undo", fault="f1")["clock"]
    assert verified["rate"] == pytest.approx(1, abs=verified["rate_error"] + 0.02)


def test_a_bend_holds_over_a_restart_of_the_server(clocked: Ensemble) -> None:
    clocked.ask("n1", "clock", fault="f1", change="skew", rate=3.0)
    clocked.ask("n1", "kill", fault="f2")
    clocked.ask("n1", "undo", fault="f2")
    assert 2.2 < rate(clocked) < 3.8


def test_a_wall_clock_alone_may_jump_back_and_leaves_the_monotonic_one(one: Ensemble) -> None:
    one.start("n1", CLOCKS, clock="wall", clck=["127.0.0.1", 7100])
    written(one)
    verified = one.ask("n1", "clock", fault="f1", change="jump", offset_ms=-60_000)
    assert leads_by(-60_000, verified)
    assert leads_by(0, one.ask("n1", "undo", fault="f1")["clock"])
    monotonic = [line["monotonic"] for line in written(one)]
    assert monotonic == sorted(monotonic)
    assert monotonic[-1] - monotonic[0] < 60e9


def test_a_monotonic_clock_cannot_be_asked_to_go_back_and_a_server_without_a_bent_clock_has_none(one: Ensemble) -> None:
    one.start("n1", CLOCKS, clock="monotonic")
    assert "cannot go backwards" in one.refused("n1", "clock", fault="f1", change="jump", offset_ms=-1000)
    assert "none of jump, skew" in one.refused("n1", "clock", fault="f1", change="melt")
    assert "needs rate" in one.refused("n1", "clock", fault="f1", change="skew")
    one.ask("n1", "stop")
    one.start("n1", IDLE)
    assert "not started with a clock" in one.refused("n1", "clock", fault="f1", change="freeze")


def test_clock_faults_that_begin_and_end_at_the_same_time_are_all_verified(clocked: Ensemble) -> None:
    """A fault that bends the clock between two readings of another makes them show a rate that nobody asked for."""
    freeze: dict[str, Any] = {"do": "clock", "change": "freeze"}
    jump: dict[str, Any] = {"do": "clock", "change": "jump", "offset_ms": 5000}
    undo: dict[str, Any] = {"do": "undo"}
    with ThreadPoolExecutor() as pool:
        for gap_s in (0.0, 0.02, 0.04, 0.06):
            for orders in ((freeze, jump), (undo, undo), (jump, freeze), (undo, undo)):
                asked = []
                for fault, order in zip(("f1", "f2"), orders, strict=True):
                    asked.append(pool.submit(clocked.ask, "n1", fault=fault, **order))
                    time.sleep(gap_s)
                assert all(answer.result(2 * DEADLINE_S) for answer in asked)


def test_a_server_that_is_started_while_its_pause_ends_is_up_and_running(clocked: Ensemble) -> None:
    """The start waits for it to stand still, and the pause's end wakes it."""
    with ThreadPoolExecutor() as pool:
        for gap_s in (0.0, 0.01, 0.02, 0.04, 0.06, 0.08):
            clocked.ask("n1", "pause", fault="f1")
            clocked.ask("n1", "kill", fault="f2")
            asked = []
            for fault in ("f2", "f1"):
                asked.append(pool.submit(clocked.ask, "n1", "undo", fault=fault))
                time.sleep(gap_s)
            assert all(answer.result(2 * DEADLINE_S) for answer in asked)
            written(clocked)
