"""Files that somebody names on the command line, or that stand in a folder that somebody names.

A path may lead to a pipe, which never begins, to a device, which never ends, or to a file that does not fit into
memory.  Nothing opens such a path in any other way than through here (a history: `checker.history`).  What is wrong is
an OSError whose `strerror` says so in words, so an error of the file system and an error of ours read alike.
"""

from __future__ import annotations

import errno
from pathlib import Path

from checker.history.reader import open_file as open_file  # noqa: PLC0414 - the one way to open a file

PLAN_BYTES_MAX = 1 << 20
JSON_BYTES_MAX = 64 << 20
"""Verdicts, and what else our commands write in one piece."""


def read(path: Path, bytes_max: int = JSON_BYTES_MAX) -> bytes:
    """The whole file.  Raises OSError, also for what is no regular file, or a larger one."""
    with open_file(path) as file:
        parts, size = [], 0
        while part := file.read(bytes_max + 1 - size):
            parts.append(part)
            size += len(part)
            if size > bytes_max:
                raise OSError(errno.EFBIG, f"it is larger than {bytes_max >> 20} MB", str(path))
    return b"".join(parts)
