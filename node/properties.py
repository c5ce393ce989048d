"""Files of Java properties, and the values in them, read as the JDK reads them.

`read(path)` follows java.util.Properties.load (JDK 17) to the letter.  The rules that people trip over:

1.  The bytes are Latin-1.  `\\uXXXX` is a UTF-16 unit, `\\t \\n \\r \\f` are control characters, and any other escaped
    character stands for itself: `h\\:2888` is `h:2888`.
2.  A key ends at the first unescaped `=`, `:` or white space.  `tickTime 2000` and `tickTime : 2000` set tickTime; a
    line without a separator is a key with an empty value.
3.  A line whose first character that is not white space is `#` or `!` is a comment.
4.  An odd number of backslashes at the end of a line joins it to the next, whose leading white space is dropped.
5.  White space at the end of a value belongs to it.  Of several lines with one key, the last counts.

Example: `server.1 = zk1\\:2888\\:38\\` and `   88` give the key "server.1" and the value "zk1:2888:3888".

Numbers follow Integer.parseInt and Long.parseLong (a sign, digits of any script, no white space), lists follow
String.split (empty parts at the end do not count).
"""

from __future__ import annotations

import bisect
import re
import unicodedata
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

MAX_BYTES = 1 << 20
"""Maximum size of a file: the path may name a device without end."""

INT, LONG = 31, 63
"""Bits of the largest value of an int and of a long."""

_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "f": "\f"}
_WHITE = " \t\f"
_TRIMMED = "".join(map(chr, range(33)))


class ConfigError(Exception):
    """What is wrong (`problem`), where (`file`, `line` 0 when it is the file as a whole, `key`), and what to do."""

    def __init__(self, file: str, line: int, key: str, problem: str, remedy: str) -> None:
        place = printable(file) + (":%d" % line if line else "") + (": " + printable(key) if key else "")
        super().__init__("%s: %s; %s" % (place, problem, remedy))
        self.file, self.line, self.key, self.problem, self.remedy = file, line, key, problem, remedy


class Property(NamedTuple):
    """One key and its value.  `key` and `value` are as the JDK gives them; `line` is where the property begins."""

    file: str
    line: int
    key: str
    value: str

    @property
    def trimmed(self) -> str:
        """The value without white space around it."""
        return trim(self.value)

    def error(self, problem: str, remedy: str) -> ConfigError:
        return ConfigError(self.file, self.line, self.key, problem, remedy)

    def number(self, bits: int = INT) -> int:
        """The trimmed value as an int or a long; `ConfigError` if it is none."""
        value = number(self.trimmed, bits)
        if value is None:
            limits = "from -2^%d to 2^%d-1" % (bits, bits)
            raise self.error("%s is no whole number %s" % (quoted(self.trimmed), limits), "correct the value")
        return value

    def flag(self) -> bool:
        """The trimmed value as true or false; `ConfigError` if it is neither."""
        value = self.trimmed.upper()  # equalsIgnoreCase
        if value not in ("TRUE", "FALSE"):
            raise self.error("%s is neither true nor false" % quoted(self.trimmed), "write true or false")
        return value == "TRUE"


def read(path: str) -> Dict[str, Property]:
    """The properties of a file, by key.  Raises `ConfigError`; its key is empty when the file cannot be read."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(path, 0, "", error.strerror or str(error), "name a zoo.cfg that can be read") from None
    except ValueError:
        raise ConfigError(path, 0, "", "this is no path", "name a zoo.cfg that can be read") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(path, 0, "", "it is longer than %d bytes" % MAX_BYTES, "name a zoo.cfg that can be read")
    return {found.key: found for found in parse(data, path)}


def parse(data: bytes, path: str) -> Iterator[Property]:
    """Every property of the file, in its order."""
    for line, text in _logical_lines(data.decode("latin-1")):
        end, start = _separate(text)
        parts = []
        for part in (text[:end], text[start:]):
            try:
                parts.append(_unescape(part))
            except ValueError:
                problem = r"a \u in %s is not followed by four hexadecimal digits" % quoted(text)
                raise ConfigError(path, line, "", problem, r"write \\ for a backslash") from None
        yield Property(path, line, *parts)


def _logical_lines(text: str) -> Iterator[Tuple[int, str]]:
    """Lines after joining, without comments and blank ones, and the number of the first line of each (LineReader)."""
    starts = [0] + [match.end() for match in re.finditer(r"\r\n|\r|\n", text)]
    chars: List[str] = []
    at = first = 0
    skip_white, joined, backslash = True, False, False
    while at < len(text):
        c = text[at]
        at += 1
        if skip_white:
            if c in _WHITE or (not joined and c in "\r\n"):
                continue
            skip_white = joined = False
        if not chars:
            if c in "#!":
                while at < len(text) and text[at] not in "\r\n":
                    at += 1
                skip_white = True
                continue
            first = at - 1
        if c not in "\r\n":
            chars.append(c)
            backslash = c == "\\" and not backslash
        elif not chars:
            skip_white = True
        elif backslash and at < len(text):
            chars.pop()
            skip_white, joined, backslash = True, True, False
            if c == "\r" and text[at] == "\n":
                at += 1
        else:
            yield bisect.bisect_right(starts, first), "".join(chars[:-1] if backslash else chars)
            chars, skip_white, backslash = [], True, False
    if chars:
        yield bisect.bisect_right(starts, first), "".join(chars[:-1] if backslash else chars)


def _separate(text: str) -> Tuple[int, int]:
    """Where the key ends, and where the value starts (Properties.load0)."""
    end, separated = 0, False
    while end < len(text) and text[end] not in "=:" + _WHITE:
        end += 2 if text[end] == "\\" else 1
    end = min(end, len(text))
    start = end
    while start < len(text) and (text[start] in _WHITE or (not separated and text[start] in "=:")):
        separated = separated or text[start] in "=:"
        start += 1
    return end, start


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    result: List[str] = []
    at = 0
    while at < len(text):
        c = text[at]
        at += 1
        if c == "\\" and at < len(text):
            c = text[at]
            at += 1
            if c == "u":
                if not re.fullmatch("[0-9a-fA-F]{4}", text[at : at + 4]):
                    raise ValueError
                c = chr(int(text[at : at + 4], 16))
                at += 4
            else:
                c = _ESCAPES.get(c, c)
        result.append(c)
    return "".join(result).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


# ---- values ----------------------------------------------------------------------------------------------------------


def trim(text: str) -> str:
    """String.trim: without the characters up to U+0020 at both ends."""
    return text.strip(_TRIMMED)


def split(text: str, separator: str) -> List[str]:
    """String.split: without the empty parts at the end, though an empty text has one part."""
    parts = text.split(separator)
    while parts and not parts[-1] and text:
        parts.pop()
    return parts


def number(text: str, bits: int) -> Optional[int]:
    """Integer.parseInt (31 bits) or Long.parseLong (63): None if the text is no number, or one out of range."""
    negative, digits = text[:1] == "-", text[1:] if text[:1] in ("-", "+") else text
    values = [unicodedata.decimal(c, -1) if c <= "\uffff" else -1 for c in digits]
    if not values or min(values) < 0:
        return None
    value = 0
    for digit in values:
        value = 10 * value + digit
        if value > (1 << bits) - (0 if negative else 1):
            return None
    return -value if negative else value


def escaped(value: str) -> str:
    """The value as it is written into a file: ASCII, whatever it holds."""
    data = value.encode("utf-16-be", "surrogatepass")
    units = [data[at] << 8 | data[at + 1] for at in range(0, len(data), 2)]
    return "".join(chr(unit) if 33 <= unit <= 126 and unit != 92 else "\\u%04x" % unit for unit in units)


def quoted(text: str) -> str:
    """The text in quotation marks, on one line, without control characters, and not too long to read."""
    return repr(text if len(text) <= 80 else text[:77] + "...")


def printable(text: str) -> str:
    return text if text.isprintable() else quoted(text)[1:-1]
