"""Files of the host, streamed line by line as they grow.

The model.  A stream is a file and an offset.  Whole lines after the offset are pushed with the offsets where they begin
and end, so that whoever counts on takes the stream up anywhere: nothing is lost and nothing comes twice.  The file
itself is the buffer: while the connection is full, nothing is read.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Optional

CHUNK_BYTES = 256 << 10
"""Maximum number of bytes read at once."""
LINE_MAX_BYTES = 1 << 20
"""A line that is longer is sent in pieces."""


class Tail:
    """One stream."""

    def __init__(self, stream: str, path: str, offset: int) -> None:
        self.stream = stream
        self.path = path
        self.offset = offset

    def read(self) -> Optional[Dict[str, Any]]:
        """The next push, or None when there is no whole new line.  Raises OSError."""
        try:
            with open(self.path, "rb") as file:
                if os.fstat(file.fileno()).st_size <= self.offset:
                    return None
                file.seek(self.offset)
                data = file.read(CHUNK_BYTES)
                while b"\n" not in data and len(data) < LINE_MAX_BYTES:
                    more = file.read(CHUNK_BYTES)
                    if not more:
                        return None
                    data += more
        except FileNotFoundError:
            return None
        end = data.rfind(b"\n") + 1 or len(data)
        push = {
            "stream": self.stream,
            "offset": self.offset,
            "next": self.offset + end,
            "lines": data[:end].decode("utf-8", "replace").split("\n")[: -1 if data[:end].endswith(b"\n") else None],
        }
        self.offset += end
        return push


def count(path: str) -> Dict[str, int]:
    """How long the file is and how many whole lines it holds."""
    size = lines = 0
    try:
        with open(path, "rb") as file:
            for chunk in iter(lambda: file.read(CHUNK_BYTES), b""):
                size += len(chunk)
                lines += chunk.count(b"\n")
    except FileNotFoundError:
        return {"size": 0, "lines": 0}
    return {"size": size, "lines": lines}
