"""Environment variables that override settings: `HUB_SERVER__PORT=9100` sets `server.port`.

A variable is an override when it begins with the prefix and has `__` in the rest of its name; others, such as
`HUB_JWT_SECRET`, are there for `${...}`. Between two `__` stands a key, whose case does not count. The value is an
unquoted word of YAML (`9100` is a number, `true` a boolean; words that are not clear are text), a text in quotes, or
a list or map in brackets (`["https://a.example"]`); a map is merged into the file's. `HUB_AUTH__JWT__SECRET_FILE` names
a file whose text is the value, as a word or as it is, unless the configuration has a key `secret_file` at that place.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hub.settings.composer import MAX_DEPTH, compose_inline
from hub.settings.expansion import secret
from hub.settings.nodes import MapNode, Node, ScalarNode, merge, nested, walk
from hub.settings.problem import ConfigCode, Fault, Place, Problem, dotted, nearest, shortened
from hub.settings.scalars import is_whole, resolve

PREFIX: Final = "HUB_"
VARIABLE: Final = "environment variable "
"""What stands before a variable's name in its place."""
_SEPARATOR: Final = "__"
_FILE: Final = "_file"


@dataclass(frozen=True, slots=True)
class Override:
    """A variable that sets what `path` leads to; with a `problem` it leads nowhere and only the problem counts."""

    path: tuple[str, ...]
    text: str
    variable: str
    problem: Problem | None = None

    @property
    def place(self) -> Place:
        """Where the override was written."""
        return Place(f"{VARIABLE}{self.variable}")


def overrides(environ: Mapping[str, str], sections: Collection[str], prefix: str = PREFIX) -> list[Override]:
    """The overrides in an environment, shorter paths first, so that longer ones refine what they set.

    `sections` are the top-level settings that may be overridden; a variable for another one gets a problem.
    """
    found = [
        _override(variable, text, sections, prefix)
        for variable, text in environ.items()
        if variable.startswith(prefix) and _SEPARATOR in variable.removeprefix(prefix)
    ]
    return sorted(found, key=lambda override: (len(override.path), override.variable))


def apply(root: MapNode, given: Collection[Override], folder: Path) -> tuple[MapNode, tuple[Problem, ...]]:
    """The tree with the overrides merged in, in their order, and the problems of those that cannot be."""
    problems: list[Problem] = []
    taken: dict[tuple[str, ...], str] = {}
    for override in given:
        if override.problem:
            problems.append(override.problem)
            continue
        path, from_file = _target(root, override.path)
        fault = _obstacle(root, path) or _twice(taken.get(path))
        if fault:
            problems.append(fault.at(override.place, path))
            continue
        taken[path] = override.variable
        node, wrong = _from_file(override, path, folder) if from_file else _value(override, path)
        problems += wrong
        merged = merge(root, nested(path, node))
        root = merged if isinstance(merged, MapNode) else root
    return root, tuple(problems)


def _override(variable: str, text: str, sections: Collection[str], prefix: str) -> Override:
    path = tuple(variable.removeprefix(prefix).lower().split(_SEPARATOR))
    fault = _misfit(path, text, sections, prefix)
    override = Override(path, text, variable)
    return Override(path, text, variable, fault.at(override.place, path)) if fault else override


def _misfit(path: tuple[str, ...], text: str, sections: Collection[str], prefix: str) -> Fault | None:
    form = f"An override is named {prefix}SECTION__KEY."
    if not is_whole(text) or not all(map(is_whole, path)):
        return Fault(
            ConfigCode.UNKNOWN_OVERRIDE, "the variable's name or value is not UTF-8", "Set it to UTF-8 text."
        )
    if not all(path) or path[-1] == _FILE:
        return Fault(ConfigCode.UNKNOWN_OVERRIDE, "a part of the variable's name is empty", form)
    if len(path) > MAX_DEPTH:
        return Fault(
            ConfigCode.UNKNOWN_OVERRIDE, f"the variable's name has more than {MAX_DEPTH} parts", form
        )
    if path[0] in sections and not text:
        # Whoever forgot to fill it in would else have switched off a limit, or what tokens have to say.
        message = "the variable is empty, which may mean that the setting is to be kept or to be taken away"
        return Fault(ConfigCode.WRONG_VALUE, message, "Unset it to keep it, or set it to null to have none.")
    if path[0] in sections:
        return None
    close = nearest(path[0], sections)
    meant = prefix + _SEPARATOR.join((close, *path[1:])).upper() if close else ""
    suggestion = f"Did you mean {meant}? " if meant else ""
    known = ", ".join(sorted(sections))
    return Fault(
        ConfigCode.UNKNOWN_OVERRIDE,
        f"there is no section `{shortened(path[0])}` to override",
        f"{suggestion}Sections: {known}. If the variable is not for the hub, give it a name without `__`.",
    )


def _target(root: MapNode, path: tuple[str, ...]) -> tuple[tuple[str, ...], bool]:
    """The path in the spelling of the file's own keys, and whether the override names a file with the value."""
    spelled = _spelled(root, path)
    if not path[-1].endswith(_FILE) or walk(root, spelled).path == spelled:
        return spelled, False
    return _spelled(root, (*path[:-1], path[-1].removesuffix(_FILE))), True


def _spelled(root: MapNode, path: tuple[str, ...]) -> tuple[str, ...]:
    spelled: list[str] = []
    node: Node | None = root
    for part in path:
        keys = node.entries if isinstance(node, MapNode) else {}
        key = part if part in keys else next((key for key in keys if key.lower() == part), part)
        spelled.append(key)
        node = keys[key].node if key in keys else None
    return tuple(spelled)


def _obstacle(root: MapNode, path: tuple[str, ...]) -> Fault | None:
    """What stands on the way and is no map, so that nothing can be set inside it; null may become a map."""
    node: Node = root
    for number, key in enumerate(path[:-1]):
        entry = node.entries.get(key) if isinstance(node, MapNode) else None
        if entry is None:
            return None
        node = entry.node
        if not isinstance(node, MapNode) and not (isinstance(node, ScalarNode) and node.value is None):
            message = f"`{dotted(path[: number + 1])}` ({entry.place}) is not a map, so nothing in it can be overridden"
            return Fault(ConfigCode.UNKNOWN_OVERRIDE, message, "Override the whole value, or make it a map.")
    return None


def _twice(variable: str | None) -> Fault | None:
    if variable is None:
        return None
    message = f"the environment variable {variable} sets the same setting"
    return Fault(ConfigCode.DUPLICATE_KEY, message, "Unset one of the two.")


def _value(override: Override, path: tuple[str, ...]) -> tuple[Node, tuple[Problem, ...]]:
    text = override.text
    if text[:1] in {"[", "{"}:
        read = compose_inline(text, override.place, path, f"${override.variable}")
        if read.root is not None:
            return read.root, read.problems
        return _scalar(override, text, faulty=True), tuple(_as_value(problem) for problem in read.problems)
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        quoted = compose_inline(text, override.place, path, f"${override.variable}")
        if isinstance(quoted.root, ScalarNode) and not quoted.problems:
            return quoted.root, ()
    return _scalar(override, text), ()


def _as_value(problem: Problem) -> Problem:
    """The problem of a list or map that cannot be read, which may have been meant as text."""
    message = f"the value begins like a list or map, but {problem.message}"
    return replace(
        problem, message=message, remedy="Mend it, or if it is text, put it in quotes inside the value."
    )


def _from_file(override: Override, path: tuple[str, ...], folder: Path) -> tuple[Node, tuple[Problem, ...]]:
    text = secret(Path(override.text), folder, f"the file named by {override.variable}")
    if isinstance(text, Fault):
        return _scalar(override, "", faulty=True), (text.at(override.place, path),)
    return _scalar(override, text), ()


def _scalar(override: Override, text: str, *, faulty: bool = False) -> ScalarNode:
    value = None if faulty else resolve(text)
    return ScalarNode(
        override.place, text, value, f"${override.variable}", plain=True, outside=True, faulty=faulty
    )
