"""A process of a pool that runs seeds; it imports nothing of the simulator before it has chosen how to run it."""

from __future__ import annotations

import gc
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process

from harness.simulator import compiled


def make_processes(jobs: int) -> ProcessPoolExecutor:
    """A pool of so many.

    Processes are not replaced after so many batches: memory is flat over seeds (tests/benchmarks), and a pool that
    replaces its processes may wait for ever for the last ones (python/cpython#115634).
    """
    return ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_prepare)


def _prepare() -> None:
    """Ctrl-C is for the campaign, whose death is ours too; and what is loaded by now is no garbage, ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    compiled.use()
    from harness.simulator import run  # noqa: F401 - so that it is loaded by now

    gc.collect()
    gc.freeze()


def _die_with_parent() -> None:
    """Without this a worker of a campaign that was killed waits for its next batch for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
