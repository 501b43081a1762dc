"""Data as people write it in YAML: short where that can be read, with quotes only where they are needed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from hub.settings.scalars import ambiguity, resolve
from hub.settings.values import as_list, duration, size

_LONGEST_FLOW: Final = 80
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_./-]*")


def as_written(value: Any, field: FieldInfo) -> Any:
    """A default as a person would write it: durations and sizes with their units."""
    if isinstance(value, BaseModel):
        return value.model_dump(exclude_unset=True)
    readers = {getattr(part, "func", None) for part in field.metadata}
    if duration in readers and isinstance(value, (int, float)):
        return _with_unit(value, {"d": 86_400, "h": 3_600, "m": 60, "s": 1}) or value
    if size in readers and isinstance(value, int):
        return _with_unit(value, {"MiB": 2**20, "KiB": 2**10}) or value
    return value[0] if as_list in readers and isinstance(value, list) and len(value) == 1 else value


def _with_unit(value: float, units: dict[str, int]) -> str | None:
    found = next(
        ((unit, factor) for unit, factor in units.items() if value >= factor and not value % factor), None
    )
    return f"{int(value // found[1])}{found[0]}" if found else None


def lines(key: str, value: Any, depth: int) -> Iterator[str]:
    """A key and its value: on one line while that is short and holds no map, else a line for each key."""
    start = f"{indent(depth)}{scalar(key)}:"
    short = flow(value)
    nested = isinstance(value, dict) and any(isinstance(inner, dict) for inner in value.values())
    if not isinstance(value, dict) or not value or not (nested or len(short) > _LONGEST_FLOW):
        yield f"{start} {short}"
        return
    yield start
    for below, inner in value.items():
        yield from lines(below, inner, depth + 1)


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(flow(item) for item in value) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """A value as JSON says it, without quotes where no reader could take the text for something else."""
    if (
        isinstance(value, str)
        and _PLAIN.fullmatch(value)
        and resolve(value) == value
        and not ambiguity(value)
    ):
        return value
    return "".join(map(_visible, json.dumps(value, ensure_ascii=False)))


def _visible(mark: str) -> str:
    """A character as it may stand between double quotes, where none may steer a terminal or break the line."""
    return mark if mark.isprintable() else f"\\U{ord(mark):08x}"


def indent(depth: int) -> str:
    """What stands before a line."""
    return "  " * depth
