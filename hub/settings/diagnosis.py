"""What pydantic found wrong with a document, in the words of the people who write it.

Every error becomes a `Problem` at the key that is unknown or at the value that is wrong, with what was found, what is
allowed there and how to mend it. Values that came from outside the file, and those of secret settings, are not shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel

from hub.settings import nodes, shape
from hub.settings.document import Document
from hub.settings.nodes import ListNode, MapNode, Node, Path, ScalarNode
from hub.settings.problem import ConfigCode, Fault, Problem, did_you_mean, shortened
from hub.settings.scalars import resolve

WANTS_TEXT: Final = frozenset({"string_type"})
WANTS_WORD: Final = frozenset({"int_type", "float_type", "bool_type", "value_error"})
"""Errors that may be due to a number, boolean or duration that came as text from the environment."""
UNKNOWN: Final = "extra_forbidden"

_WANTED: Final = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
}
_BOUNDS: Final = {
    "greater_than_equal": ("ge", "at least {}"),
    "greater_than": ("gt", "more than {}"),
    "less_than_equal": ("le", "at most {}"),
    "less_than": ("lt", "less than {}"),
    "multiple_of": ("multiple_of", "a multiple of {}"),
    "too_short": ("min_length", "a list of at least {}"),
    "too_long": ("max_length", "a list of at most {}"),
    "string_too_short": ("min_length", "a text of at least {} characters"),
    "string_too_long": ("max_length", "a text of at most {} characters"),
    "string_pattern_mismatch": ("pattern", "a text of the form {}"),
}
_NAMES: Final = {int: "a number", float: "a number", bool: "true or false", type(None): "nothing"}
_BOOLEANS: Final = {
    **dict.fromkeys(("true", "yes", "on", "1"), "true"),
    **dict.fromkeys(("false", "no", "off", "0"), "false"),
}
_RULE_WORDS: Final = ("anyone", "authenticated", "nobody", "token", "handler", "role:", "user:")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Speaks of one document as one model sees it; the model's data begins at `under`."""

    document: Document
    model: type[BaseModel]
    under: Path = ()

    def problems(self, errors: Iterable[Mapping[str, Any]]) -> list[Problem]:
        """One problem for each place; values known to be faulty already are left out, unknown keys are not."""
        places: dict[Path, list[Mapping[str, Any]]] = {}
        for error in errors:
            places.setdefault(self.at(error), []).append(error)
        return [
            self._problem(loc, found)
            for loc, found in places.items()
            if found[0]["type"] == UNKNOWN or not self.document.faulty(loc)
        ]

    def at(self, error: Mapping[str, Any]) -> Path:
        """Where an error lies in the document, without tags of unions but with what is missing there."""
        loc = (*self.under, *error["loc"])
        if loc[-1:] == ("[key]",):
            return loc
        if error["type"] == "missing":
            return (*self._existing(loc[:-1]), loc[-1])
        return self._existing(loc)

    def _existing(self, loc: Path) -> Path:
        return self.document.path(loc) if self.document.path(self.under) == self.under else loc

    def _problem(self, loc: Path, errors: Sequence[Mapping[str, Any]]) -> Problem:
        kind = errors[0]["type"]
        if kind == UNKNOWN:
            return self._unknown(loc).at(self.document.place(loc), loc)
        if kind == "missing":
            return self._missing(loc).at(self.document.place(loc), loc)
        if loc[-1:] == ("[key]",):
            return self._wrong_key(loc[:-1], errors[0]).at(self.document.place(loc[:-1]), loc[:-1])
        return self._wrong(loc, errors).at(self.document.value_place(loc), loc)

    def _unknown(self, loc: Path) -> Fault:
        key, parent = str(loc[-1]), self._relative(loc[:-1])
        known = shape.keys(self.model, parent)
        elsewhere = None if parent else shape.home(self.model, key)
        close = did_you_mean(key, known) or (f"Did you mean `{elsewhere}`? " if elsewhere else "")
        name = next((f" of {shortened(part)}" for part in reversed(loc[:-1]) if isinstance(part, str)), "")
        if loc[:-1] == self.under and self.under:
            name = f" of {shortened(str(self.under[-2]))}"
        listed = f"Settings{name}: {', '.join(known)}." if known else "No setting has room here."
        own = " A plugin's own settings stand under `settings`." if self._is_plugin(loc[:-1]) else ""
        return Fault(ConfigCode.UNKNOWN_SETTING, "unknown setting", f"{close}{listed}{own}")

    def _missing(self, loc: Path) -> Fault:
        parent, key = self._relative(loc[:-1]), loc[-1]
        told = [
            field.description
            for model in shape.within(self.model, parent)
            if shape.is_model(model) and (field := shape.fields(model).get(str(key))) and field.description
        ]
        remedy = f"Add `{key}:` here. {told[0]}" if told else f"Add `{key}:` here."
        return Fault(ConfigCode.MISSING_SETTING, "this setting has no default, and is not given", remedy)

    def _wrong_key(self, loc: Path, error: Mapping[str, Any]) -> Fault:
        code = ConfigCode.BAD_PATTERN if loc[0] == "topics" and not self.under else ConfigCode.WRONG_VALUE
        return Fault(code, _said(error))

    def _wrong(self, loc: Path, errors: Sequence[Mapping[str, Any]]) -> Fault:
        node = nodes.walk(self.document.root, loc).node
        found = self._found(loc, node)
        special = self._special(loc, found)
        if special is not None:
            return special
        wanted = [_WANTED[error["type"]] for error in errors if error["type"] in _WANTED]
        if wanted:
            message = f"found {found}, where {' or '.join(dict.fromkeys(wanted))} is needed"
            return Fault(ConfigCode.WRONG_VALUE, message, self._remedy(errors[0]["type"], loc, node))
        return self._wrong_text(loc, errors[0], node, found)

    def _wrong_text(self, loc: Path, error: Mapping[str, Any], node: Node, found: str) -> Fault:
        kind = error["type"]
        if kind in _BOUNDS:
            name, text = _BOUNDS[kind]
            limit = text.format(_number(error["ctx"][name]))
            return Fault(ConfigCode.WRONG_VALUE, f"found {found}, where {limit} is needed")
        if kind == "literal_error":
            allowed = [str(value) for value in shape.literals(self.model, self._relative(loc))]
            close = did_you_mean(node.text, allowed) if isinstance(node, ScalarNode) else ""
            listed = f"Allowed: {', '.join(allowed)}."
            return Fault(ConfigCode.WRONG_VALUE, f"found {found}, which is not allowed", f"{close}{listed}")
        if kind != "value_error":
            return Fault(ConfigCode.WRONG_VALUE, f"found {found}: {_said(error)}")
        message = self._discreet(loc, node, _said(error))
        if "found" not in message and isinstance(node, ScalarNode):
            message = f"found {found}: {message}"
        rule = _is_rule(loc) and not self.under
        close = did_you_mean(node.text, _RULE_WORDS) if rule and isinstance(node, ScalarNode) else ""
        return Fault(ConfigCode.BAD_RULE if rule else ConfigCode.WRONG_VALUE, message, close.strip())

    def _special(self, loc: Path, found: str) -> Fault | None:
        if loc == ("version",) and shape.literals(self.model, loc):
            remedy = "Write `version: 1`; this hub knows no other."
            return Fault(ConfigCode.UNKNOWN_VERSION, f"found {found}, which this hub does not know", remedy)
        if loc == ("api",) and shape.literals(self.model, loc):
            remedy = "Write `api: 1`, or install a hub that offers that version."
            return Fault(ConfigCode.UNSUPPORTED_API, f"found {found}; this hub offers plugin API 1", remedy)
        return None

    def _found(self, loc: Path, node: Node) -> str:
        if isinstance(node, ListNode):
            return "a list" if node.items else "an empty list"
        if isinstance(node, MapNode):
            return "a map"
        value, shown = node.value, shortened(self.document.shown(loc))
        if value is None and not node.outside:
            return "nothing"
        kind = "the text" if isinstance(value, str) else "the value"
        if self._is_secret(loc, node):
            return "a text" if isinstance(value, str) else _NAMES[type(value)]
        if node.outside:
            return f"{kind} of {shown}"
        return f'the text "{shown}"' if isinstance(value, str) else shown

    def _remedy(self, kind: str, loc: Path, node: Node) -> str:
        if not isinstance(node, ScalarNode):
            return ""
        if kind in {"model_type", "dict_type"}:
            empty = node.value is None
            return (
                "Write {} for its defaults, or remove the key."
                if empty
                else "Write `key: value` lines below it."
            )
        if kind == "list_type":
            return "Write it in brackets: [first, second]."
        if node.outside:
            return ""
        return self._scalar_remedy(kind, loc, node)

    def _scalar_remedy(self, kind: str, loc: Path, node: ScalarNode) -> str:
        meant = resolve(node.text)
        if kind == "string_type" and node.value is not None:
            return "Write it in quotes." if self._is_secret(loc, node) else f'Write "{node.text}" in quotes.'
        if kind == "bool_type":
            return f"Write {_BOOLEANS.get(node.text.lower(), 'true or false')}."
        number = isinstance(meant, (int, float)) and not isinstance(meant, bool)
        if kind in {"int_type", "float_type"} and isinstance(node.value, str) and number:
            return f"Write {node.text} without quotes."
        return ""

    def _discreet(self, loc: Path, node: Node, message: str) -> str:
        """A validator's own message, without the value where that must not be shown."""
        if not isinstance(node, ScalarNode) or not (node.outside or self._is_secret(loc, node)):
            return message
        shown = "a secret" if self._is_secret(loc, node) else self.document.shown(loc)
        for value in (repr(node.text), node.text):
            message = message.replace(value, shown) if value else message
        return message

    def _is_secret(self, loc: Path, node: ScalarNode) -> bool:
        # In front of a URL's host, and behind its path, secrets may stand.
        credentials = "://" in node.text and not {"@", "?"}.isdisjoint(node.text)
        place = self._relative(loc)
        # Whoever writes `backend: <key>` for `backend: {key: <key>}` has put a secret where a map belongs.
        return credentials or shape.secret(self.model, place) or shape.holds_secret(self.model, place)

    def _is_plugin(self, loc: Path) -> bool:
        return len(loc) == 2 and loc[0] == "plugins" and not self.under

    def _relative(self, loc: Path) -> Path:
        return loc[len(self.under) :]


def _said(error: Mapping[str, Any]) -> str:
    text: str = error["msg"]
    text = text.removeprefix("Value error, ").removeprefix("Assertion failed, ").rstrip(".")
    return text[:1].lower() + text[1:] if text.startswith(("Input", "Value", "String", "List")) else text


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _is_rule(loc: Path) -> bool:
    return len(loc) > 3 and loc[0] == "topics" and loc[2] == "allow"
