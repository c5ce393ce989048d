"""Who gets the one thread, and for how long: work that came from outside, in bounded turns and fairly.

The model.  A source of work (a connection) has a queue of its own.  While it holds anything, the source is *ready*.  A
turn gives the ready sources one piece of work each, in rotation, until `TURN_S` is over; then everything else that the
event loop has to do comes first, timers and other sockets, and after that the next turn.

1.  A source with 10,000 pieces of work delays one with a single piece by one piece, not by 10,000.
2.  A turn is over `TURN_S` after it began, or one piece of work later.
3.  What pieces of work leave to be done together is done at the end of their turn (`ended`): see `Agent.settle`.

Example: connections 2 and 4 hold requests a, b, c and d.

    turns.ready(two); turns.ready(four)   ->  a, d, b, c
"""

from __future__ import annotations

import asyncio
import time
from typing import Callable, Dict, Protocol

TURN_S = 0.005
"""Far below the shortest tick, and long enough for a hundred small requests."""


class Source(Protocol):
    def work(self) -> bool:
        """Does one piece of work; whether there is more that can be done now."""


class Turns:
    """A rotation of sources.  `began` and `ended` are called around each turn."""

    def __init__(self, began: Callable[[], None] = lambda: None, ended: Callable[[], None] = lambda: None) -> None:
        self._began = began
        self._ended = ended
        self._ready: Dict[Source, None] = {}
        self._due = False

    def ready(self, source: Source) -> None:
        """`source` has work to do."""
        self._ready.setdefault(source)
        self._call()

    def forget(self, source: Source) -> None:
        self._ready.pop(source, None)

    def _call(self) -> None:
        if self._ready and not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._turn)

    def _turn(self) -> None:
        self._due = False
        end = time.monotonic() + TURN_S
        self._began()
        try:
            while self._ready:
                source = next(iter(self._ready))
                del self._ready[source]
                if source.work():
                    self._ready.setdefault(source)
                if time.monotonic() >= end:
                    break
        finally:
            self._ended()
        self._call()
