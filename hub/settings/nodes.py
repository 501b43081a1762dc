"""The tree of a configuration: what stands where, before anything is checked.

A tree is made of `ScalarNode`, `ListNode` and `MapNode`, none of which changes. Each knows its place, so that a mistake
found late, in a value that was expanded or overridden, still leads to where it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from hub.settings.problem import Place
from hub.settings.scalars import Scalar

Loc: TypeAlias = Sequence[str | int]
Path: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """One value.

    `text` is the value as text, after expansion; `written` what stands in the file, which alone may be shown to people;
    `plain` is true without quotes; `outside` when the text came from the environment or another file; `faulty` when a
    problem about it was reported.
    """

    place: Place
    text: str
    value: Scalar
    written: str
    plain: bool
    outside: bool = False
    faulty: bool = False


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list, in order."""

    place: Place
    items: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """What a key leads to; `place` is the key's own."""

    place: Place
    node: Node


@dataclass(frozen=True, slots=True)
class MapNode:
    """A map from keys, which are always text, to entries, in the order of the file."""

    place: Place
    entries: Mapping[str, Entry] = field(default_factory=dict)


Node: TypeAlias = ScalarNode | ListNode | MapNode


@dataclass(frozen=True, slots=True)
class Found:
    """Where a walk ended: the place of the key or item, its node, the path taken, and whether the last part existed."""

    place: Place
    node: Node
    path: Path
    complete: bool


def walk(root: Node, loc: Loc) -> Found:
    """Follows `loc` from the root as far as it exists; parts that do not exist are skipped."""
    found = Found(root.place, root, (), complete=True)
    for part in loc:
        step = _child(found.node, part)
        if step is None:
            found = replace(found, complete=False)
        else:
            found = Found(step.place, step.node, (*found.path, part), complete=True)
    return found


def construct(node: Node) -> Any:
    """Plain dicts, lists and scalars, made anew at each call."""
    if isinstance(node, ScalarNode):
        return node.value
    if isinstance(node, ListNode):
        return [construct(item) for item in node.items]
    return {key: construct(entry.node) for key, entry in node.entries.items()}


def any_faulty(node: Node) -> bool:
    """Tells whether a problem was reported about the node or anything in it."""
    if isinstance(node, ScalarNode):
        return node.faulty
    if isinstance(node, ListNode):
        return any(any_faulty(item) for item in node.items)
    return any(any_faulty(entry.node) for entry in node.entries.values())


def rewrite(node: Node, change: Callable[[ScalarNode, Path], ScalarNode], path: Path = ()) -> Node:
    """The same tree with every scalar replaced by what `change` makes of it; keys stay as they are."""
    if isinstance(node, ScalarNode):
        return change(node, path)
    if isinstance(node, ListNode):
        return replace(
            node,
            items=tuple(rewrite(item, change, (*path, number)) for number, item in enumerate(node.items)),
        )
    return replace(
        node,
        entries={
            key: replace(entry, node=rewrite(entry.node, change, (*path, key)))
            for key, entry in node.entries.items()
        },
    )


def nested(path: Sequence[str], node: Node) -> Node:
    """The node inside a map for each part of `path`, all at the node's place."""
    for key in reversed(path):
        node = MapNode(node.place, {key: Entry(node.place, node)})
    return node


def merge(base: Node, top: Node) -> Node:
    """Lays `top` over `base`: two maps are merged key by key, of anything else `top` remains."""
    if not (isinstance(base, MapNode) and isinstance(top, MapNode)):
        return top
    entries = dict(base.entries)
    for key, entry in top.entries.items():
        under = entries.get(key)
        both_maps = under is not None and isinstance(under.node, MapNode) and isinstance(entry.node, MapNode)
        entries[key] = Entry(under.place, merge(under.node, entry.node)) if under and both_maps else entry
    return replace(base, entries=entries)


def _child(node: Node, part: str | int) -> Entry | None:
    if isinstance(node, MapNode):
        return node.entries.get(part) if isinstance(part, str) else None
    if isinstance(node, ListNode) and isinstance(part, int) and 0 <= part < len(node.items):
        return Entry(node.items[part].place, node.items[part])
    return None
