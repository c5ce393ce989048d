"""Shrinking: the smallest schedule that still breaks the same promise, in the simulator.

    shrunk = shrink(Path("results/latest"), Path("small"), say=print)
    shrunk.faults, shrunk.story, shrunk.test

`harness.shrink.run` is the whole of it, `search` makes a case smaller by the steps of `smaller`, `failing` says whether
a case still fails, `kept` is a failing case as a file, `story` what happened in words, `emitted` the pytest file.
"""

from harness.shrink.run import NotReproduced, Shrunk, shrink

__all__ = ["NotReproduced", "Shrunk", "shrink"]
