"""The reference of settings, from the models: one row for each key, with its type, default and sentence."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from hub.manifest import Manifest
from hub.model import TopicOptions
from hub.settings import example, shape, writing
from hub.settings.model import Settings
from hub.settings.topic import Declarations, PatternText, Rule, Slow
from hub.settings.values import CallableName, Duration, HandlerName, Size
from tests.docs.markdown import code, table

HEAD = ("key", "type", "default", "meaning")
PLACEHOLDERS = {"topics": "<pattern>", "sockets": "<path>"}
NAMES_ONLY = ("rpc",)
"""Maps whose keys are the operator's names and whose values are no maps."""
_NAMED = {
    id(Duration): "duration",
    id(Size): "size",
    id(CallableName): "`module:function`",
    id(HandlerName): "handler",
    id(Rule): "rule",
    id(Slow): "`disconnect`, `drop_oldest` or `conflate:<field>`",
    id(PatternText): "pattern",
}
_READERS = {
    "duration": "duration",
    "size": "size",
    "callable_name": "`module:function`",
    "handler_name": "handler",
    "_rule": "rule",
}
_PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    SecretStr: "secret text",
    Any: "any",
}


def settings_sections() -> str:
    """A heading and a table for each section of hub.yaml."""
    parts = []
    for name in example.ORDER:
        field = shape.fields(Settings)[name]
        parts.append(f"## `{name}`\n\n{field.description}\n\n{table(HEAD, rows(name, field))}")
    return "\n\n".join(parts)


def topic_defaults() -> str:
    """What holds where neither hub.yaml nor a manifest says anything about a topic."""
    options = TopicOptions("")
    held = {
        "allow": "nobody but the server",
        "history": "none",
        "presence": _switch(options.presence),
        "join_leave": _switch(options.join_leave),
        "recovery": code(options.recovery),
        "schema": "none",
        "slow": code(options.slow),
        "max_bytes": code(f"{options.max_bytes // 1024}KiB"),
        "handlers": "none",
    }
    return ", ".join(f"{code(name)} {text}" for name, text in held.items()) + "."


def _switch(on: bool) -> str:
    return "on" if on else "off"


def manifest_keys() -> str:
    """A table of the keys that only plugin.yaml has."""
    shared = set(shape.fields(Declarations))
    own = {name: field for name, field in shape.fields(Manifest).items() if name not in shared}
    return table(HEAD, [row for name, field in own.items() for row in rows(name, field)])


def rows(path: str, field: FieldInfo) -> Iterator[tuple[str, str, str, str]]:
    """The row of a key, or of everything below it when it is a section."""
    found = list(shape.options(field.annotation))
    section = next((each for each in found if shape.is_model(each)), None)
    if section is not None:
        if type(None) in found:
            yield code(path), "map or null", _default(field), field.description or ""
        yield from _below(path, section)
        return
    inner = _values_of_a_map(found)
    if inner is not None:
        yield from _below(f"{path}.{PLACEHOLDERS.get(path, '<name>')}", inner)
        return
    at = f"{path}.<name>" if any(get_origin(each) is dict for each in found) and path in NAMES_ONLY else path
    yield code(at), type_of(field), _default(field), field.description or ""


def _below(path: str, model: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    for name, field in shape.fields(model).items():
        yield from rows(f"{path}.{name}", field)


def _values_of_a_map(found: list[Any]) -> type[BaseModel] | None:
    for each in found:
        if get_origin(each) is dict:
            return next((value for value in shape.options(get_args(each)[1]) if shape.is_model(value)), None)
    return None


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    return code(writing.flow(writing.as_written(value, field)))


def type_of(field: FieldInfo) -> str:
    """A key's type in words, with its bounds."""
    readers = _readers(field.metadata)
    named = next((text for name, text in _READERS.items() if name in readers), None)
    text = named or _words(field.annotation)
    return (_one_or_many(text) if "as_list" in readers else text) + _bounds(field)


def _readers(metadata: Iterable[Any]) -> set[str]:
    """The names of the functions by which a value is read."""
    return {getattr(getattr(part, "func", None), "__name__", "") for part in metadata}


def _one_or_many(text: str) -> str:
    return f"{text.removeprefix('list of ')}, or a list of them"


def _words(annotation: Any) -> str:
    if id(annotation) in _NAMED:
        return _NAMED[id(annotation)]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        text = _words(arguments[0])
        return _one_or_many(text) if "as_list" in _readers(arguments[1:]) else text
    if origin is Literal:
        return " or ".join(code(writing.scalar(value)) for value in arguments)
    if origin in {Union, types.UnionType}:
        kinds = [_words(each) for each in arguments if each is not type(None)]
        return " or ".join(dict.fromkeys(kinds))
    if origin is list:
        return f"list of {_words(arguments[0])}"
    if origin is dict:
        return "map" if arguments[1] is Any else f"map to {_words(arguments[1])}"
    return _PLAIN[annotation]


def _bounds(field: FieldInfo) -> str:
    least = next((part for part in field.metadata if hasattr(part, "ge") or hasattr(part, "gt")), None)
    most = next((part.le for part in field.metadata if hasattr(part, "le")), None)
    low = getattr(least, "ge", None)
    words = []
    if low is not None:
        words.append(f"{low} to {most}" if most is not None else f"at least {low}")
    elif least is not None:
        words.append(f"above {least.gt}")
    return f" ({', '.join(words)})" if words else ""
