"""Bundles JavaScript modules into one script, because a page that is opened from a file may not load any.

    words.js    export const clock = (us) => `${us} µs`;
    axis.js     import { clock } from './words.js';
                export const label = () => clock(3);

    bundle      const words_js = (function words_js() {
                const clock = (us) => `${us} µs`;
                return { clock };
                })();
                const axis_js = (function axis_js() {
                const { clock } = words_js;
                const label = () => clock(3);
                return { label };
                })();

A module becomes a function, so that it sees only its own names and those that it imports, as it would in a browser that
loaded it.  The function bears the module's name and its code stays as it is, so that you can read a stack trace.  Only
block comments that begin a line are left out: nobody needs them in every report.

This is no JavaScript parser.  It reads the lines that begin with `import` or `export`, in two forms:

    import { a, b } from './module.js';          on one line or on several
    export const a = …                           or function, async function, class: one name a declaration

It refuses every other form.  `export let` is one of them: an importer gets the value that a name has when its module
ends.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_IMPORT = re.compile(r"^import \{([^{}]*)\} from '\./([\w-]+\.js)';$", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:const|function|async function|class) (\w+)\b)", re.MULTILINE)
_COMMENT = re.compile(r"^/\*.*?\*/\n", re.MULTILINE | re.DOTALL)
_EITHER = re.compile(r"^(?:import|export)\b.*", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z_]\w*")


class BundleError(ValueError):
    """Modules that do not fit together; the message names the module, and the line where there is one."""


def bundle(sources: Mapping[str, str], entry: str) -> str:
    """One script out of `entry` and every module that it imports, each after those that it needs.

    `sources` maps a module's name, such as `words.js`, to its text.  Modules that nothing imports are left out.

    Raises BundleError when modules import each other in a circle, a module or a name that is imported does not exist, a
    name is exported or imported twice, or an import or export has a form that is not understood.
    """
    modules: dict[str, _Module] = {}
    _follow(sources, entry, (), modules)
    parts = ["'use strict';\n(() => {\n", *(module.wrapped() for module in modules.values()), "})();\n"]
    return "".join(parts)


class _Module:
    """A module's text, what it exports, and from where it imports which names."""

    def __init__(self, name: str, text: str) -> None:
        self.name, self.text = name, text
        self.exports: set[str] = set()
        self.imports: list[tuple[str, list[str], int]] = []
        imported: set[str] = set()
        for found in _EITHER.finditer(text):
            line = text.count("\n", 0, found.start()) + 1
            if module := _IMPORT.match(text, found.start()):
                names = [part for word in module[1].split(",") if (part := word.strip())]
                for wanted in names:
                    if not _NAME.fullmatch(wanted):
                        raise BundleError(f"{name}:{line}: cannot import `{wanted}`: write its name alone")
                    if wanted in imported:
                        raise BundleError(f"{name}:{line}: imports `{wanted}` twice")
                    imported.add(wanted)
                self.imports.append((module[2], names, line))
            elif declared := _EXPORT.match(text, found.start()):
                if declared[1] in self.exports:
                    raise BundleError(f"{name}:{line}: exports `{declared[1]}` twice")
                self.exports.add(declared[1])
            else:
                raise BundleError(
                    f"{name}:{line}: cannot bundle `{found[0]}`: "
                    "write import { a } from './module.js', or export const, function or class"
                )

    def wrapped(self) -> str:
        """The module as a function that is called once, and a constant with what it exports."""
        body = _COMMENT.sub("", self.text)
        body = _IMPORT.sub(lambda found: f"const {{{found[1]}}} = {_variable(found[2])};", body)
        body = _EXPORT.sub("", body)
        variable = _variable(self.name)
        exports = f"{{ {', '.join(sorted(self.exports))} }}" if self.exports else "{}"
        return f"const {variable} = (function {variable}() {{\n{body.rstrip()}\nreturn {exports};\n}})();\n"


def _follow(sources: Mapping[str, str], name: str, importers: tuple[str, ...], modules: dict[str, _Module]) -> None:
    """Adds the module `name` to `modules`, after everything that it imports."""
    module = _Module(name, sources[name])
    path = (*importers, name)
    for target, names, line in module.imports:
        if target not in sources:
            raise BundleError(f"{name}:{line}: imports {target}, which does not exist")
        if target in path:
            circle = " → ".join((*path[path.index(target) :], target))
            raise BundleError(f"{name}:{line}: imports in a circle: {circle}. Move what they share to its own module")
        if target not in modules:
            _follow(sources, target, path, modules)
        for wanted in names:
            if wanted not in modules[target].exports:
                raise BundleError(f"{name}:{line}: imports `{wanted}` from {target}, which does not export it")
    modules[name] = module


def _variable(name: str) -> str:
    return re.sub(r"\W", "_", name)
