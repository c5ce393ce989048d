"""A server's clock, bent without touching the host's: libfaketime and its timestamp file.

The model.  The server is started with libfaketime before it and reads its clocks, wall and monotonic, through it.  A
*bend* is a straight line: from the true time `since` on, the clock is ahead by `lead` and runs `rate` seconds to a true
second.  The file holds the bend in force; the library reads it at each look at the clock.

What libfaketime 0.9.10 does was found by experiment (with Python's asyncio and with a JVM), and its source:

*   The file `+<offset> x<rate>` means  start + offset + (true - start) * rate,  where `start` is when the library was
    loaded.  It lies in shared memory that the library maps, and is read from there through /proc/<pid>/mem; so a change
    of rate makes no jump.  Sleeps and the time-outs of poll, epoll and condition variables are scaled by 1/rate.
*   An absolute time freezes both clocks (`FAKETIME_FMT=%s`: seconds since 1970).  Time-outs then pass in true time, but
    nothing is ever due.  A rate of 0 would instead turn every time-out into one without end, also after the healing.
*   CLOCK_MONOTONIC is faked from the same line, so it counts from 1970 for the server, and leaps with the wall clock.
    `FAKETIME_DONT_FAKE_MONOTONIC` is looked at in the server's environment only: it is chosen when the server starts.
*   `FAKETIME_NO_CACHE` is needed, or a change is seen only after 10 s.
*   A process that sleeps in epoll does not notice a change until it wakes.  SIGSTOP and SIGCONT, one after the other,
    wake it (signal(7): epoll_wait ends with EINTR); Python then works out anew how long it has to sleep.  A JVM's
    condition variables are not woken: they notice at their next time-out.

The rules:

1.  A clock never runs backwards, for no kernel's monotonic clock does: it jumps ahead, stands still, runs slow or fast.
    At the end of a fault a clock that is behind leaps to where it was ahead before, and one that has got ahead stays so
    until the server starts again.  (A server started with `"clock": "wall"` has a true monotonic clock; its wall clock
    may jump back too, and goes back to true time at the end.)
2.  The file is replaced in one rename.
3.  A change counts when a reading of the clock, the server's own or that of a probe under the same library, file and
    start, shows lead and rate.
"""

from __future__ import annotations

import json
import os
import select
import struct
import subprocess
import sys
import time
from typing import Any, Dict, Generator, List, NamedTuple, Optional

from nemesis.injector.abilities import faketime_library
from nemesis.injector.errors import Refused

SECOND = 1_000_000_000


class Bend(NamedTuple):
    """From the true wall time `since` on the clock is `lead` ahead, and gains (rate - 1) for every second.
    Nanoseconds."""

    since: int
    lead: int
    rate: float

    def lead_at(self, now: int) -> int:
        return self.lead + round((now - self.since) * (self.rate - 1))

    def text(self, start: int) -> str:
        """What the timestamp file holds; `start` is the library's."""
        if self.rate == 0:
            return "%.9f\n" % ((self.since + self.lead) / SECOND)
        offset = self.since + self.lead - start - round((self.since - start) * self.rate)
        return "%s%d.%09d x%.6f\n" % ("-" if offset < 0 else "+", *divmod(abs(offset), SECOND), self.rate)


TRUE = Bend(0, 0, 1.0)


def replace_file(path: str, text: str) -> None:
    with open(path + ".new", "w", encoding="ascii") as stream:
        stream.write(text)
    os.rename(path + ".new", path)


class FakeClock:
    """One server's clock: the faults that bend it, the latest of them in force."""

    def __init__(self, path: str, mode: str) -> None:
        self.path = path
        self.mode = mode  # "monotonic" (both clocks are bent) or "wall"
        self.start: Optional[int] = None
        self.bend = TRUE
        self.level = 0  # the lead that stays when no fault bends the clock
        self.faults: Dict[str, Dict[str, Any]] = {}
        self.write()

    def environment(self) -> Dict[str, str]:
        """What the server needs to be started with.  Raises Refused."""
        path = faketime_library()
        if path is None:
            raise Refused("libfaketime is not installed on this host: apt install faketime")
        environment = {
            "LD_PRELOAD": path,
            "FAKETIME_TIMESTAMP_FILE": self.path,
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_FMT": "%s",
        }
        if self.mode == "wall":
            environment["FAKETIME_DONT_FAKE_MONOTONIC"] = "1"
        return environment

    def started(self, start: Optional[int]) -> None:
        """A server process is up, and its library was loaded at `start`: from now on the faults in force bend it."""
        self.start = start
        self.bend = Bend(time.time_ns(), 0, self._rate())
        self.write()

    def reset(self) -> None:
        """Before a server process starts: a new process's clock may start true, whatever the last one's was."""
        self.start = None
        self.level = 0
        self.bend = TRUE
        replace_file(self.path, "+0.000000000 x1.000000\n")

    def set(self, fault_id: str, change: Dict[str, Any]) -> None:
        """Begin a fault.  Raises Refused."""
        check_change(change, self.mode)
        now, before = time.time_ns(), (self.bend, self.level)
        if change["change"] == "jump":
            leap = round(change["offset_ms"] * 1e6)
            self.level += leap
            self.bend = Bend(now, self.bend.lead_at(now) + leap, self.bend.rate)
        else:
            self.bend = Bend(now, self.bend.lead_at(now), change["rate"] if change["change"] == "skew" else 0.0)
        try:
            self.write()
        except OSError:
            self.bend, self.level = before
            raise
        self.faults[fault_id] = change

    def undo(self, fault_id: str) -> None:
        """End a fault; the latest of those that are left, if any, is in force."""
        change = self.faults.pop(fault_id, None)
        if change is None:
            return
        now = time.time_ns()
        lead = self.bend.lead_at(now)
        if self.mode == "wall" and change["change"] == "jump":
            self.level -= round(change["offset_ms"] * 1e6)
        if self._lasting():
            self.bend = Bend(now, lead, self._rate())
        else:
            self.level = self.level if self.mode == "wall" else max(self.level, lead)
            self.bend = Bend(now, self.level, 1.0)
        self.write()

    def leap(self) -> None:
        """A strobing clock comes up to where it would be, and stands still again."""
        self.bend = Bend(time.time_ns(), max(self.level, self.bend.lead_at(time.time_ns())), 0.0)
        self.write()

    def strobe_ms(self) -> Optional[float]:
        """How long the clock stands still before it leaps, if a strobe is in force."""
        lasting = self._lasting()
        return lasting[-1]["period_ms"] if lasting and lasting[-1]["change"] == "strobe" else None

    def _lasting(self) -> List[Dict[str, Any]]:
        """The changes in force that change the rate; a jump is over as soon as it is done."""
        return [change for change in self.faults.values() if change["change"] != "jump"]

    def _rate(self) -> float:
        lasting = self._lasting()
        if not lasting:
            return 1.0
        return float(lasting[-1]["rate"]) if lasting[-1]["change"] == "skew" else 0.0

    def write(self) -> None:
        # Before the library's start is known only a rate of 1 can be written without a jump.
        bend = self.bend if self.start is not None or self.bend.rate in (0, 1) else self.bend._replace(rate=1.0)
        replace_file(self.path, bend.text(self.start or 0))

    def to_guardian(self) -> Dict[str, Any]:
        return {"path": self.path, "bend": list(self.bend), "start": self.start, "level": self.level, "mode": self.mode}


def heal_file(state: Dict[str, Any]) -> None:
    """For the guardian: let the clock run on ordinarily."""
    now = time.time_ns()
    lead = Bend(*state["bend"]).lead_at(now)
    level = state["level"] if state["mode"] == "wall" else max(state["level"], lead)
    replace_file(state["path"], Bend(now, level, 1.0).text(state["start"] or 0))


def check_change(change: Dict[str, Any], mode: str) -> None:
    """Raises Refused."""
    bounds = {"jump": ("offset_ms", 1, 86_400_000), "skew": ("rate", 0.5, 10), "strobe": ("period_ms", 10, 10_000)}
    name = change.get("change")
    if name == "freeze":
        return
    if name not in bounds:
        raise Refused("change: %r is none of jump, skew, strobe, freeze" % (name,))
    field, low, high = bounds[name]
    value = change.get(field)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Refused("a %s of the clock needs %s, a number" % (name, field))
    if name == "jump" and value < 0 and mode == "wall":
        value = -value
    if not low <= value <= high:
        back = "; a monotonic clock cannot go backwards" if name == "jump" and value < 0 else ""
        raise Refused("%s: %g is not from %g to %g%s" % (field, value, low, high, back))


def library_start(pid: int) -> Optional[int]:
    """When libfaketime was loaded into the process (true wall time, ns); None if it is not (yet).

    The library keeps it in a shared mapping, `struct ft_shared_s`: ticks, file index, then the start on the wall clock.
    The file behind the mapping is cut at 8 bytes (the library sizes it so), so it is read from the process's memory.
    """
    try:
        with open("/proc/%d/maps" % pid, encoding="utf-8", errors="replace") as maps:
            address = next((int(line.split("-")[0], 16) for line in maps if "faketime_shm" in line), None)
        if address is None:
            return None
        with open("/proc/%d/mem" % pid, "rb", buffering=0) as memory:
            memory.seek(address)
            _, _, seconds, nanoseconds = struct.unpack("<QQqq", memory.read(32))
    except (OSError, struct.error):
        return None
    # The mapping is there before the library has written its start: a line drawn from 1970 would lead by years.
    return seconds * SECOND + nanoseconds if seconds > 0 else None


# ---- reading the clock back ----------------------------------------------------------------------------------------


class Reading(NamedTuple):
    """What the server's clocks said between two true instants, all in nanoseconds."""

    before: int
    after: int
    wall: int
    monotonic: int


_PROBE = """
import json, sys, time
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps({"wall_ns": time.time_ns(), "monotonic_ns": time.monotonic_ns()}), flush=True)
"""


def probe(clock: FakeClock, pid: int, gap_s: float) -> Generator[float, None, List[Reading]]:
    """Two readings by a process of our own under the server's library, file and start.  Yields seconds to wait."""
    environment = dict(os.environ, **clock.environment())
    environment["FAKETIME_SHARED"] = "/faketime_sem_%d /faketime_shm_%d" % (pid, pid)
    process = subprocess.Popen(
        [sys.executable, "-S", "-E", "-c", _PROBE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    readings: List[Reading] = []
    try:
        until = time.monotonic() + 5
        yield from _line_of(process.stdout.fileno(), until)
        for gap in (0.0, gap_s):
            yield gap
            before = time.time_ns()
            process.stdin.write(b"\n")
            process.stdin.flush()
            said = json.loads((yield from _line_of(process.stdout.fileno(), until)))
            readings.append(Reading(before, time.time_ns(), said["wall_ns"], said["monotonic_ns"]))
    except (OSError, ValueError) as error:
        raise Refused("the clock's probe failed: %s" % error) from None
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    return readings


def _line_of(descriptor: int, until: float) -> Generator[float, None, bytes]:
    text = b""
    while not text.endswith(b"\n"):
        if select.select([descriptor], [], [], 0)[0]:
            chunk = os.read(descriptor, 4096)
            if not chunk:
                raise OSError("it ended")
            text += chunk
        elif time.monotonic() > until:
            raise OSError("it did not answer")
        else:
            yield 0.001
    return text


def judge(readings: List[Reading], clock: FakeClock, by: str) -> Dict[str, Any]:
    """The evidence of two readings.  Raises Refused when they do not show the bend that is in force.

    A strobing clock leaps between readings, so: it is judged by standing
    still.
    """
    first, second = readings
    true_gap = (second.before + second.after - first.before - first.after) / 2
    rate = (second.wall - first.wall) / true_gap
    steep = max(1.0, clock.bend.rate)  # how much of the clock's time goes by in the blur of a reading
    lead = second.wall - (second.before + second.after) // 2
    blur = steep * (first.after - first.before + second.after - second.before) / 2 + 1e6 * steep
    evidence = {
        "by": by,
        "lead_ms": round(lead / 1e6, 3),
        "lead_error_ms": round((second.after - second.before) / 2e6 + 0.001, 3),
        "rate": round(rate, 4),
        "rate_error": round(blur / true_gap, 4),
        "monotonic_rate": round((second.monotonic - first.monotonic) / true_gap, 4),
    }
    strobe_ms = clock.strobe_ms()
    if strobe_ms is not None:
        behind_ms = (clock.level - lead) / 1e6
        if not -blur / 1e6 - 20 <= behind_ms <= strobe_ms + blur / 1e6 + 100:
            raise Refused("the strobing clock is %.3f ms behind, more than its period" % behind_ms)
    else:
        expected = clock.bend.lead_at((second.before + second.after) // 2)
        if abs(lead - expected) > blur + 20e6:
            raise Refused("the clock reads %.3f ms ahead, not %.3f ms" % (lead / 1e6, expected / 1e6))
        if abs(rate - clock.bend.rate) > blur / true_gap + 0.02:
            raise Refused("the clock runs at the rate %.3f, not %.3f" % (rate, clock.bend.rate))
    return evidence
