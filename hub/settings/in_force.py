"""The configuration in force: the file, what the environment lays over it, and the defaults, without secrets.

What was given is shown in the words in which it was given, with expansions put in, so that it means the same to who
reads it again; what was not given is shown as `hub config` shows it. An option is left out where leaving it out means
something else than its default: in topics, where the manifest's value then holds, and for the algorithms of tokens
whose keys an issuer publishes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from hub.settings import masking, nodes, shape
from hub.settings.example import EXAMPLES, ORDER
from hub.settings.load import Loaded
from hub.settings.masking import HIDDEN, Masks
from hub.settings.model import Settings
from hub.settings.nodes import ListNode, MapNode, Node, Path, ScalarNode
from hub.settings.overrides import VARIABLE
from hub.settings.problem import Place
from hub.settings.scalars import resolve
from hub.settings.verification import fetches_keys
from hub.settings.writing import as_written, flow, indent, scalar

_ALGORITHMS: Final[Path] = ("auth", "jwt", "algorithms")


@dataclass(frozen=True, slots=True)
class Shown:
    """A value as it may be printed: plain data. `place` is where it was given, None for a default."""

    value: Any
    place: Place | None

    @property
    def origin(self) -> str:
        """`hub.yaml:7:5`, the name of an environment variable, or `default`."""
        return "default" if self.place is None else str(self.place).removeprefix(VARIABLE)


Tree: TypeAlias = "dict[str, Tree] | Shown"


@dataclass(frozen=True, slots=True)
class _Member:
    """A part of a validated value: the keys that may stand for it, the one to show first, and what is known of it."""

    keys: tuple[str, ...]
    value: Any
    field: FieldInfo | None = None
    given: bool = True


def in_force(loaded: Loaded, plugins: Mapping[str, Any]) -> dict[str, Tree]:
    """The sections in the order of `hub config`, as maps down to values, with every secret masked.

    `plugins` are the validated settings of the plugins that are on, by name; of others nobody knows which values are
    secret, so that all are hidden. Raises ConfigError for a configuration with mistakes.
    """
    settings, root = loaded.settings, loaded.document.root
    masks = Masks({text for each in (settings, *plugins.values()) for text in masking.secret_texts(each)})
    read = _Reading(Settings, masks, omitted={_ALGORITHMS} if fetches_keys(settings.auth.jwt) else set())
    whole = read.tree(settings, root, ())
    if not isinstance(whole, dict):
        return {}
    sections = {name: whole[name] for name in ORDER}
    if isinstance(sections["plugins"], dict):
        for name, shown in sections["plugins"].items():
            node = nodes.walk(root, ("plugins", name, "settings"))
            if isinstance(shown, dict):
                given = node.node if node.complete else None
                shown["settings"] = _plugin(plugins.get(name), given, masks)
    return sections


def plain(tree: Tree) -> Any:
    """The values without their origins."""
    return tree.value if isinstance(tree, Shown) else {key: plain(below) for key, below in tree.items()}


def with_origins(tree: Tree) -> Any:
    """The values as maps with `value` and `origin`."""
    if isinstance(tree, Shown):
        return {"value": tree.value, "origin": tree.origin}
    return {key: with_origins(below) for key, below in tree.items()}


def as_yaml(tree: Mapping[str, Tree], *, origins: bool = False, depth: int = 0) -> Iterator[str]:
    """Lines of YAML, which `hub check` takes but for what is masked; with the origin of each value as a comment."""
    for key, below in tree.items():
        start = f"{indent(depth)}{scalar(key)}:"
        if isinstance(below, dict):
            yield start
            yield from as_yaml(below, origins=origins, depth=depth + 1)
        else:
            comment = f"  # {_printable(below.origin)}" if origins else ""
            yield f"{start} {flow(_unexpanded(below.value))}{comment}"


def _plugin(settings: Any, node: Node | None, masks: Masks) -> Tree:
    if isinstance(settings, BaseModel):
        return _Reading(type(settings), masks).tree(settings, node, ())
    if node is None:
        return Shown({}, None)
    return Shown(masking.hidden(nodes.construct(node)) or {}, node.place)


class _Reading:
    """Lays a validated value beside the nodes that it was made of."""

    def __init__(self, model: type[BaseModel], masks: Masks, omitted: set[Path] | None = None) -> None:
        self._model = model
        self._masks = masks
        self._omitted = omitted or set()
        self._operators = frozenset(EXAMPLES) if model is Settings else frozenset()

    def tree(self, value: Any, node: Node | None, path: Path, field: FieldInfo | None = None) -> Tree:
        """What may be shown of a value that stands at `path`, and was given at `node` if at all."""
        place = node.place if node else None
        if value is None and (node is None or _is_null(node)):
            return Shown(None, place)
        if masking.is_secret(value) or shape.secret(self._model, path):
            return Shown(self._secret(value, path), place)
        if isinstance(value, RootModel):
            return self.tree(value.root, node, path, field)
        members = _members(value, node if isinstance(node, MapNode) else None)
        if members is not None and (node is None or isinstance(node, MapNode) or _is_null(node)):
            return self._map(members, node if isinstance(node, MapNode) else None, path) or Shown({}, place)
        return Shown(self._leaf(value, node, path, field), place)

    def _secret(self, value: Any, path: Path) -> str:
        if self._model is Settings and path[:2] == ("auth", "api_keys"):
            return masking.api_key(value.get_secret_value())
        return HIDDEN

    def _map(self, members: list[_Member], node: MapNode | None, path: Path) -> dict[str, Tree]:
        entries = node.entries if node else {}
        found: dict[str, Tree] = {}
        for member in members:
            key = next((key for key in member.keys if key in entries), member.keys[0])
            below = (*path, key)
            if key not in entries and self._left_out(member, below):
                continue
            inner = entries[key].node if key in entries else None
            found[self._key(key)] = self.tree(member.value, inner, below, member.field)
        return found

    def _key(self, key: str) -> str:
        """A plugin may keep by a secret what others keep by a name; the hub does not."""
        return key if self._model is Settings else self._masks.text(key)

    def _left_out(self, member: _Member, path: Path) -> bool:
        """Whether it would say too much to show what was not given."""
        if member.given or not self._operators:
            return False
        if path in self._omitted or (path[0] == "topics" and len(path) > 1):
            return True
        named = any(path[:end] in self._operators for end in range(1, len(path)))
        return named and member.value is None

    def _leaf(self, value: Any, node: Node | None, path: Path, field: FieldInfo | None) -> Any:
        """Plain data for what is no map, or was made of something else than it became."""
        if isinstance(value, (list, tuple)):
            items = _items(node, len(value))
            if items is not None:
                told = [
                    plain(self.tree(one, item, (*path, at)))
                    for at, (one, item) in enumerate(zip(value, items, strict=True))
                ]
                single = len(told) == 1 and (
                    isinstance(node, ScalarNode) or (node is None and _may_be_alone(value, field))
                )
                return told[0] if single else told
        if node is None:
            written = as_written(value, field) if field else value
            return self._masks.data(to_jsonable_python(written, bytes_mode="base64", fallback=str))
        if next(masking.secret_texts(value), None) is not None:
            return HIDDEN
        return self._given(node, value, path)

    def _given(self, node: Node, value: Any, path: Path) -> Any:
        if isinstance(node, ScalarNode):
            return self._masks.data(_word(node, value)) if not shape.secret(self._model, path) else HIDDEN
        if isinstance(node, ListNode):
            return [self._given(item, ..., (*path, at)) for at, item in enumerate(node.items)]
        return {
            self._key(key): self._given(entry.node, ..., (*path, key)) for key, entry in node.entries.items()
        }


def _members(value: Any, node: MapNode | None) -> list[_Member] | None:
    """The parts of a map, model or dataclass; None for anything else, and for maps whose keys are secret."""
    if isinstance(value, BaseModel):
        said = value.model_fields_set
        own = [
            _Member((key, *shape.names(name, field)), getattr(value, name), field, name in said)
            for (key, field), name in zip(
                shape.fields(type(value)).items(), type(value).model_fields, strict=True
            )
        ]
        return own + [_Member((key,), extra) for key, extra in (value.model_extra or {}).items()]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [_Member((each.name,), getattr(value, each.name)) for each in dataclasses.fields(value)]
    if not isinstance(value, Mapping) or any(map(masking.is_secret, value)):
        return None
    # A model may have changed the keys, never their order.
    written = list(node.entries) if node and len(node.entries) == len(value) else list(map(str, value))
    return [_Member((key,), below) for key, below in zip(written, value.values(), strict=True)]


def _items(node: Node | None, length: int) -> list[Node | None] | None:
    """The nodes of a list's items; None when the list was not made of them one by one."""
    if node is None:
        return [None] * length
    if isinstance(node, ListNode):
        return list(node.items) if len(node.items) == length else None
    return [node] if isinstance(node, ScalarNode) and length == 1 else None


def _may_be_alone(value: Any, field: FieldInfo | None) -> bool:
    return field is not None and as_written(value, field) is not value


def _word(node: ScalarNode, value: Any) -> Any:
    """A scalar as it must be written to mean the same; what came from outside was read as what the model wants."""
    if not node.outside or isinstance(node.value, type(value)):
        return node.value
    if isinstance(value, str):
        return node.text
    word = resolve(node.text.strip())
    return word if word == value else node.value


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.value is None


def _unexpanded(value: Any) -> Any:
    """The value as it must stand in a file, where `${` would begin an expansion."""
    if isinstance(value, dict):
        return {key: _unexpanded(below) for key, below in value.items()}
    if isinstance(value, list):
        return [_unexpanded(item) for item in value]
    return value.replace("${", "$${") if isinstance(value, str) else value


def _printable(text: str) -> str:
    return "".join(mark if mark.isprintable() else "?" for mark in text)
