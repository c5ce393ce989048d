"""The catalogue of planted bugs: real ones of election protocols, one file each.

    load("half-quorum")  ->  the class, to be used in place of `Server`

A file's class `Bug` is a subclass of `Server` that overrides as little as possible.  Beside it stand `ORIGIN`, the
issues or papers that the bug is known from, and `PROMISE`, the checker that must find it out.  The docstring says in
its first line what is wrong, and then what comes of it.  A bug may break other promises as well.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import List, NamedTuple, Tuple, Type

from node.protocol.server import Server


class Planted(NamedTuple):
    """A bug of the catalogue.  `what` is one sentence."""

    name: str
    server: Type[Server]
    what: str
    origin: Tuple[str, ...]
    promise: str


def names() -> List[str]:
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def about(name: str) -> Planted:
    """The bug `name`.  Raises KeyError for a name that is not in the catalogue."""
    if name not in names():
        raise KeyError("no bug is called %r; there are %s" % (name, ", ".join(names())))
    module = importlib.import_module("node.bugs." + name.replace("-", "_"))
    what = (module.__doc__ or "").strip().split("\n\n", 1)[0].replace("\n", " ")
    return Planted(name, module.Bug, what, module.ORIGIN, module.PROMISE)


def load(name: str) -> Type[Server]:
    """The server with the bug `name`.  Raises KeyError for a name that is not in the catalogue."""
    return about(name).server
