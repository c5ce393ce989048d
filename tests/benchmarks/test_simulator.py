"""How fast simulated time goes by, whether memory stays flat, and what an election costs as the ensemble grows."""

from __future__ import annotations

import gc
import statistics
import time
from pathlib import Path

import pytest

from harness.simulator.clock import SECOND
from harness.simulator.knobs import Knobs
from harness.simulator.run import simulate
from tests.harness.simulated import Ensemble

SIMULATED_S_A_S = 1000
SEEDS = 60

MEMORY_SEEDS = 300
GROWTH_MAX_MB = 4.0

SIZES = (3, 5, 7, 9, 15, 25, 35, 51)
ELECTIONS = 3


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_a_night_passes_in_half_a_minute() -> None:
    simulate(SEEDS)  # what is imported and cached is there now
    gc.collect()
    gc.freeze()
    took_s = simulated = 0.0
    steps = messages = 0
    try:
        for seed in range(SEEDS):
            began = time.process_time()
            run = simulate(seed)
            took_s += time.process_time() - began
            simulated += run.seconds
            steps, messages = steps + run.steps, messages + run.messages
    finally:
        gc.unfreeze()
    a_second = simulated / took_s
    print(
        f"\nfive servers, {SEEDS} seeds of default chaos: {a_second:.0f} simulated seconds a second of one core "
        f"({1000 * took_s / SEEDS:.0f} ms a seed, {1e6 * took_s / steps:.1f} us a step, {steps / simulated:.0f} steps "
        f"and {messages / simulated:.0f} messages a simulated second); a night of 8 h in {8 * 3600 / a_second:.0f} s"
    )
    assert a_second >= SIMULATED_S_A_S


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_memory_stays_flat_over_hundreds_of_seeds() -> None:
    def megabytes() -> float:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

    for seed in range(40):
        simulate(seed)
    seen = [megabytes()]
    for seed in range(40, 40 + MEMORY_SEEDS):
        simulate(seed)
        if seed % 50 == 39:
            seen.append(megabytes())
    print(f"\nresident memory over {MEMORY_SEEDS} seeds, every 50: " + ", ".join(f"{mb:.1f}" for mb in seen) + " MB")
    assert max(seen) - seen[0] < GROWTH_MAX_MB


@pytest.mark.benchmark
@pytest.mark.timeout(900)
def test_what_an_election_costs_against_the_size_of_the_ensemble() -> None:
    print("\nservers  messages  per pair  until a leader serves (ms)  until all follow (ms)  core time (ms)")
    messages_of, served_of = {}, {}
    for size in SIZES:
        messages, served, followed, core = [], [], [], []
        for seed in range(ELECTIONS):
            ensemble = Ensemble(size, Knobs(delay=500_000), seed)
            leader = ensemble.settle()
            ensemble.run(1)
            before, killed_at, began = ensemble.world.network.messages, ensemble.world.now, time.process_time()
            ensemble.world.kill(ensemble.process(leader))
            left = [name for name in ensemble.world.hosts if name != leader]
            ensemble.until(lambda e=ensemble, k=killed_at: any(  # type: ignore[misc]
                at > k and f == "state" and value["role"] == "LEADING" and value["phase"] == "broadcast"
                for at, _, f, value in e.reports[-200:]
            ))  # fmt: skip
            served.append((ensemble.world.now - killed_at) / SECOND * 1000)
            ensemble.until(lambda e=ensemble, names=left: e.observer.converged(names))  # type: ignore[misc]
            followed.append((ensemble.world.now - killed_at) / SECOND * 1000)
            messages.append(ensemble.world.network.messages - before)
            core.append((time.process_time() - began) * 1000)
        messages_of[size], served_of[size] = statistics.median(messages), statistics.median(served)
        pairs = size * (size - 1)
        print(
            f"{size:7d}  {messages_of[size]:8.0f}  {messages_of[size] / pairs:8.1f}  {served_of[size]:26.0f}"
            f"  {statistics.median(followed):21.0f}  {statistics.median(core):14.0f}"
        )
    # Everybody tells everybody, a bounded number of times; and time does not grow with the ensemble, but for the waits.
    per_pair = {size: count / (size * (size - 1)) for size, count in messages_of.items()}
    assert per_pair[51] < 3 * per_pair[5]
    assert served_of[51] < 3 * served_of[5]
