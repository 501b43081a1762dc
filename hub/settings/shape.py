"""What a model has room for: the keys it knows in a place, the values it allows there, and which of them are secret.

A place is a path through the data (`("auth", "jwt", "secret")`); the functions follow it through annotations. They
never raise: of what they cannot follow, such as a type alias of another library, they know nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import AliasChoices, BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo

_MAPS = (dict, Mapping)
_LISTS = (list, set, frozenset, Sequence)


def options(annotation: Any) -> Iterator[Any]:
    """The types that a value may have: unions, `Annotated` and named aliases are taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from options(get_args(annotation)[0])
    elif origin in {Union, UnionType}:
        for part in get_args(annotation):
            yield from options(part)
    elif hasattr(annotation, "__value__"):
        yield from options(annotation.__value__)
    else:
        yield annotation


def is_model(annotation: Any) -> TypeGuard[type[BaseModel]]:
    """Whether an annotation is a class of pydantic models."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def fields(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """A model's fields by the key that stands for them in a file."""
    return {_key(name, field): field for name, field in model.model_fields.items()}


def names(name: str, field: FieldInfo) -> list[str]:
    """A field's name and whatever else may stand for it in a file; `fields` takes the first of these, if any."""
    alias = field.validation_alias or field.alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    return [name, *(choice for choice in choices if isinstance(choice, str))]


def within(annotation: Any, path: Sequence[str | int]) -> list[Any]:
    """The types that the value at `path` may have; empty when the annotation has no such place."""
    found = list(options(annotation))
    for part in path:
        found = [below for above in found for below in _step(above, part)]
    return found


def keys(annotation: Any, path: Sequence[str | int]) -> list[str]:
    """The keys that the models at `path` know, in the order of their declaration."""
    return [key for found in within(annotation, path) if is_model(found) for key in fields(found)]


def literals(annotation: Any, path: Sequence[str | int]) -> list[Any]:
    """The values that a `Literal` at `path` allows."""
    return [
        value
        for found in within(annotation, path)
        if get_origin(found) is Literal
        for value in get_args(found)
    ]


def secret(annotation: Any, path: Sequence[str | int]) -> bool:
    """Whether the value at `path`, or one that holds it, is of a secret type."""
    return any(_is_secret(found) for end in range(len(path) + 1) for found in within(annotation, path[:end]))


def holds_secret(annotation: Any, path: Sequence[str | int]) -> bool:
    """Whether the map or list at `path` has room for a secret, so that a text in its place may be that secret."""
    return any(map(_holds_secret, within(annotation, path)))


def strays(annotation: Any, data: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Paths of keys that a model would take no notice of.

    Models that say themselves what is to become of unknown keys (`extra` in their configuration) are left alone, and so
    is a place where one of several models may stand.
    """
    yield from _strays(list(options(annotation)), data, path)


def home(model: type[BaseModel], key: str) -> str | None:
    """Where among a model's sections a key belongs: `server.port` for `port`; None unless one place is the nearest."""
    found = sorted(_homes(model, key), key=len)
    depths = [len(path) for path in found]
    return ".".join(found[0]) if depths.count(min(depths, default=0)) == 1 else None


def _homes(model: type[BaseModel], key: str) -> Iterator[tuple[str, ...]]:
    for section, field in fields(model).items():
        for found in options(field.annotation):
            if is_model(found):
                yield from ((section, *below) for below in _homes(found, key))
                yield from [(section, key)] if key in fields(found) else []


def _strays(allowed: list[Any], data: Any, path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    models = [option for option in allowed if option is not type(None)]
    if len(models) != 1 or not isinstance(data, (dict, list)):
        return
    here = models[0]
    if isinstance(data, dict) and is_model(here) and "extra" not in here.model_config:
        known = {name for key, field in here.model_fields.items() for name in names(key, field)}
        yield from ((*path, key) for key in data if key not in known)
    for part, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield from _strays(list(_step(here, part)), value, (*path, part))


def _key(name: str, field: FieldInfo) -> str:
    return next(iter(names(name, field)[1:]), name)


def _step(annotation: Any, part: str | int) -> Iterator[Any]:
    if is_model(annotation):
        field = fields(annotation).get(part) if isinstance(part, str) else None
        yield from options(field.annotation) if field else ()
        return
    origin, args = get_origin(annotation), get_args(annotation)
    if isinstance(origin, type) and issubclass(origin, _MAPS) and isinstance(part, str) and len(args) > 1:
        yield from options(args[1])
    elif origin is tuple and isinstance(part, int) and args:
        yield from options(args[0 if args[-1] is Ellipsis else min(part, len(args) - 1)])
    elif isinstance(origin, type) and issubclass(origin, _LISTS) and isinstance(part, int) and args:
        yield from options(args[0])


def _holds_secret(annotation: Any) -> bool:
    if is_model(annotation):
        below = [found for field in fields(annotation).values() for found in options(field.annotation)]
    elif get_origin(annotation) in _MAPS:
        below = list(options(get_args(annotation)[1]))
    elif get_origin(annotation) in _LISTS:
        below = list(options(get_args(annotation)[0]))
    else:
        return False
    return any(_is_secret(found) or (found is not annotation and _holds_secret(found)) for found in below)


def _is_secret(annotation: Any) -> bool:
    return get_origin(annotation) is Secret or (
        isinstance(annotation, type) and issubclass(annotation, (SecretStr, SecretBytes))
    )
