"""The history: one file, one JSON object a line.  The checkers read nothing else.

op        one op, and the line that holds it
writer    writes a history that survives a crash
reader    reads it as a stream
ordering  sorts ops by when they happened
"""

from checker.history.op import NO_OP, Op, OpType, Process, decode, encode
from checker.history.ordering import REORDER_OPS_MAX, REORDER_WINDOW_NS, Ordered, ordered
from checker.history.reader import LINE_BYTES_MAX, NAMES, History, HistoryError, locate, read
from checker.history.writer import Writer

__all__ = [
    "LINE_BYTES_MAX",
    "NAMES",
    "NO_OP",
    "REORDER_OPS_MAX",
    "REORDER_WINDOW_NS",
    "History",
    "HistoryError",
    "Op",
    "OpType",
    "Ordered",
    "Process",
    "Writer",
    "decode",
    "encode",
    "locate",
    "ordered",
    "read",
]
