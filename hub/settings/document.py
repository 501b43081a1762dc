"""A configuration file as it was written: its data, and the place of everything in it.

Reading goes in three steps, each of which gives a new document and adds its problems to those before::

    document = Document.read("hub.yaml").expanded(os.environ).with_overrides(overrides(os.environ, sections))
    if document.complete:
        ...  # judge document.data, and say document.place(...) of what is wrong with it

No step raises. What a document holds after a problem is good for finding further problems and for nothing else; whoever
uses it raises `ConfigError(document.problems)` first. `faulty` tells which values were found wrong already, so that
nobody complains about them twice, and `shown` what may be printed of a value: never what came from outside the file.

A value that came from outside may look like a number where a text is wanted (the password `12345`). Its text
is kept: where a text was wanted, `with_text` puts it in place of the number, and the document can be judged again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from hub.settings import nodes
from hub.settings.composer import compose
from hub.settings.expansion import Expander, expand_tree
from hub.settings.files import UnreadableFileError, read_text, too_big
from hub.settings.nodes import Loc, MapNode, Node, ScalarNode
from hub.settings.overrides import Override, apply
from hub.settings.problem import ConfigCode, Fault, Place, Problem

SIZE_LIMIT: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration file, read as far as it can be.

    `complete` is false when the file was not read to its end; its data is then empty, and what it lacks means nothing.
    """

    source: str
    root: MapNode
    problems: tuple[Problem, ...] = ()
    complete: bool = True

    @classmethod
    def read(cls, path: Path | str) -> Document:
        """Reads a UTF-8 file of at most 1 MiB; a file that cannot be read is a problem of the document."""
        try:
            text = read_text(Path(path), SIZE_LIMIT)
        except UnreadableFileError as error:
            return cls._unread(str(path), error)
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, source: str) -> Document:
        """Reads a text; `source` names it in messages, and its folder is where relative paths start."""
        start = Place(source, 1, 1)
        if len(text.encode("utf-8", "surrogatepass")) > SIZE_LIMIT:
            return cls._unread(source, too_big(SIZE_LIMIT))
        read = compose(text.removeprefix("\ufeff"), source)
        root = read.root
        if isinstance(root, MapNode):
            return cls(source, root, read.problems, read.complete)
        problems = read.problems
        if root is not None and not (isinstance(root, ScalarNode) and (root.value is None or root.faulty)):
            what = "a list" if isinstance(root, nodes.ListNode) else "a single value"
            fault = Fault(
                ConfigCode.WRONG_VALUE, f"the file holds {what}, not a map", "Write `key: value` lines."
            )
            problems = (*problems, fault.at(root.place, ()))
        return cls(source, MapNode(start), problems, read.complete and not problems)

    @classmethod
    def _unread(cls, source: str, error: UnreadableFileError) -> Document:
        place = Place(source, error.line, error.column) if error.line else Place(source)
        fault = Fault(ConfigCode.UNREADABLE_FILE, f"the file cannot be used: {error.reason}", error.remedy)
        return cls(source, MapNode(Place(source)), (fault.at(place, ()),), complete=False)

    @property
    def folder(self) -> Path:
        """Where relative paths in the file start."""
        return Path(self.source).parent

    @property
    def data(self) -> dict[str, Any]:
        """Plain dicts, lists and scalars, made anew at each call."""
        data: dict[str, Any] = nodes.construct(self.root)
        return data

    def expanded(self, environ: Mapping[str, str]) -> Document:
        """The document with `${...}` put in; to be done before overrides, whose values are taken as they are."""
        root, problems = expand_tree(self.root, Expander(environ, self.folder))
        return self._changed(root, problems)

    def with_overrides(self, overrides: Collection[Override]) -> Document:
        """The document with environment variables laid over it, maps merged key by key."""
        root, problems = apply(self.root, overrides, self.folder)
        return self._changed(root, problems)

    def with_text(self, locs: Iterable[Loc]) -> Document:
        """The document with the text in place of the number, boolean or null, where it came from outside the file.

        Returns the document itself when none of the locations is of that kind, so that nothing needs judging again.
        """
        wanted = {found.path for loc in locs if _is_retyped((found := nodes.walk(self.root, loc)).node)}
        if not wanted:
            return self

        def as_text(node: ScalarNode, path: nodes.Path) -> ScalarNode:
            return replace(node, value=node.text) if path in wanted else node

        return self._changed(nodes.rewrite(self.root, as_text), ())

    def place(self, loc: Loc) -> Place:
        """Where the key or list item stands that `loc` leads to.

        Parts that do not exist, such as the tags of a union, are skipped, so that a missing key leads to its map.
        """
        return nodes.walk(self.root, loc).place

    def value_place(self, loc: Loc) -> Place:
        """Where the value stands that `loc` leads to, found as by `place`."""
        return nodes.walk(self.root, loc).node.place

    def text(self, loc: Loc) -> str | None:
        """A scalar's text, expanded, whatever type it was given; None for maps and lists."""
        node = nodes.walk(self.root, loc).node
        return node.text if isinstance(node, ScalarNode) else None

    def shown(self, loc: Loc) -> str:
        """What may be printed of a value: the text in the file (`${SECRET}`), `$HUB_X__Y`, `a list` or `a map`."""
        node = nodes.walk(self.root, loc).node
        if isinstance(node, ScalarNode):
            return node.written
        return "a list" if isinstance(node, nodes.ListNode) else "a map"

    def path(self, loc: Loc) -> nodes.Path:
        """The parts of `loc` that exist, without tags of unions."""
        return nodes.walk(self.root, loc).path

    def faulty(self, loc: Loc) -> bool:
        """Tells whether a problem about the value at `loc`, or about one inside it, is known already.

        When the last part of `loc` does not exist, what the values beside it say does not count.
        """
        found = nodes.walk(self.root, loc)
        return (found.complete or isinstance(found.node, ScalarNode)) and nodes.any_faulty(found.node)

    def _changed(self, root: Node, problems: tuple[Problem, ...]) -> Document:
        known = root if isinstance(root, MapNode) else self.root  # no step makes anything else of a map
        return replace(self, root=known, problems=(*self.problems, *problems))


def _is_retyped(node: Node) -> bool:
    return (
        isinstance(node, ScalarNode) and node.outside and not node.faulty and not isinstance(node.value, str)
    )
