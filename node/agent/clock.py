"""The host's own monotonic clock, even in a process whose clock is bent by libfaketime.

libfaketime (LD_PRELOAD) replaces `clock_gettime` for the process.  A server shall believe the bent clock; what it
writes to its events file must carry the true one, or nobody could put the events of several hosts in order.  The C
library's `syscall`, looked up in the library itself and not among the preloaded ones, asks the kernel past the
replacement.
"""

from __future__ import annotations

import ctypes
import platform
import time
from typing import Callable

_CLOCK_MONOTONIC = 1
_SYS_CLOCK_GETTIME = {"x86_64": 228, "aarch64": 113, "riscv64": 113, "ppc64le": 246, "s390x": 260}


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_int64)]


def _kernel_clock() -> Callable[[], int]:
    number = _SYS_CLOCK_GETTIME.get(platform.machine())
    if number is None:
        return time.monotonic_ns
    try:
        syscall = ctypes.CDLL("libc.so.6", use_errno=True).syscall
    except (OSError, AttributeError):
        return time.monotonic_ns
    now = _Timespec()
    where = ctypes.byref(now)
    first, second = ctypes.c_long(number), ctypes.c_long(_CLOCK_MONOTONIC)

    def read() -> int:
        if syscall(first, second, where) != 0:
            return time.monotonic_ns()
        return int(now.seconds) * 1_000_000_000 + int(now.nanoseconds)

    return read


host_monotonic_ns: Callable[[], int] = _kernel_clock()
"""CLOCK_MONOTONIC of the host in ns; the process's own `time.monotonic_ns` where the kernel cannot be asked."""
