"""The catalogue of planted bugs: one file each, a subclass of `Server` that overrides as little as possible.

    load("half-quorum")  ->  the class, to be used in place of `Server`

A file's docstring gives the bug's origin and the promise that it breaks.  The class is called `Bug`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import List, Type, cast

from node.server import Server


def names() -> List[str]:
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Type[Server]:
    """The server with the bug `name`.  Raises KeyError for a name that is not in the catalogue."""
    if name not in names():
        raise KeyError("no bug is called %r; there are %s" % (name, ", ".join(names())))
    return cast(Type[Server], importlib.import_module("node.bugs." + name.replace("-", "_")).Bug)
