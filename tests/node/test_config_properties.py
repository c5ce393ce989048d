"""Files of Java properties, as java.util.Properties reads them (the oracle: tests/interop/test_zoo_cfg.py)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from node.properties import INT, LONG, ConfigError, escaped, number, parse, split, trim


def read(data: bytes) -> dict[str, str]:
    return {found.key: found.value for found in parse(data, "zoo.cfg")}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a=1", {"a": "1"}),
        (b"a : 1 ", {"a": "1 "}),
        (b"a\t\f 1", {"a": "1"}),
        (b"a == 1", {"a": "= 1"}),
        (b"a", {"a": ""}),
        (b"=1", {"": "1"}),
        (b"a\\ b\\=c=1\\:2", {"a b=c": "1:2"}),
        (b"a=\\u0041\\t\\q\\\\", {"a": "A\tq\\"}),
        (b"a=\\ud83d\\ude00\\ud83d", {"a": "\U0001f600\ufffd"}),
        (b"a=\xfc", {"a": "\xfc"}),
        (b" #a=1\n\t!b=2\n\\#c=3", {"#c": "3"}),
        (b"a=1\\\n  2\\\r\n#3", {"a": "12#3"}),
        (b"a=1\\\n\nb=2", {"a": "1", "b": "2"}),
        (b"#a\\\nb=1", {"b": "1"}),
        (b"a=1\\\\\nb=2", {"a": "1\\", "b": "2"}),
        (b"a=1\rb=2\r\nc=3\n", {"a": "1", "b": "2", "c": "3"}),
        (b"a=1\na=2", {"a": "2"}),
        (b"a=1\\", {"a": "1"}),
        (b"", {}),
    ],
)
def test_a_file_is_read_as_the_jdk_reads_it(data: bytes, expected: dict[str, str]) -> None:
    assert read(data) == expected


def test_a_property_is_found_on_the_line_where_its_key_begins() -> None:
    data = b"# c\r\n\r\na=1\\\r\n  2\rb=3\n\n\\\n c=4"
    assert [(found.line, found.key) for found in parse(data, "f")] == [(3, "a"), (5, "b"), (8, "c")]


@pytest.mark.parametrize("value", [b"\\u", b"\\u12", b"\\u12g4", b"C:\\users"])
def test_a_bad_unicode_escape_is_refused_with_its_line(value: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^zoo.cfg:2: a \\u in .* four hexadecimal digits"):
        read(b"a=1\nb=" + value)


def test_numbers_are_those_of_java() -> None:
    assert [number(text, INT) for text in ("7", "+7", "-7", "007", "\u0667")] == [7, 7, -7, 7, 7]
    assert [number(text, INT) for text in ("", "-", "+-7", " 7", "7 ", "1_0", "1e3", "0x1", "\u00b2")] == [None] * 9
    for bits in (INT, LONG):
        assert (number(str(2**bits - 1), bits), number(str(2**bits), bits)) == (2**bits - 1, None)
        assert (number(str(-(2**bits)), bits), number(str(-(2**bits) - 1), bits)) == (-(2**bits), None)
    assert number("9" * 100_000, LONG) is None


def test_lists_are_split_and_texts_trimmed_as_by_java() -> None:
    assert [split(text, ":") for text in ("a:b", "a:b::", ":a", "", ":")] == [
        ["a", "b"],
        ["a", "b"],
        ["", "a"],
        [""],
        [],
    ]
    assert trim("\0 \ta\xa0\x1f") == "a\xa0"


@given(value=st.text(max_size=20))
def test_an_escaped_value_comes_back(value: str) -> None:
    assert read(f"a={escaped(value)}".encode("ascii")) == {"a": value}


@given(data=st.text(st.sampled_from("a=: \\u0\n\r\t#!"), max_size=40))
def test_any_bytes_give_properties_or_an_error(data: str) -> None:
    try:
        assert len(read(data.encode())) <= len(data)
    except ConfigError as error:
        assert "four hexadecimal digits" in error.problem  # noqa: PT017 - both outcomes are right
