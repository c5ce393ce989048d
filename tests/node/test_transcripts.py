"""Each transcript says what the server does.  ONETHRONE_REWRITE=1 writes them anew: review the difference.

The files are `tests/node/transcripts/*.txt`; `tests/node/transcribe.py` says how to read and to write one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.node.transcribe import transcribe

TRANSCRIPTS = sorted((Path(__file__).parent / "transcripts").glob("*.txt"))


@pytest.mark.parametrize("file", TRANSCRIPTS, ids=[file.stem for file in TRANSCRIPTS])
def test_the_server_does_what_its_transcript_says(file: Path) -> None:
    text = file.read_text()
    done = transcribe(text)
    if os.environ.get("ONETHRONE_REWRITE") == "1":
        file.write_text(done)
    else:
        assert done.splitlines() == text.splitlines()


def test_there_are_transcripts_and_a_directive_that_is_not_known_is_an_error() -> None:
    assert len(TRANSCRIPTS) >= 12
    with pytest.raises(ValueError, match="not a directive: > 3 sings"):
        transcribe("> server 1 of 3\n> 3 sings\n")
