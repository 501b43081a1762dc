"""YAML files that the settings of plugins name, read as strictly as the operator's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hub.from_file import FaultyFile
from hub.settings.document import SIZE_LIMIT, Document
from hub.settings.files import UnreadableFileError, read_text
from hub.settings.problem import Problem
from hub.settings.verdict import Verdict, judge


class SettingsFiles:
    """Reads files for one plugin's settings; relative names start at `folder`.

    `problems` are the mistakes found in them so far, each at its own line.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[tuple[Path, type[BaseModel]], Verdict[Any]] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong inside the files."""
        return tuple(problem for verdict in self._read.values() for problem in verdict.problems)

    def read(self, name: str, model: type[BaseModel]) -> BaseModel:
        """What a file says, as an instance of the model.

        Raises ValueError for a file that cannot be read, which is a mistake of whoever named it, and FaultyFile for one
        with mistakes of its own.
        """
        path = self._folder / name
        key = (path, model)
        if key not in self._read:
            try:
                text = read_text(path, SIZE_LIMIT)
            except UnreadableFileError as error:
                raise ValueError(f"the file {path} cannot be used: {error.reason}") from error
            self._read[key] = judge(model, Document.parse(text, str(path)))
        verdict = self._read[key]
        value: BaseModel | None = verdict.value
        if verdict.problems or value is None:
            raise FaultyFile
        return value
