"""The pytest file of a failing case: it holds the case, fails while the bug is there, and passes without it."""

from __future__ import annotations

import re
import textwrap

from harness.shrink.case_file import Kept

VARIABLE = "ONETHRONE_BUG"
"""The environment variable that names what is planted: a bug's name, or `none`."""

_TEMPLATE = '''"""{title}

{story}

{how}
"""

from __future__ import annotations

import os

from harness.shrink.case_file import parse

BUG = os.environ.get("{variable}", "{bug}")

CASE = parse(
    r\'\'\'{case}\'\'\'
)


def test_{name}_is_kept() -> None:
    run = CASE.run(bug="" if BUG == "none" else BUG)
    assert "{promise}" not in run.broken, run.verdict.summary
'''


def text(case: Kept, story: str) -> str:
    """The file's text."""
    file = name(case)
    if case.bug:
        how = (
            f"    pytest {file}                      fails: {case.bug} is planted\n"
            f"    {VARIABLE}=none pytest {file}   passes: the correct server"
        )
    else:
        how = f"    pytest {file}      fails until the server is corrected"
    about = "\n".join(textwrap.wrap(story.replace("\\", "/").replace('"""', "'''"), 116))
    return _TEMPLATE.format(
        title=f"{case.promise} is broken" + (f" by the planted bug {case.bug}." if case.bug else "."),
        story=about,
        how=how,
        variable=VARIABLE,
        bug=case.bug or "none",
        case=case.to_json(),
        name=_word(case.promise),
        promise=case.promise,
    )


def name(case: Kept) -> str:
    return f"test_{_word(case.bug or case.promise)}.py"


def _word(text: str) -> str:
    return re.sub(r"\W", "_", text)
