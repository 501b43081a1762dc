"""Filters on the tags of publications, as clients ask for them: from JSON to a function.

A filter is a leaf, which compares one tag, or `and`, `or`, `not` over other filters. Clients are told of a mistake when
they subscribe; matching never fails.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

import msgspec
from msgspec import Struct

from hub.errors import BAD_REQUEST, ReplyError
from hub.model import Publication

MAX_DEPTH: Final = 8
MAX_NODES: Final = 32
MAX_VALUES: Final = 128
"""Values that the leaves of one filter compare with, all together."""

MAX_TEXT: Final = 256
"""Characters of a key or a value."""

Tags = Mapping[str, str]
Matches = Callable[[Tags], bool]
_NO_TAGS: Final[Tags] = {}
_DECIMAL: Final = re.compile(r"[+-]?(\d{1,64}(\.\d{0,64})?|\.\d{1,64})", re.ASCII)


class Node(Struct, frozen=True):
    """A filter as it is written; `op` is empty for a leaf."""

    op: str = ""
    key: str = ""
    cmp: str = ""
    val: str = ""
    vals: tuple[str, ...] = ()
    nodes: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class TagFilter:
    """A filter ready for use. Two that are written alike are equal."""

    node: Node
    matches: Matches = field(compare=False, repr=False)

    def admits(self, publication: Publication) -> bool:
        """Whether a client with this filter is sent a publication; joins and leaves always are."""
        return publication.kind != "pub" or self.matches(publication.tags or _NO_TAGS)


def read_filter(raw: bytes) -> TagFilter | None:
    """The filter in a JSON text, None for null. Raises ReplyError 107 where it is none, or too large."""
    try:
        node = msgspec.json.decode(raw, type=Node | None)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise _refused(f"it cannot be read: {error}") from error
    if node is None:
        return None
    nodes = list(_walk(node, 1))
    if len(nodes) > MAX_NODES:
        raise _refused(f"it has more than {MAX_NODES} nodes")
    if sum(len(each.vals) for each in nodes) > MAX_VALUES:
        raise _refused(f"it has more than {MAX_VALUES} values")
    if any(len(text) > MAX_TEXT for each in nodes for text in (each.key, each.val, *each.vals)):
        raise _refused(f"a key or a value has more than {MAX_TEXT} characters")
    return TagFilter(node, _compiled(node))


def _refused(why: str) -> ReplyError:
    return ReplyError(BAD_REQUEST, f"bad request: the tags filter is refused: {why}")


def _walk(node: Node, depth: int) -> Iterator[Node]:
    if depth > MAX_DEPTH:
        raise _refused(f"it is deeper than {MAX_DEPTH} levels")
    yield node
    for child in node.nodes:
        yield from _walk(child, depth + 1)


def _compiled(node: Node) -> Matches:
    if not node.op:
        return _leaf(node)
    if node.op not in {"and", "or", "not"}:
        raise _refused(f"op is and, or, not or left out; found {node.op!r}")
    if not node.nodes or (node.op == "not" and len(node.nodes) > 1):
        raise _refused(f"{node.op} needs {'exactly one' if node.op == 'not' else 'at least one'} of nodes")
    parts = tuple(_compiled(child) for child in node.nodes)
    if node.op == "not":
        return lambda tags: not parts[0](tags)
    if node.op == "and":
        return lambda tags: all(part(tags) for part in parts)
    return lambda tags: any(part(tags) for part in parts)


def _leaf(node: Node) -> Matches:
    _check_leaf(node)
    key, val, vals = node.key, node.val, frozenset(node.vals)
    leaves: dict[str, Matches] = {
        "eq": lambda tags: tags.get(key) == val,
        "neq": lambda tags: tags.get(key) != val,
        "in": lambda tags: tags.get(key, "") in vals,
        "nin": lambda tags: tags.get(key, "") not in vals,
        "ex": lambda tags: key in tags,
        "nex": lambda tags: key not in tags,
        "sw": lambda tags: tags.get(key, "").startswith(val),
        "ew": lambda tags: tags.get(key, "").endswith(val),
        "ct": lambda tags: val in tags.get(key, ""),
    }
    return leaves.get(node.cmp) or _numeric(node)


def _numeric(node: Node) -> Matches:
    """Compares decimals; a tag that is missing or none never matches."""
    key, bound = node.key, _decimal(node.val)
    if bound is None:
        raise _refused(f"{node.cmp} compares decimals; found {node.val!r}")
    compare: Callable[[Decimal, Decimal], bool] = {
        "gt": Decimal.__gt__,
        "gte": Decimal.__ge__,
        "lt": Decimal.__lt__,
        "lte": Decimal.__le__,
    }[node.cmp]

    def matches(tags: Tags) -> bool:
        number = _decimal(tags.get(key, ""))
        return number is not None and compare(number, bound)

    return matches


def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if _DECIMAL.fullmatch(text) else None


_ONE_VALUE: Final = frozenset(("eq", "neq", "sw", "ew", "ct", "gt", "gte", "lt", "lte"))
_MANY_VALUES: Final = frozenset(("in", "nin"))
_NO_VALUE: Final = frozenset(("ex", "nex"))


def _check_leaf(node: Node) -> None:
    cmp = node.cmp
    if cmp not in _ONE_VALUE | _MANY_VALUES | _NO_VALUE:
        raise _refused(f"cmp is one of eq neq in nin ex nex sw ew ct lt lte gt gte; found {cmp!r}")
    if bool(node.val) != (cmp in _ONE_VALUE):
        raise _refused(f"{cmp} {'needs' if cmp in _ONE_VALUE else 'takes no'} val")
    if bool(node.vals) != (cmp in _MANY_VALUES):
        raise _refused(f"{cmp} {'needs' if cmp in _MANY_VALUES else 'takes no'} vals")
    if not node.key and cmp not in _NO_VALUE:
        raise _refused(f"{cmp} needs a key")
