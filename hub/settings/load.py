"""From the operator's file to settings: the file, `${...}`, environment variables, then what the caller lays on top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from hub.settings.document import Document
from hub.settings.model import Settings
from hub.settings.nodes import Entry, ListNode, MapNode, Node, ScalarNode, merge
from hub.settings.overrides import overrides
from hub.settings.problem import ConfigError, Place, Problem
from hub.settings.verdict import Verdict, judge

_NO_FILE: Final = "the defaults"
_ON_TOP: Final = Place("the command line")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that was read; `path` is None when there is no file."""

    path: Path | None
    verdict: Verdict[Settings]

    @property
    def document(self) -> Document:
        """The file with everything that was laid over it, and the place of each value."""
        return self.verdict.document

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the configuration by itself; `hub.loader` finds what is wrong with what it names."""
        return self.verdict.problems

    @property
    def settings(self) -> Settings:
        """The settings; raises ConfigError with all problems when there are any."""
        if self.problems:
            raise ConfigError(self.problems)
        return self.remains

    @property
    def remains(self) -> Settings:
        """The settings without what is wrong in them: good for finding further mistakes, and for nothing else."""
        return self.verdict.value or Settings()

    @property
    def folder(self) -> Path:
        """Where relative paths in the file start."""
        return self.path.parent if self.path else Path()


def load(
    path: Path | None, environ: Mapping[str, str], *, overlay: Mapping[str, Any] | None = None
) -> Loaded:
    """Reads a configuration; never raises, see `Loaded.settings`.

    `overlay` has the shape of the file and wins over it and over the environment; its maps are merged key by key.
    """
    document = Document.read(path) if path else Document.parse("", _NO_FILE)
    document = document.expanded(environ).with_overrides(overrides(environ, tuple(Settings.model_fields)))
    if overlay:
        root = merge(document.root, _tree(overlay))
        document = replace(document, root=root) if isinstance(root, MapNode) else document
    return Loaded(path, judge(Settings, document, folder=path.parent if path else Path()))


def _tree(value: Any) -> Node:
    """Nodes for plain data, all of them at the place of what is laid on top."""
    if isinstance(value, Mapping):
        return MapNode(_ON_TOP, {str(key): Entry(_ON_TOP, _tree(below)) for key, below in value.items()})
    if isinstance(value, (list, tuple)):
        return ListNode(_ON_TOP, tuple(_tree(item) for item in value))
    text = value if isinstance(value, str) else repr(value)
    return ScalarNode(_ON_TOP, text, value, text, plain=not isinstance(value, str))
