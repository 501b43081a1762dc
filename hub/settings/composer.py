"""From YAML text to a tree of nodes, with every problem on the way.

The parser's events are composed here, and not by PyYAML, because PyYAML stops at the first mistake, keeps the last of
two equal keys in silence, and reads unquoted words by YAML 1.1. Of YAML we take maps with text keys, lists, and scalars
of the core schema; aliases, anchors, merge keys, tags and several documents are refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import yaml

from hub.settings.nodes import Entry, ListNode, MapNode, Node, Path, ScalarNode
from hub.settings.problem import ConfigCode, Fault, Place, Problem, shortened
from hub.settings.scalars import Ambiguity, ambiguity, is_whole, resolve
from hub.settings.syntax import explain, unprintable

MAX_DEPTH: Final = 64
MAX_PROBLEMS: Final = 100  # who has made more has one mistake of another kind, such as a wrong file
PARSER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the one in C is twenty times as fast


@dataclass(frozen=True, slots=True)
class Composition:
    """A tree, None for an empty text, with its problems; `complete` is false when the text was not read to its end."""

    root: Node | None
    problems: tuple[Problem, ...]
    complete: bool


def compose(text: str, source: str, parser: Any = PARSER) -> Composition:
    """Reads the text of a file; never raises."""
    return _Composer(text, parser, Place(source), (), "").run()


def compose_inline(text: str, place: Place, path: Path, written: str) -> Composition:
    """Reads a value that stands outside any file, where `path` leads; never raises.

    All nodes get the same place and show `written` instead of their text. Words that are not clear stay text.
    """
    return _Composer(text, PARSER, place, path, written).run()


class _StopReading(Exception):
    """Ends the reading; the problems are noted already."""


class _Composer:
    def __init__(self, text: str, parser: Any, place: Place, path: Path, written: str) -> None:
        self._text = text
        self._parser = parser
        self._place = place
        self._path = path
        self._written = written
        self._inline = bool(written)
        self._problems: list[Problem] = []

    def run(self) -> Composition:
        """Composes the first document and notes whatever is wrong."""
        found = unprintable(self._text)
        if found:
            self._note(*found)
            return Composition(None, tuple(self._problems), complete=False)
        try:
            root = self._document(yaml.parse(self._text, Loader=self._parser))
        except _StopReading:
            return Composition(None, tuple(self._problems), complete=False)
        except (
            yaml.YAMLError,
            ValueError,
            OverflowError,
        ) as error:  # the last two: numbers in escapes and directives
            self._note(*explain(error, self._text))
            return Composition(None, tuple(self._problems), complete=False)
        return Composition(root, tuple(self._problems), complete=True)

    def _document(self, events: Iterator[yaml.Event]) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self._refuse(
                        event,
                        self._path,
                        "a second document begins here",
                        "Remove the `---`, or make it a file.",
                    )
                    return root
            elif isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, self._path, 0)
        return root

    def _node(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            self._refuse(
                event, path, "an alias (`*name`) is not taken", "Write the value out, or put it in quotes."
            )
            return ScalarNode(self._at(event), "", None, "", plain=True, faulty=True)
        faulty = self._decorated(event, path)
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path, faulty)
        if depth >= MAX_DEPTH:
            self._report(
                self._at(event), path, Fault(ConfigCode.TOO_DEEP, f"more than {MAX_DEPTH} levels are nested")
            )
            raise _StopReading
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(event, events, path, depth)
        return self._map(event, events, path, depth)

    def _scalar(self, event: yaml.ScalarEvent, path: Path, faulty: bool) -> ScalarNode:
        plain = not event.style
        text = event.value
        unclear = ambiguity(text) if plain and not self._inline else None
        if unclear:
            self._report(self._at(event), path, _ambiguous(text, unclear))
        elif self._halved(event, path):
            text, faulty = "", True
        return ScalarNode(
            self._at(event),
            text,
            resolve(text) if plain else text,
            self._written or text,
            plain,
            outside=self._inline,
            faulty=faulty or unclear is not None,
        )

    def _halved(self, event: yaml.ScalarEvent, path: Path) -> bool:
        """Refuses half a character written as an escape, which the parser in C does and the one in Python does not."""
        halved = not is_whole(event.value)
        if halved:
            self._report(self._at(event), path, _HALF_CHARACTER)
        return halved

    def _list(self, start: yaml.Event, events: Iterator[yaml.Event], path: Path, depth: int) -> ListNode:
        items: list[Node] = []
        for event in events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self._node(event, events, (*path, len(items)), depth + 1))
        return ListNode(self._at(start), tuple(items))

    def _map(self, start: yaml.Event, events: Iterator[yaml.Event], path: Path, depth: int) -> MapNode:
        entries: dict[str, Entry] = {}
        for event in events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self._key(event, events, path, depth)
            node = self._node(next(events), events, path if key is None else (*path, key), depth + 1)
            if key in entries:
                self._duplicate(event, key, entries[key].place, path)
            elif key is not None:
                entries[key] = Entry(self._at(event), node)
        return MapNode(self._at(start), entries)

    def _key(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path, depth: int) -> str | None:
        """The key's text, or None when it is one under which nothing can be kept."""
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event, events, path, depth + 1)
            if not isinstance(event, yaml.AliasEvent):
                self._report(self._at(event), path, _not_text("a list or map", "Write a text as the key."))
            return None
        key = event.value
        self._decorated(event, (*path, key))
        if event.style:
            return None if self._halved(event, path) else key
        if key == "<<":
            self._refuse(event, path, "a merge key (`<<`) is not taken", "Write the keys out.")
            return None
        value = resolve(key)
        if not isinstance(value, str):
            kind = _KINDS[type(value)]
            self._report(
                self._at(event), (*path, key), _not_text(kind, f'Write "{shortened(key)}" in quotes.')
            )
        return key

    def _duplicate(self, event: yaml.Event, key: str, first: Place, path: Path) -> None:
        where = f"first at line {first.line}" if first.line else "for the second time"
        self._report(
            self._at(event),
            (*path, key),
            Fault(
                ConfigCode.DUPLICATE_KEY,
                f"duplicate key `{shortened(key)}`, {where}",
                "One of the two would be lost without notice; keep one, or merge them.",
            ),
        )

    def _decorated(self, event: Any, path: Path) -> bool:
        """Refuses an anchor or a tag in front of a node; tells whether there was one."""
        if event.anchor is not None:
            self._refuse(
                event, path, "an anchor (`&name`) is not taken", "If it is text, put the value in quotes."
            )
        if event.tag is not None:
            self._refuse(
                event, path, "a tag (`!name`) is not taken", "If it is text, put the value in quotes."
            )
        return event.anchor is not None or event.tag is not None

    def _refuse(self, event: yaml.Event, path: Path, message: str, remedy: str) -> None:
        self._report(self._at(event), path, Fault(ConfigCode.REFUSED_FEATURE, message, remedy))

    def _note(self, fault: Fault, line: int, column: int) -> None:
        self._problems.append(fault.at(self._spot(line, column), self._path))

    def _report(self, place: Place, path: Path, fault: Fault) -> None:
        self._problems.append(fault.at(place, path))
        if len(self._problems) >= MAX_PROBLEMS:
            raise _StopReading

    def _at(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        return self._spot(mark.line, mark.column) if mark else self._place

    def _spot(self, line: int, column: int) -> Place:
        return self._place if self._inline else Place(self._place.source, line + 1, column + 1)


_HALF_CHARACTER: Final = Fault(
    ConfigCode.SYNTAX, "an escape in double quotes names no character", "Use single quotes, or mend it."
)
_KINDS: Final = {bool: "a boolean", int: "a number", float: "a number", type(None): "null"}


def _not_text(kind: str, remedy: str) -> Fault:
    return Fault(ConfigCode.KEY_NOT_TEXT, f"the key is {kind}, and only text can be a key", remedy)


def _ambiguous(text: str, unclear: Ambiguity) -> Fault:
    message = f"`{shortened(text)}` is not clear: it may mean {unclear.meanings}"
    return Fault(ConfigCode.AMBIGUOUS_SCALAR, message, unclear.remedy)
