"""Scalars of the configuration that people write with units: durations and sizes, and the callables they name."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema

from hub.egress.urls import read_url

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_SIZE = re.compile(r"(\d+)\s*(B|KiB|MiB|GiB|kB|MB|GB)?")
_SIZE_UNITS = {
    None: 1,
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
}
_MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(?:\.\d{1,6})?(?:[Zz]|[+-]\d{2}:\d{2})", re.ASCII
)
_CALLABLE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_HANDLER = re.compile(rf"{_CALLABLE.pattern}|https?://[!-~]+")


def duration(value: Any) -> float:
    """Seconds from `90`, `1.5`, `"500ms"`, `"30s"`, `"5m"`, `"1h"`, `"30d"`; raises ValueError for anything else."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        seconds = float(value)
    elif isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        seconds = float(found.group(1)) * _DURATION_UNITS[found.group(2)]
    else:
        raise ValueError(
            "a duration is a number of seconds, or a number with ms, s, m, h or d, such as 500ms or 1h"
        )
    if not 0 <= seconds <= 3_660 * 86_400:
        raise ValueError("a duration lies between 0 and ten years")
    return seconds


def size(value: Any) -> int:
    """Bytes from `65536`, `"64KiB"`, `"1MiB"`, `"10MB"`; raises ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if isinstance(value, str) and (found := _SIZE.fullmatch(value.strip())):
        return int(found.group(1)) * _SIZE_UNITS[found.group(2)]
    raise ValueError(
        "a size is a number of bytes, or a whole number with KiB, MiB, GiB, kB, MB or GB, such as 64KiB"
    )


def moment(value: Any) -> float:
    """Seconds since 1970 from `"2026-12-01T00:00:00Z"` or another offset; raises ValueError for anything else."""
    if isinstance(value, str) and _MOMENT.fullmatch(value):
        return datetime.fromisoformat(value.upper()).timestamp()
    raise ValueError(
        'a time is written with its zone, such as "2026-12-01T00:00:00Z" or "2026-12-01T09:30:00+02:00"'
    )


def callable_name(value: Any) -> str:
    """A `module:function` text; raises ValueError for anything else."""
    if isinstance(value, str) and _CALLABLE.fullmatch(value):
        return value
    raise ValueError('a handler is written "module:function", such as "handlers:reply"')


def handler_name(value: Any) -> str:
    """A `module:function` text or the URL of a webhook; raises ValueError for anything else."""
    if isinstance(value, str) and "://" in value:
        read_url(value)
        return value
    if isinstance(value, str) and _CALLABLE.fullmatch(value):
        return value
    raise ValueError(
        'a handler is written "module:function", such as "handlers:reply", or is the https:// URL of a webhook'
    )


def one_or_many(item: Any) -> BeforeValidator:
    """Lets a list of one `item`, which is a kind of text, be written without brackets."""
    return BeforeValidator(as_list, json_schema_input_type=item | list[item])


def as_list(value: Any) -> Any:
    """A text as a list of one; anything else as it is."""
    return [value] if isinstance(value, str) else value


def _whole(pattern: re.Pattern[str]) -> str:
    return f"^(?:{pattern.pattern})$"


Duration = Annotated[
    float,
    BeforeValidator(duration),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _whole(_DURATION)}]}
    ),
]
Size = Annotated[
    int,
    BeforeValidator(size),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": _whole(_SIZE)}]}
    ),
]
Moment = Annotated[
    float,
    BeforeValidator(moment),
    WithJsonSchema({"type": "string", "pattern": _whole(_MOMENT)}),
]
CallableName = Annotated[
    str, BeforeValidator(callable_name), WithJsonSchema({"type": "string", "pattern": _whole(_CALLABLE)})
]
HandlerName = Annotated[
    str, BeforeValidator(handler_name), WithJsonSchema({"type": "string", "pattern": _whole(_HANDLER)})
]
HandlerNames = Annotated[list[HandlerName], one_or_many(HandlerName), Field(min_length=1)]
CallableNames = Annotated[list[CallableName], one_or_many(CallableName), Field(min_length=1)]
