"""One op of a history, and the line of text that holds it.

    {"index":17,"time":12345678901,"process":"n3","type":"info","f":"state","value":{...},"host_time":9,"time_error":40}

One object a line, UTF-8; every line ends with a newline.  `docs/history.md` describes each `f` and its value.

=============  ========================================================================================================
`index`        0, 1, 2, ... in the order in which the controller learned of things.  It names the op for ever.
`time`         nanoseconds since the run began, on the controller's monotonic clock: when it happened, not when the
               controller learned of it.  So `time` does not rise with `index`: reports of hosts arrive late.
`process`      a host's name for what its server reports, "nemesis", "controller", or a number for a client.
`type`         "invoke", then one of "ok", "fail" (it did not happen), "info" (unknown); or "info" for a plain report.
`f`            what is done or reported.
`value`        what `f` says of it; absent is null.
`host_time`    for what a host reported: nanoseconds of that host's own monotonic clock.
`time_error`   for the same: `time` is `host_time` mapped to the controller's clock, and the truth is within
               `time` - `time_error` .. `time` + `time_error`.  Absent is 0.
`server`       for a client's op: the host whose server it talked to.
`error`        why it failed, in words.
=============  ========================================================================================================

`Op.more` keeps any other field, and `encode` writes it again.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Process = int | str
"""Who did or reported it: the number of a client, or a name."""

NO_OP = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What `decode` raises for a line that is not an op; RecursionError where brackets nest thousands deep."""

TIME_MAX = 1 << 60
"""36 years, in nanoseconds: sums and differences of a few times stay within 64 bits."""

Time = Annotated[int, msgspec.Meta(ge=-TIME_MAX, le=TIME_MAX)]

OpType = Literal["invoke", "ok", "fail", "info"]


class Op(msgspec.Struct, gc=False, omit_defaults=True, forbid_unknown_fields=True):
    """One line of the history; the table above gives the fields."""

    index: Annotated[int, msgspec.Meta(ge=0, le=TIME_MAX)]
    time: Time
    process: Process
    type: OpType
    f: str
    value: Any = None
    host_time: Time | None = None
    time_error: Annotated[int, msgspec.Meta(ge=0, le=TIME_MAX)] | None = None
    server: str | None = None
    error: str | None = None
    more: dict[str, Any] | None = msgspec.field(default=None, name="*")

    @property
    def earliest(self) -> int:
        """The earliest run time, in nanoseconds, at which this can have happened."""
        return self.time - (self.time_error or 0)

    @property
    def latest(self) -> int:
        """The latest run time, in nanoseconds, at which this can have happened."""
        return self.time + (self.time_error or 0)


decoder = msgspec.json.Decoder(Op)
_any_decoder = msgspec.json.Decoder(dict[str, Any])
_encoder = msgspec.json.Encoder()
_known = frozenset(f.encode_name for f in msgspec.structs.fields(Op))


def encode(op: Op) -> bytes:
    """The line of `op`, with its newline."""
    if op.more is None:
        return _encoder.encode(op) + b"\n"
    more, op = op.more, msgspec.structs.replace(op, more=None)
    return _encoder.encode(msgspec.to_builtins(op) | more) + b"\n"


def decode(line: bytes) -> Op:
    """The op of one line.  Raises `msgspec.DecodeError` (which `msgspec.ValidationError` is) with what is wrong."""
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        if "unknown field" not in str(error):
            raise
    fields = _any_decoder.decode(line)
    more = {name: fields.pop(name) for name in list(fields) if name not in _known}
    op = msgspec.convert(fields, Op)
    op.more = more
    return op
