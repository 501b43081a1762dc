"""A document judged by a model: what it says, or everything that is wrong with it.

Values are read as strictly as JSON: `"8000"` is no number, `yes` no boolean and `1.0` no whole number. Only what came
from the environment or from another file, which have no quotes, is taken as what the model wants in its place.

A document with mistakes is judged as well as it can be: what is wrong is taken out, so that further mistakes are found
in what remains, and reported together with the first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any, Final, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from hub.from_file import FaultyFile, FileReader
from hub.settings import nodes, shape
from hub.settings.diagnosis import UNKNOWN, WANTS_TEXT, WANTS_WORD, Diagnosis
from hub.settings.document import Document
from hub.settings.nodes import Path, ScalarNode
from hub.settings.problem import Problem
from hub.settings.scalars import resolve

ModelT = TypeVar("ModelT", bound=BaseModel)
_ROUNDS: Final = 20


@dataclass(frozen=True, slots=True)
class Verdict(Generic[ModelT]):
    """What a model made of a document.

    `value` is what the document says, without what is wrong in it; None when nothing of use remains. `problems` are the
    document's own and the model's. `removed` are the places of what was taken out.
    """

    document: Document
    value: ModelT | None
    problems: tuple[Problem, ...] = ()
    removed: frozenset[Path] = field(default_factory=frozenset)

    def settled(self, loc: Sequence[str | int]) -> bool:
        """Whether a mistake at `loc`, in it or around it is known, so that a complaint about it would be an echo."""
        path = tuple(loc)
        return self.document.faulty(path) or any(
            path[: len(gone)] == gone or gone[: len(path)] == path for gone in self.removed
        )


def judge(
    model: type[ModelT],
    document: Document,
    under: Path = (),
    *,
    folder: FilePath | None = None,
    read_file: FileReader | None = None,
) -> Verdict[ModelT]:
    """Reads the part of a document that begins at `under` as a model; what is not there counts as empty.

    Keys that the model would take no notice of are mistakes, unless it says in its configuration what to do with them.
    Validators of the model find in their context `folder`, where relative paths start, and `read_file`, which reads the
    files of `hub.plugin.FromFile` and tells by itself what is wrong in them.
    """
    return _Judge(model, document, under, {"folder": folder or document.folder, "read_file": read_file}).run()


class _Judge(Generic[ModelT]):
    """Judges one document: a round for each layer of mistakes."""

    def __init__(
        self, model: type[ModelT], document: Document, under: Path, context: Mapping[str, Any]
    ) -> None:
        self._model = model
        self._document = document
        self._under = under
        self._context = context
        self._problems = list(document.problems) if not under else []
        self._removed: set[Path] = set()
        self._read_as_words: set[Path] = set()

    def run(self) -> Verdict[ModelT]:
        """At most twenty rounds; each takes out at least one mistake."""
        for _ in range(_ROUNDS):
            data = self._data()
            try:
                value = self._model.model_validate_json(json.dumps(data), strict=True, context=self._context)
                errors: list[Any] = []
            except ValidationError as error:
                value, errors = None, list(error.errors(include_url=False))
            if errors and self._retype(errors):
                continue
            errors += [{"type": UNKNOWN, "loc": loc} for loc in shape.strays(self._model, data)]
            if not errors or not self._take_out(errors):
                return self._verdict(None if errors else value)
        return self._verdict(None)

    def _verdict(self, value: ModelT | None) -> Verdict[ModelT]:
        problems = tuple(dict.fromkeys(self._problems))
        return Verdict(self._document, value, problems, frozenset(self._removed))

    def _data(self) -> Any:
        data: Any = self._document.data
        for part in self._under:
            data = data.get(part, {}) if isinstance(data, dict) else {}
        for path in self._removed:
            _remove(data, path[len(self._under) :])
        return data

    def _retype(self, errors: list[Any]) -> bool:
        """Takes values from outside as what is wanted in their places; false when there is no such value."""
        before = self._document
        locs = {
            kind: [(*self._under, *error["loc"]) for error in errors if error["type"] in kind]
            for kind in _KINDS
        }
        self._document = self._document.with_text(locs[WANTS_TEXT])
        wanted = {self._document.path(loc) for loc in locs[WANTS_WORD]} - self._read_as_words
        self._read_as_words |= wanted
        self._document = _with_words(self._document, wanted)
        return self._document != before

    def _take_out(self, errors: list[Any]) -> bool:
        """Reports errors and removes what caused them; false when nothing can be removed."""
        diagnosis = Diagnosis(self._document, self._model, self._under)
        new = [
            error
            for error in errors
            if error["type"] != FaultyFile.KIND and not self._is_echo(diagnosis.at(error))
        ]
        self._problems += diagnosis.problems(new)
        gone = {self._cause(error) for error in errors}
        if self._under in gone or gone <= self._removed:
            return False
        self._removed |= gone
        return True

    def _is_echo(self, path: Path) -> bool:
        """Whether an error is due to what was taken out of the value that it is about."""
        return any(gone[: len(path)] == path or gone[:-1] == path[:-1] for gone in self._removed)

    def _cause(self, error: Mapping[str, Any]) -> Path:
        """What to remove: the key or value at fault, the map that lacks something, the list that holds it."""
        loc = (*self._under, *error["loc"])
        if error["type"] == "missing":
            loc = loc[:-1]
        path = self._document.path(loc)
        if path[: len(self._under)] != self._under:
            return self._under
        first_number = next((at for at, part in enumerate(path) if isinstance(part, int)), len(path))
        return path[:first_number]


_KINDS: Final = (WANTS_TEXT, WANTS_WORD)


def _with_words(document: Document, paths: set[Path]) -> Document:
    def as_word(node: ScalarNode, path: Path) -> ScalarNode:
        if path not in paths or not node.outside or node.faulty or not isinstance(node.value, str):
            return node
        return replace(node, value=resolve(node.text.strip()))

    root = nodes.rewrite(document.root, as_word) if paths else document.root
    return replace(document, root=root) if isinstance(root, nodes.MapNode) else document


def _remove(data: Any, path: Path) -> None:
    for part in path[:-1]:
        data = data.get(part) if isinstance(data, dict) else None
    if isinstance(data, dict) and path:
        data.pop(path[-1], None)
