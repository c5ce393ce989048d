"""`harness.shrink.case_file` by the name that tests emitted by version 0.1 import."""

from harness.shrink.case_file import parse

__all__ = ["parse"]
