"""The results folder as a tree of names: what a URL may reach of the disk.

A path of a URL is split at its slashes first and decoded then, so an encoded slash is part of a name and never a
separator; names that could lead elsewhere ("", ".", "..", with "/" or NUL) are refused.  Symlinks are followed while
they stay inside (`latest`, `current`).  What was found inside is opened from the root down, name by name, without
following any link: it cannot be exchanged for a link in between.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes


class NotThere(Exception):
    """Nothing that may be shown is at that path."""


class Tree:
    """Everything below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve(strict=True)

    def find(self, url_path: str) -> Path:
        """The real path, inside the root, of a URL's path ("" is the root itself).  Raises NotThere."""
        names = [os.fsdecode(unquote_to_bytes(part)) for part in url_path.split("/")] if url_path else []
        if any(name in ("", ".", "..") or "/" in name or "\0" in name for name in names):
            raise NotThere
        return self.real(self.root.joinpath(*names))

    def real(self, path: Path) -> Path:
        """Where `path` really is.  Raises NotThere when that is outside, or nowhere."""
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError, ValueError):  # RuntimeError: links that lead in a circle
            raise NotThere from None
        if not real.is_relative_to(self.root):
            raise NotThere
        return real

    def open(self, real: Path) -> BinaryIO:
        """Open a regular file that `find` or `real` gave.  Raises NotThere."""
        names = real.relative_to(self.root).parts
        if not names:
            raise NotThere
        here = -1
        try:
            here = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            for name in names[:-1]:
                there = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                os.close(here)
                here = there
            # Without O_NONBLOCK, a FIFO would hold this thread for ever.
            file = os.open(names[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=here)
        except OSError:
            raise NotThere from None
        finally:
            if here >= 0:
                os.close(here)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise NotThere
        return os.fdopen(file, "rb")

    def below(self, real: Path) -> str:
        """The path of a URL for what is inside: the inverse of `find`."""
        return "/".join(quote_from_bytes(os.fsencode(name), safe="") for name in real.relative_to(self.root).parts)
