"""Jute, ZooKeeper's serialisation: big-endian integers; whatever is variable in length has an int32 count before it.

int32 and int64 are signed; a boolean is one byte; a buffer is its length (-1 is null) and its bytes; a string is a
buffer of UTF-8; a vector is its count (-1 is null) and its elements.  Example: the string "ab" is 00000002 6162.
Source: org.apache.jute.BinaryInputArchive and BinaryOutputArchive.
"""

from __future__ import annotations

import struct
from typing import Callable, List, Optional, TypeVar

T = TypeVar("T")

MAX_BUFFER = 0xFFFFF + 0xFFFFF
"""Longest buffer or string in bytes: jute.maxbuffer plus zookeeper.jute.maxbuffer.extrasize, at their defaults."""

_INT32 = struct.Struct(">i")
_INT64 = struct.Struct(">q")


class WireError(Exception):
    """Malformed bytes; the message says what is wrong, and in which field."""


class Reader:
    """Reads one whole record.  Every method takes the name of the field, and raises `WireError` with it."""

    def __init__(self, data: bytes, record: str) -> None:
        self.data = data
        self.position = 0
        self.record = record

    @property
    def left(self) -> int:
        return len(self.data) - self.position

    def error(self, text: str) -> WireError:
        return WireError("%s: %s (at byte %d of %d)" % (self.record, text, self.position, len(self.data)))

    def take(self, size: int, field: str) -> bytes:
        position = self.position
        end = position + size
        if end > len(self.data):
            raise self.error("%s needs %d bytes, %d are left" % (field, size, self.left))
        self.position = end
        return self.data[position:end]

    def int32(self, field: str) -> int:
        (value,) = _INT32.unpack(self.take(4, field))
        return value  # type: ignore[no-any-return]

    def int64(self, field: str) -> int:
        (value,) = _INT64.unpack(self.take(8, field))
        return value  # type: ignore[no-any-return]

    def boolean(self, field: str) -> bool:
        return self.take(1, field) != b"\0"

    def buffer(self, field: str) -> Optional[bytes]:
        size = self.int32(field)
        if size == -1:
            return None
        if not 0 <= size <= MAX_BUFFER:
            raise self.error("%s has the unreasonable length %d" % (field, size))
        return self.take(size, field)

    def string(self, field: str) -> str:
        data = self.buffer(field)
        if data is None:
            raise self.error("%s is null" % field)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error("%s is not UTF-8: %s" % (field, error)) from None

    def vector(self, field: str, element: Callable[[Reader], T]) -> List[T]:
        """The elements; null reads as empty.  An element takes at least one byte, which bounds the count."""
        count = self.int32(field)
        if not -1 <= count <= self.left:
            raise self.error("%s has the unreasonable count %d" % (field, count))
        return [element(self) for _ in range(count)]

    def rest(self) -> bytes:
        return self.take(self.left, "rest")

    def end(self) -> None:
        if self.left:
            raise self.error("%d bytes too many" % self.left)


def int32(value: int) -> bytes:
    return _INT32.pack(value)


def int64(value: int) -> bytes:
    return _INT64.pack(value)


def buffer(data: Optional[bytes]) -> bytes:
    return _INT32.pack(-1) if data is None else _INT32.pack(len(data)) + data


def string(text: str) -> bytes:
    return buffer(text.encode("utf-8"))
