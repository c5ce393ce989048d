"""Ctrl-C, whenever it comes, ends a command soon, without a traceback, and with no figures of what never happened."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BEGIN = """if True:
    import os, signal, sys
    class Here:
        def find_spec(self, name, path=None, target=None):
            if name == {module!r}:
                sys.meta_path.remove(here)
                os.kill(os.getpid(), signal.SIGINT)
    here = Here()
    sys.meta_path.insert(0, here)
    from harness.cli import main
    main()
"""
"""Interrupts itself at the import of a module."""


@pytest.mark.parametrize(
    "module", ["harness.cli.onethrone", "click", "harness.cli.completion", "harness.cli.simulate", "nemesis.schedule"]
)
def test_ctrl_c_while_modules_are_loaded_prints_no_traceback(tmp_path: Path, module: str) -> None:
    words = ["simulate", "--seeds", "0:1000", "--results", str(tmp_path)]
    ended = subprocess.run(
        [sys.executable, "-c", BEGIN.format(module=module), *words],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode in (-signal.SIGINT, 255)
    assert ended.stderr.strip() in ("", "onethrone: interrupted")
    assert ended.stdout == ""


def test_many_seeds_that_are_interrupted_before_the_first_batch_end_at_once_and_tell_nothing(tmp_path: Path) -> None:
    hold = """if True:
        import harness.simulator.sweep as sweep
        def wait(*_, **__):  # the batches are handed out, and no worker has come up
            print("waiting", file=sys.stderr, flush=True)
            time.sleep(600)
        import sys, time
        sweep.wait = wait
        from harness.cli import main
        main()
    """
    words = ["simulate", "--seeds", "0:1000", "--jobs", "4", "--results", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-c", hold, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "waiting\n"
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        stdout, stderr = process.communicate(timeout=60)
    # Four workers need far longer than that to come up, each with a simulator to load.
    assert time.monotonic() - began < 5
    assert stdout == "Unknown: it was interrupted (0 seeds, 0 s of simulated time).\n"
    assert stderr == ""
    assert process.returncode == 2


def test_an_error_is_json_too_where_json_is_asked_for(tmp_path: Path) -> None:
    for words in (
        ["check", "--json"],
        ["replay", "--json"],
        ["report", "--json"],
        ["simulate", "--json", "--schedule"],
    ):
        ended = subprocess.run(
            [sys.executable, "-c", "from harness.cli import main; main()", *words, str(tmp_path / "none")],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert ended.returncode == 254
        (error,) = json.loads(ended.stdout).values()
        assert str(tmp_path / "none") in error
        assert error in ended.stderr
