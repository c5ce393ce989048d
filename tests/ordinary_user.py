"""Programs that run as an ordinary user, for tests that may be run by root.

The user `labuser` exists only in the program's own view of /etc, which `unshare --mount` makes.  If the tests are not
run by root, the user who runs them is ordinary already, and the program runs as that user.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

UID = 4242


def python() -> Path:
    """This very Python, or the machine's own of the same version if only root can reach this one (pyenv in /root)."""
    for candidate in (Path(sys.base_prefix, "bin/python3"), Path("/usr/bin/python3")):
        file = candidate.resolve()
        closed = [folder for folder in file.parents if not folder.stat().st_mode & stat.S_IXOTH]
        if file.exists() and (not closed or os.geteuid() != 0):
            version = subprocess.run([file, "-V"], capture_output=True, text=True, timeout=30, check=True).stdout
            if version.startswith("Python {}.{}.".format(*sys.version_info)):
                return file
    raise LookupError("no Python of this version that an ordinary user can run")


def own(directory: Path) -> None:
    """Give an empty directory to the ordinary user.  Its parents have to be open to everybody."""
    if os.geteuid() == 0:
        os.chown(directory, UID, UID)


def run(etc: Path, cwd: Path, argv: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a program in `cwd` as the ordinary user.  `etc` keeps that user's view of /etc."""
    command = list(argv)
    if os.geteuid() == 0:
        etc.mkdir(exist_ok=True)
        for name, line in {"passwd": f"labuser:x:{UID}:{UID}::{cwd}:/bin/sh", "group": f"labuser:x:{UID}:"}.items():
            (etc / name).write_text(Path("/etc", name).read_text() + line + "\n")
        for name in ("subuid", "subgid"):
            (etc / name).write_text("labuser:300000:65536\n")
        mounts = [f'touch /etc/{file.name} && mount --bind "{file}" /etc/{file.name}' for file in sorted(etc.iterdir())]
        become = f'exec setpriv --reuid {UID} --regid {UID} --clear-groups -- "$@"'
        command = ["unshare", "--mount", "sh", "-ec", "\n".join([*mounts, become]), "sh", *argv]
    environment = {"PATH": os.environ["PATH"], "HOME": str(cwd), "LANG": "C.UTF-8"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False
    )
