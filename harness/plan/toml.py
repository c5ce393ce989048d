"""Plans as TOML: a document becomes a table (a msgspec Struct), and a table becomes a document again.

The rules:

1.  Every mistake is reported at once, one a line, each with its file, its table and its key, in our own words.
2.  A key that ends in `_s` takes seconds, or a length of time such as "10m" (`harness.plan.durations`).
3.  A table with the fields `system` and `system_settings` names a system under test.  In TOML that is a key,
    `system = "NAME"`, or a table `[system.NAME]` with the settings of the plug-in.  Keys of these settings may stand in
    `[ensemble]`, too: that was their place in version 0.1.

Example: `decode({"lab": "five"}, HostsPlan, problems, "hosts")` gives None, and `problems` holds
"[hosts] lab: needs a whole number, not the text 'five'".
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import msgspec
import tomli_w

from harness import UsageError
from harness.plan import durations
from harness.results import files
from harness.systems import registry

Table = TypeVar("Table", bound=msgspec.Struct)

SYSTEM, SETTINGS, ENSEMBLE = "system", "system_settings", "ensemble"
SHOWN_MAX = 40
"""Maximum number of characters of a wrong value that an error repeats."""


def read(path: Path, remedy: str = "") -> dict[str, Any]:
    """The document in a file; `remedy` says what to do where there is none.  Raises UsageError."""
    try:
        return tomllib.loads(files.read(path, files.PLAN_BYTES_MAX).decode())
    except FileNotFoundError:
        raise UsageError(f"{path}: there is no such plan", remedy=remedy) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read as a plan: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: cannot be read as a plan: it is not text in UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at (.*)\)$", str(error))
        raise UsageError(
            f"{path}: cannot be read as a plan: it is not TOML{f', at {place[1]}' if place else ''}"
        ) from None


def refuse(path: Path | str, problems: list[str]) -> None:
    """Raises UsageError with these problems of a file (or a command; "" names none), one a line, if there are any."""
    if problems:
        where = f"{path}: " if path else ""
        raise UsageError("\n".join(f"{where}{problem}" for problem in dict.fromkeys(problems)))


def decode(document: dict[str, Any], kind: type[Table], problems: list[str], at: str = "") -> Table | None:
    """A table of a document as `kind`; None when it is not one, and `problems` says of each key what is wrong.

    `at` is the name of the table.  A key whose type is a table, or a list of them, is decoded in the same way.
    """
    before = len(problems)
    hints = get_type_hints(kind)
    if SETTINGS in hints:
        parts = _with_system(document, hints, problems, at)
    else:
        parts = _parts(document, hints, problems, at)
    return None if len(problems) > before else kind(**parts)


def _parts(document: dict[str, Any], hints: Mapping[str, Any], problems: list[str], at: str) -> dict[str, Any]:
    parts: dict[str, Any] = {}
    for key, value in document.items():
        here = f"[{at}] {key}" if at else key
        if key not in hints:
            problems.append(f"{here}: there is no such key{_belongs(key, hints) or did_you_mean(key, hints)}")
            continue
        hint = hints[key]
        within = f"{at}.{key}" if at else key
        members = get_args(hint)
        if _is_table(hint) and isinstance(value, dict):
            parts[key] = decode(value, hint, problems, within)
        elif members and _is_table(members[0]) and isinstance(value, list) and all(isinstance(v, dict) for v in value):
            tables = (decode(v, members[0], problems, f"{within} {n}") for n, v in enumerate(value, 1))
            parts[key] = tuple(tables)
        else:
            parts[key] = _value(key, value, hint, here, problems)
    return parts


def _value(key: str, value: Any, hint: Any, here: str, problems: list[str]) -> Any:
    if key.endswith("_s") and isinstance(value, str):
        length = durations.seconds(value)
        if length is None:
            problems.append(f"{here}: needs seconds, or a length of time as in {durations.EXAMPLES}, not {value!r}")
        return length
    try:
        return msgspec.convert(value, hint)
    except msgspec.ValidationError:
        problems.append(f"{here}: needs {_needed(hint)}, not {_given(value)}")
        return None


def _with_system(document: dict[str, Any], hints: dict[str, Any], problems: list[str], at: str) -> dict[str, Any]:
    """The parts of a table that names a system: `system`, its settings, and the rest."""
    del hints[SETTINGS], hints[SYSTEM]
    rest = {key: value for key, value in document.items() if key not in (SYSTEM, ENSEMBLE)}
    parts = _parts(rest, hints | {SYSTEM: str}, problems, at)
    prefix = f"{at}." if at else ""
    name, table = _named(document.get(SYSTEM, registry.DEFAULT), f"[{at}] {SYSTEM}" if at else SYSTEM, problems)
    settings: type[msgspec.Struct] | None = None
    try:
        settings = registry.load(name).Settings if name else None
    except UsageError as error:
        problems.append(f"{f'[{at}] ' if at else ''}{SYSTEM}: {error}")
    of_settings = get_type_hints(settings) if settings is not None else {}
    of_ensemble = get_type_hints(hints[ENSEMBLE])
    ensemble = document.get(ENSEMBLE, {})
    if not isinstance(ensemble, dict):
        problems.append(f"{f'[{at}] ' if at else ''}{ENSEMBLE}: needs a table, not {_given(ensemble)}")
        ensemble = {}
    if name and settings is None:  # which keys there are is not known
        ensemble = {key: value for key, value in ensemble.items() if key in of_ensemble}
        table = {}
    mixed = _parts(ensemble, {**of_settings, **of_ensemble}, problems, f"{prefix}{ENSEMBLE}")
    own = _parts(table, of_settings, problems, f"{prefix}{SYSTEM}.{name}")
    twice = [key for key in own if key in mixed]
    problems += [f"[{prefix}{ENSEMBLE}] {key}: stands in [{prefix}{SYSTEM}.{name}], too; leave it out" for key in twice]
    own |= {key: value for key, value in mixed.items() if key not in of_ensemble}
    parts[SYSTEM] = name
    parts[ENSEMBLE] = hints[ENSEMBLE](**{key: value for key, value in mixed.items() if key in of_ensemble})
    if settings is not None and not problems:
        made = settings(**own)
        parts[SETTINGS] = None if made == settings() else made
    return parts


def _named(value: Any, here: str, problems: list[str]) -> tuple[str, dict[str, Any]]:
    """The name of the system, and the table of its settings; "" where it is not named."""
    if isinstance(value, str):
        return value, {}
    if isinstance(value, dict) and len(value) == 1:
        ((name, table),) = value.items()
        if isinstance(table, dict):
            return name, table
    problems.append(f'{here}: name one system, as in {SYSTEM} = "{registry.DEFAULT}" or [{SYSTEM}.{registry.DEFAULT}]')
    return "", {}


def _belongs(key: str, hints: Mapping[str, Any]) -> str:
    """Into which of the tables a key belongs that was given beside them, as the end of a sentence; empty: into none."""
    tables = [name for name, hint in hints.items() if _is_table(hint) and key in hint.__struct_fields__]
    return f"; it belongs into {' or '.join(f'{name} = {{ {key} = ... }}' for name in tables)}" if tables else ""


def _is_table(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


# ---- words for what a key needs, and what it was given ---------------------------------------------------------------

_ONE = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_MANY = {int: "whole numbers", float: "numbers", str: "texts", bool: "values true or false"}


def _needed(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"a list of {_several(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return f"a table of {_several(get_args(hint)[1])}"
    return "a table" if _is_table(hint) else _ONE[hint]


def _several(hint: Any) -> str:
    if get_origin(hint) is tuple:
        return f"lists of {_several(get_args(hint)[0])}"
    return "tables" if _is_table(hint) else _MANY[hint]


def _given(value: Any) -> str:
    shown = repr(value) if len(repr(value)) <= SHOWN_MAX else f"{repr(value)[:SHOWN_MAX]}..."
    if isinstance(value, str):
        return f"the text {shown}"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        pairs = ", ".join(f"{key} = {part!r}" for key, part in value.items())
        return f"{{{pairs}}}" if 0 < len(pairs) <= SHOWN_MAX else "a table"
    return f"the list {shown}" if isinstance(value, list) else shown


def did_you_mean(key: str, known: Any) -> str:
    """The nearest of the known words, or all of them, as the end of a sentence that refuses `key`."""
    close = difflib.get_close_matches(key, list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else f" (there are: {', '.join(known)})"


# ---- and back --------------------------------------------------------------------------------------------------------


def to_toml(table: msgspec.Struct) -> str:
    """The table as a document, with every key of it and of the system's settings."""
    return tomli_w.dumps(_document(table))


def _document(table: msgspec.Struct) -> dict[str, Any]:
    document = {field: _plain(getattr(table, field)) for field in table.__struct_fields__ if field != SETTINGS}
    if hasattr(table, SETTINGS):
        name = document[SYSTEM]
        settings = getattr(table, SETTINGS)
        values = _document(registry.load(name).Settings() if settings is None else settings)
        document[SYSTEM] = {name: values} if values else name
    return document


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        return _document(value)
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return {key: _plain(part) for key, part in value.items()} if isinstance(value, dict) else value
