"""Addresses of loopback that nobody else uses: no other test process, and no other copy of the suite.

A port that was free a moment ago may be taken by the time that a server listens on it.  So each test process claims a
part of 127.0.0.0/8, in which its servers listen on whatever ports they like:

    network()       # "127.93.0": servers may listen on 127.93.0.1 and so on
    network()       # "127.93.1"

The claim is a socket that listens on the last address of that part.  It ends with the process.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import random
import socket

_CLAIM_PORT = 22180
_TRIES = 1000
_NETWORKS = 250

_numbers = itertools.count()


def network() -> str:
    """The first three numbers of addresses that are this process's alone; others at each call, for 250 calls."""
    part, _ = _claim()
    return f"{part}.{next(_numbers) % _NETWORKS}"


@functools.cache
def _claim() -> tuple[str, socket.socket]:
    chance = random.SystemRandom()
    for _ in range(_TRIES):
        part = f"127.{chance.randrange(1, 255)}"
        with contextlib.suppress(OSError):  # somebody else's
            return part, socket.create_server((f"{part}.255.254", _CLAIM_PORT))
    raise AssertionError(f"no part of 127.0.0.0/8 could be claimed in {_TRIES} tries")
