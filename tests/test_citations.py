"""Every "section 5.3" in code, tests and docs leads to a heading, and every "rule 2" of it to an item there.

The model.  A citation is the word "section" (or its sign) with a number, and perhaps the rule, step or row of a table
in it.  The rules:

1.  It cites docs/protocol.md, unless the words around it name another document.
2.  A page of this repository is named right before the citation, or right after it: "section 2 of docs/faults.md",
    "faults.md, section 2".  That page must have the heading.
3.  A document from elsewhere is named in the same places, in one of the ways of `ELSEWHERE`.  Nobody follows it.
4.  A "trap 8" is item 8 of section 0 of docs/protocol.md.

Example: "(section 2.6 rules 2 and 3)" gives `Citation("docs/protocol.md", "2.6", "rule", (2, 3), at)`.  This file is
not read: its examples cite what does not exist.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PROTOCOL = "docs/protocol.md"

ELSEWHERE_BEFORE = (
    r"\bRFC \d+,?",
    r"\([A-Z][\w ]*? \d{4}\),",  # a paper: "(USENIX ATC 2014), section 5.4.1"
    r"\bPROTOCOL,",  # OpenSSH's file of that name
    r"\b[a-z_-]+\(\d\),?",  # a manual page: "ssh_config(5), section 3"
)
ELSEWHERE_AFTER = (r" of RFC \d+", r" of the [A-Z]\w+ (?:paper|specification|manual)")

_NUMBER = r"\d+(?:\.\d+)*"
_ONE = rf"{_NUMBER}(?:,? and {_NUMBER})*"
_MANY = rf"{_NUMBER}(?:(?:,? and |, | to |-){_NUMBER})*"
_ITEMS = r"\d+(?:(?:,? and |, | to )\d+)*"
_PART = rf"(?:rule|step|row)s? {_ITEMS}"
_GAP = r"[\s#]+"
"""What may stand for a space: a citation may go over the end of a line, also in a comment."""
_CITATION = re.compile(
    (
        rf"(?:\bsections (?P<many>{_MANY})|(?:\bsection |§\s?)(?P<one>{_ONE})|\btraps? (?P<traps>{_ITEMS}))"
        rf"(?P<parts>(?:[,;]? {_PART})*)"
    ).replace(" ", _GAP),
    re.IGNORECASE,
)
_PAGE = r"(?:\[[^\]]*\]\()?(?:docs/)?(?P<page>[\w-]+\.md)\)?"
_PAGE_BEFORE = re.compile(rf"\b{_PAGE}(?:'s|,)? $")
_PAGE_AFTER = re.compile(rf" of {_PAGE}")


class Citation(NamedTuple):
    document: str
    """Path of the page, or "" when the document is not ours."""
    section: str
    part: str
    """Word for a part of the section, such as "rule", or ""."""
    items: tuple[int, ...]
    at: int
    """Offset in the text."""


def citations(text: str) -> Iterator[Citation]:
    """All citations of a text, those that go over the end of a line included."""
    for found in _CITATION.finditer(text):
        at = found.start()
        if found["traps"]:
            yield Citation(PROTOCOL, "0", "trap", _items(found["traps"]), at)
            continue
        document = _document(_spaced(text[max(0, at - 80) : at]), _spaced(text[found.end() :][:80]))
        sections = re.findall(_NUMBER, found["many"] or found["one"])
        for section in sections:
            yield Citation(document, section, "", (), at)
        for word, items in re.findall(rf"(rule|step|row)s? ({_ITEMS})", _spaced(found["parts"]), re.IGNORECASE):
            yield Citation(document, sections[-1], word.lower(), _items(items), at)


def _spaced(text: str) -> str:
    return re.sub(_GAP, " ", text)


def _document(before: str, after: str) -> str:
    if page := _PAGE_BEFORE.search(before) or _PAGE_AFTER.match(after):
        return f"docs/{page['page']}"
    elsewhere = any(re.search(rf"{way} $", before) for way in ELSEWHERE_BEFORE)
    return "" if elsewhere or any(re.match(way, after) for way in ELSEWHERE_AFTER) else PROTOCOL


def _items(text: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", text)))


@cache
def sections(document: str) -> dict[str, str]:
    """Number of each numbered heading of a page -> the text below it, with its subsections."""
    path = ROOT / document
    text = path.read_text() if path.exists() else ""
    heads = list(re.finditer(rf"^(#+) ({_NUMBER})\.? .*$", text, re.MULTILINE))
    bodies = {}
    for place, head in enumerate(heads):
        end = next((other.start() for other in heads[place + 1 :] if len(other[1]) <= len(head[1])), len(text))
        bodies[head[2]] = text[head.end() : end]
    return bodies


def problems(name: str, text: str) -> list[str]:
    """What is wrong with the citations of a file, one a line, with file and line number."""
    found = []
    for citation in citations(text):
        if not citation.document:
            continue
        place = f"{name}:{text.count(chr(10), 0, citation.at) + 1}"
        body = sections(citation.document).get(citation.section)
        if body is None:
            found.append(f"{place}: cites section {citation.section} of {citation.document}, which has no such heading")
            continue
        for item in citation.items:
            if not re.search(rf"^(?:\| {item} \||{item}\. )", body, re.MULTILINE):
                where = f"section {citation.section} of {citation.document}"
                found.append(f"{place}: cites {citation.part} {item} of {where}, which has no such item")
    return found


@cache
def tracked() -> tuple[str, ...]:
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "*.py", "docs/*.md", "README.md"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    own = Path(__file__).relative_to(ROOT).as_posix()
    return tuple(name for name in names if name and name != own and (ROOT / name).exists())


def test_every_citation_in_code_tests_and_docs_leads_to_a_heading() -> None:
    wrong = [line for name in tracked() for line in problems(name, (ROOT / name).read_text())]
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_code_and_its_tests_do_cite_the_protocol() -> None:
    """Else the test above would pass because nothing was found."""
    for folder in ("node/", "tests/", "docs/"):
        texts = [(ROOT / name).read_text() for name in tracked() if name.startswith(folder)]
        cited = {citation.section for text in texts for citation in citations(text) if citation.document == PROTOCOL}
        assert len(cited) >= 10, f"{folder} cites only {sorted(cited)}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(protocol section 5.3)", [(PROTOCOL, "5.3", "", ())]),
        ("protocol.md sections 2.6, 3, 11.1 and 11.2.", [(PROTOCOL, n, "", ()) for n in ("2.6", "3", "11.1", "11.2")]),
        ("sections 5.3 to 5.8 and 11.4", [(PROTOCOL, n, "", ()) for n in ("5.3", "5.8", "11.4")]),
        ("Section 1, and 11.3 as far", [(PROTOCOL, "1", "", ()), (PROTOCOL, "11.3", "", ())]),
        ("section 5.3, 64 MiB", [(PROTOCOL, "5.3", "", ())]),
        ("as §4.4 says", [(PROTOCOL, "4.4", "", ())]),
        ("# see protocol\n    # section\n    #   5.3.", [(PROTOCOL, "5.3", "", ())]),
        ("Section 2.6 rule 3; rule 4: nobody",
         [(PROTOCOL, "2.6", "", ()), (PROTOCOL, "2.6", "rule", (3,)), (PROTOCOL, "2.6", "rule", (4,))]),
        ("section 5.6 steps 4 and 5", [(PROTOCOL, "5.6", "", ()), (PROTOCOL, "5.6", "step", (4, 5))]),
        ("Traps 1 and 2, deviation", [(PROTOCOL, "0", "trap", (1, 2))]),
        ("section 2 of docs/faults.md", [("docs/faults.md", "2", "", ())]),
        ("[history](history.md), section 2", [("docs/history.md", "2", "", ())]),
        ("Raft (USENIX ATC 2014), section 5.4.1", [("", "5.4.1", "", ())]),
        ("OpenSSH's extension: PROTOCOL, section 4.2.", [("", "4.2", "", ())]),
        ("RFC 4253, section 6", [("", "6", "", ())]),
        ("section 4 of RFC 6928", [("", "4", "", ())]),
        ("ssh_config(5), section 3", [("", "3", "", ())]),
        ("(DSN 2011), section IV", []),
        ("a section of 5 lines", []),
    ],
)  # fmt: skip
def test_a_citation_names_a_document_a_section_and_its_items(text: str, expected: list[tuple[object, ...]]) -> None:
    assert [citation[:4] for citation in citations(text)] == expected


def test_a_citation_of_what_does_not_exist_names_file_and_line() -> None:
    text = "one\ntwo (section 99.1)\nthree: section\n    2.6 rule 77\ntrap 11, section 1 of docs/no-such-page.md\n"
    assert problems("node/some.py", text) == [
        "node/some.py:2: cites section 99.1 of docs/protocol.md, which has no such heading",
        "node/some.py:3: cites rule 77 of section 2.6 of docs/protocol.md, which has no such item",
        "node/some.py:5: cites trap 11 of section 0 of docs/protocol.md, which has no such item",
        "node/some.py:5: cites section 1 of docs/no-such-page.md, which has no such heading",
    ]


def test_a_protocol_section_has_one_heading() -> None:
    heads = re.findall(rf"^#+ ({_NUMBER})\.? ", (ROOT / PROTOCOL).read_text(), re.MULTILINE)
    assert sorted(set(heads)) == sorted(heads)


def test_links_within_a_page_lead_to_a_heading_of_it() -> None:
    wrong = []
    for name in tracked():
        if name.endswith(".md"):
            text = (ROOT / name).read_text()
            anchors = {_anchor(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
            wrong += [f"{name}: #{link}" for link in re.findall(r"\]\(#([^)]*)\)", text) if link not in anchors]
    assert not wrong, "\n" + "\n".join(wrong)


def _anchor(title: str) -> str:
    """The anchor that GitHub gives to a heading."""
    return re.sub(r"[^\w -]", "", title.strip().lower()).replace(" ", "-")
