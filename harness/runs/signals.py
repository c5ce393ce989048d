"""Signals while a block of the controller's code lasts: who hears them, and that the former handlers come back.

with handled((signal.SIGTERM, signal.SIGHUP), interrupt):
    ...                                               # both end it as Ctrl-C does
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a command: Ctrl-C, `kill`, and a terminal that is closed."""


@contextlib.contextmanager
def handled(numbers: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """While this lasts, `handler` is called for these signals.  Outside of the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def interrupt(number: int, _: FrameType | None) -> None:
    """A handler: ends what runs as Ctrl-C does."""
    raise KeyboardInterrupt(f"interrupted by {signal.Signals(number).name}")
