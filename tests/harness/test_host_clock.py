"""Times of a host are mapped to ours within the error bound that is stated (harness/hosts/host_clock.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import HarnessError
from harness.hosts.host_clock import HostClock

MS = 1_000_000


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.tuples(st.integers(0, 200 * MS), st.integers(0, 200 * MS), st.integers(0, 50 * MS)), min_size=1),
    st.floats(-300e-6, 300e-6),
    st.integers(0, 30_000 * MS),
)
def test_the_mapping_of_a_drifting_clock_is_right_within_its_error_bound(
    ahead: int, exchanges: list[tuple[int, int, int]], drift: float, when: int
) -> None:
    """Whatever the ways there and back take, each for itself: the true time is never outside of the bound."""

    def host(ours: int) -> int:
        return ours + ahead + round(drift * ours)

    clock, now = HostClock(), 0
    for there, back, busy in exchanges:
        clock.exchange(now, host(now + there), host(now + there + busy), now + there + busy + back)
        now += there + busy + back + 500 * MS
    ours, error = clock.to_controller_time(host(when))
    whole_ns = 1  # the host's clock shows whole nanoseconds
    assert abs(ours - when) <= error + whole_ns
    theirs, error = clock.to_host_time(when)
    assert abs(theirs - host(when)) <= error + whole_ns


def test_the_mapping_is_as_good_as_the_shortest_way() -> None:
    clock = HostClock()
    clock.exchange(0, 100 * MS, 100 * MS, 200 * MS)
    clock.exchange(1000 * MS, 1001 * MS, 1001 * MS, 1002 * MS)
    assert clock.to_controller_time(1001 * MS)[1] < 2 * MS


def test_a_clock_that_was_never_heard_of_is_no_guess() -> None:
    with pytest.raises(HarnessError, match="before anything was heard"):
        HostClock().to_controller_time(5)
