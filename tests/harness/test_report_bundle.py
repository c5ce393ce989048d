"""The bundler of the report's JavaScript: it follows imports, and refuses what does not fit together."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from harness.report.bundle import BundleError, bundle
from harness.report.page import ENTRY, scripts
from harness.serve.server import STATIC

WORDS = "export const clock = (us) => `${us} µs`;\n"
AXIS = "import { clock } from './words.js';\nexport const label = () => clock(3);\n"


def test_a_module_stands_after_those_that_it_imports_each_once_and_its_code_is_as_it_was() -> None:
    script = bundle(
        {
            "words.js": WORDS,
            "axis.js": AXIS,
            "lane.js": "import { clock } from './words.js';\nexport function draw() {}\nconst own = clock(1);\n",
            "begin.js": "import {\n  label,\n} from './axis.js';\nimport { draw } from './lane.js';\nlabel(draw);\n",
            "alone.js": "nobody imports this",
        },
        "begin.js",
    )
    assert script == (
        "'use strict';\n(() => {\n"
        "const words_js = (function words_js() {\n"
        "const clock = (us) => `${us} µs`;\nreturn { clock };\n})();\n"
        "const axis_js = (function axis_js() {\n"
        "const { clock } = words_js;\nconst label = () => clock(3);\nreturn { label };\n})();\n"
        "const lane_js = (function lane_js() {\n"
        "const { clock } = words_js;\nfunction draw() {}\nconst own = clock(1);\nreturn { draw };\n})();\n"
        "const begin_js = (function begin_js() {\n"
        "const {\n  label,\n} = axis_js;\nconst { draw } = lane_js;\nlabel(draw);\nreturn {};\n})();\n"
        "})();\n"
    )


def test_only_block_comments_that_begin_a_line_are_left_out() -> None:
    text = "/* What it is,\n   and why. */\nexport const a = '/* text */';  // and this\n  /* inside */\n"
    script = bundle({"a.js": text}, "a.js")
    assert "What it is" not in script
    assert "const a = '/* text */';  // and this\n  /* inside */\n" in script


@pytest.mark.parametrize(
    ("sources", "says"),
    [
        ({"a.js": "let x;\nimport { y } from './b.js';\n"}, "a.js:2: imports b.js, which does not exist"),
        (
            {"a.js": "import { y, z } from './b.js';\n", "b.js": "export const y = 1;\nconst z = 2;\n"},
            "a.js:1: imports `z` from b.js, which does not export it",
        ),
        (
            {
                "a.js": "import { b } from './b.js';\n",
                "b.js": "import { c } from './c.js';\nexport const b = c;\n",
                "c.js": "\nimport { b } from './b.js';\nexport const c = b;\n",
            },
            "c.js:2: imports in a circle: b.js → c.js → b.js. Move what they share to its own module",
        ),
        ({"a.js": "import { a } from './a.js';\nexport const a = 1;\n"}, "a.js:1: imports in a circle: a.js → a.js"),
        ({"a.js": "export const a = 1;\nexport function a() {}\n"}, "a.js:2: exports `a` twice"),
        (
            {
                "a.js": "import { x } from './b.js';\nimport { x } from './c.js';\n",
                "b.js": "export const x = 1;\n",
                "c.js": "export const x = 1;\n",
            },
            "a.js:2: imports `x` twice",
        ),
        (
            {"a.js": "import { x as y } from './b.js';\n", "b.js": "export const x = 1;\n"},
            "a.js:1: cannot import `x as y`",
        ),
        ({"a.js": "export let a = 1;\n"}, "a.js:1: cannot bundle `export let a = 1;`"),
        ({"a.js": "export const { a } = {};\n"}, "a.js:1: cannot bundle `export const { a } = {};`"),
        ({"a.js": "export default 1;\n"}, "a.js:1: cannot bundle `export default 1;`"),
        ({"a.js": "export * from './b.js';\n"}, "a.js:1: cannot bundle"),
        ({"a.js": "import * as b from './b.js';\n"}, "a.js:1: cannot bundle"),
        ({"a.js": "import './b.js';\n"}, "a.js:1: cannot bundle"),
        ({"a.js": "import { b } from 'https://example.org/b.js';\n"}, "a.js:1: cannot bundle"),
    ],
)
def test_modules_that_do_not_fit_together_are_refused_with_the_module_and_the_line(
    sources: dict[str, str], says: str
) -> None:
    with pytest.raises(BundleError) as refused:
        bundle(sources, "a.js")
    assert str(refused.value).startswith(says)


def served() -> dict[str, str]:
    """The modules of the pages of `onethrone serve`, some of which are the report's."""
    return {
        name: (resources.files(package) / "static" / name).read_text()
        for name, (package, _) in STATIC.items()
        if name.endswith(".js")
    }


@pytest.mark.parametrize(("sources", "entry"), [(scripts(), ENTRY), (served(), "serve.js")], ids=["report", "serve"])
def test_every_module_is_needed_and_uses_what_it_imports(sources: dict[str, str], entry: str) -> None:
    bundled = set(re.findall(r"^const \w+ = \(function (\w+)\(\) \{$", bundle(sources, entry), re.MULTILINE))
    assert bundled == {name.replace(".", "_") for name in sources}
    for name, text in sources.items():
        imports = re.findall(r"^import \{([^}]*)\}[^;]*;$", text, re.MULTILINE)
        body = re.sub(r"^import [^;]*;$|/\*.*?\*/", "", text, flags=re.MULTILINE | re.DOTALL)
        for imported in re.findall(r"\w+", " ".join(imports)):
            assert re.search(rf"\b{imported}\b", body), f"{name} imports {imported} and does not use it"


@pytest.mark.parametrize("sources", [scripts(), served()], ids=["report", "serve"])
def test_no_line_of_javascript_is_longer_than_120_columns(sources: dict[str, str]) -> None:
    for name, text in sources.items():
        for number, line in enumerate(text.splitlines(), 1):
            assert len(line) <= 120, f"{name}:{number} has {len(line)} columns"


@pytest.mark.parametrize("sources", [scripts(), served()], ids=["report", "serve"])
def test_no_module_gives_others_a_name_of_one_letter(sources: dict[str, str]) -> None:
    for name, text in sources.items():
        exported = re.findall(r"^export (?:const|(?:async )?function|class) (\w+)", text, re.MULTILINE)
        assert [short for short in exported if len(short) == 1] == [], name
