"""Numbers of things, in words.

>>> counted(1, "run"), counted(2, "run"), counted(0, "lost batch", "lost batches")
('1 run', '2 runs', '0 lost batches')
"""

from __future__ import annotations


def counted(count: int, one: str, many: str = "") -> str:
    """The number, and the thing in its singular or plural."""
    return f"{count} {one if count == 1 else many or f'{one}s'}"
