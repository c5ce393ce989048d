"""What the injector reads of libfaketime in a process's memory."""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from nemesis.injector.clocks import SECOND, library_start


def test_the_librarys_start_is_not_known_before_the_library_has_written_it(tmp_path: Path) -> None:
    """Its memory is there, and zero, a moment earlier; a clock bent from 1970 on would lead by years."""
    file = tmp_path / "faketime_shm_1"
    file.write_bytes(bytes(mmap.PAGESIZE))
    assert library_start(os.getpid()) is None
    with file.open("r+b") as stream, mmap.mmap(stream.fileno(), 0) as memory:
        assert library_start(os.getpid()) is None
        memory[:32] = struct.pack("<QQqq", 7, 0, 1_700_000_000, 250)
        assert library_start(os.getpid()) == 1_700_000_000 * SECOND + 250
