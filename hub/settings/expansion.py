"""`${...}` in values: what the environment and secret files say, put in before a value gets its type.

========================  ========================================================================================
`${NAME}`                 the environment variable NAME; not set is a problem
`${NAME:-text}`           NAME, or the text when NAME is not set or empty; the text ends at the first `}`
`${file:/run/secrets/x}`  the text of a UTF-8 file of at most 64 KiB without one line end at its end; a relative path
                          starts at the folder of the configuration file
`$${`                     the two characters `${`
========================  ========================================================================================

Expansions do not nest, and what they give is not expanded again. What they give is never part of a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hub.settings import nodes
from hub.settings.files import UnreadableFileError, read_text
from hub.settings.problem import ConfigCode, Fault, Problem, shortened
from hub.settings.scalars import is_whole, resolve

SECRET_LIMIT: Final = 64 * 1024
_OPENING = re.compile(r"\$?\$\{")
_VARIABLE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<rest>:-(?P<default>.*))?", re.DOTALL)
_FORMS: Final = "Write ${NAME}, ${NAME:-default} or ${file:/path}, or $${ for the characters themselves."


@dataclass(frozen=True, slots=True)
class Expanded:
    """A text with its expansions put in.

    `whole` is true when the text was a single expansion and nothing else; with `faults` the text is not to be used.
    """

    text: str
    whole: bool
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Expander:
    """Expands texts from an environment, and from files whose relative paths start at `folder`."""

    environ: Mapping[str, str]
    folder: Path

    def expand(self, text: str) -> Expanded:
        """The text with all expansions put in, or all faults of its expansions."""
        parts: list[str] = []
        faults: list[Fault] = []
        position = 0
        whole = False
        while opening := _OPENING.search(text, position):
            parts.append(text[position : opening.start()])
            position = opening.end()
            if opening.group() == "$${":
                parts.append("${")
                continue
            end = text.find("}", position)
            if end < 0:
                faults.append(Fault(ConfigCode.BAD_EXPANSION, "a `${` is never closed by `}`", _FORMS))
                break
            whole = opening.start() == 0 and end == len(text) - 1
            given = self._one(text[position:end])
            if isinstance(given, Fault):
                faults.append(given)
            else:
                parts.append(given)
            position = end + 1
        parts.append(text[position:])
        return Expanded("".join(parts), whole, tuple(faults))

    def _one(self, body: str) -> str | Fault:
        if "${" in body:
            return Fault(
                ConfigCode.BAD_EXPANSION, "a `${` stands inside another, and expansions do not nest", _FORMS
            )
        if body.startswith("file:") and body != "file:":
            return secret(Path(body.removeprefix("file:")), self.folder, f"`${{{shortened(body)}}}`")
        variable = _VARIABLE.fullmatch(body)
        if variable is None:
            return Fault(ConfigCode.BAD_EXPANSION, "a `${...}` names neither a variable nor a file", _FORMS)
        name, default = variable["name"], variable["default"]
        given = self.environ.get(name)
        if given is not None and not is_whole(given):
            return Fault(
                ConfigCode.NOT_AVAILABLE,
                f"the environment variable {shortened(name)} is not UTF-8",
                "Set it to UTF-8 text.",
            )
        if variable["rest"]:
            return given or default
        return given if given is not None else _not_set(name)


def secret(path: Path, folder: Path, asked_by: str) -> str | Fault:
    """The text of a secret's file without one line end at its end, or why it cannot be had.

    A relative path starts at `folder`; `asked_by` names, in the fault's message, what names the file.
    """
    try:
        text = read_text(folder / path, SECRET_LIMIT)
    except UnreadableFileError as error:
        message = f"{asked_by} cannot be read: {error.reason}"
        remedy = f"Make sure that the hub can read {folder / path} and that it holds nothing but the value."
        return Fault(ConfigCode.NOT_AVAILABLE, message, remedy)
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def expand_tree(root: nodes.Node, expander: Expander) -> tuple[nodes.Node, tuple[Problem, ...]]:
    """The tree with its values expanded, and the problems of those that cannot be.

    A scalar without quotes that is a single expansion gets its type from what the expansion gives, so that
    `port: ${PORT:-8000}` is a number; words that are not clear, such as `no`, are then text, since the environment
    knows no quotes. Any other scalar with an expansion is text. What came from outside before is left as it is.
    """
    problems: list[Problem] = []

    def expanded(node: nodes.ScalarNode, path: nodes.Path) -> nodes.ScalarNode:
        if node.outside or node.faulty or "${" not in node.text:
            return node
        given = expander.expand(node.text)
        if given.faults:
            problems.extend(fault.at(node.place, path) for fault in given.faults)
            return replace(node, text="", value=None, faulty=True)
        value = resolve(given.text) if node.plain and given.whole else given.text
        return replace(node, text=given.text, value=value, outside=True)

    return nodes.rewrite(root, expanded), tuple(problems)


def _not_set(name: str) -> Fault:
    return Fault(
        ConfigCode.NOT_AVAILABLE,
        f"the environment variable {shortened(name)} is not set",
        f"Set it, or write ${{{shortened(name)}:-...}} with a default.",
    )
