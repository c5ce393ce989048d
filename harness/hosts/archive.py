"""Programs that land on hosts, as one `.pyz` file each: the same bytes from the same sources, on any machine.

The SHA-256 of an archive is the name under which hosts keep it, so that it is sent once.  Therefore nothing of the
machine or the moment goes into it: names are sorted, dates are 1980, permissions are fixed, nothing is compressed (zlib
versions differ), and only `.py` files are taken.

    data = build("node")      ->  the bytes of `python3 onethrone-node.pyz serve ...`
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import zipfile
from pathlib import Path

from harness import UsageError

SHEBANG = b"#!/usr/bin/env python3\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = "import sys\n\nfrom {package}.__main__ import main\n\nsys.exit(main())\n"


def build(package: str) -> bytes:
    """An archive that runs `main()` of `<package>.__main__`, with all modules of that package.

    `package` is dotted ("nemesis.injector"): the packages above it contribute their `__init__` alone.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"{package}: there is no such package to build an archive of")
    folder = Path(spec.submodule_search_locations[0])
    top = folder.parents[package.count(".")]
    names = {path.relative_to(top).as_posix(): path.read_bytes() for path in folder.rglob("*.py")}
    for above in folder.relative_to(top).parents:
        init = top / above / "__init__.py"
        if above.name and init.exists():
            names[init.relative_to(top).as_posix()] = init.read_bytes()
    names["__main__.py"] = _MAIN.format(package=package).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(names):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.create_system = 3
            info.external_attr = 0o644 << 16
            archive.writestr(info, names[name])
    return SHEBANG + buffer.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
