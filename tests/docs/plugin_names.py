"""The reference of the plugin API and of the test kit, from `hub.plugin` and `hub.testing` themselves."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import msgspec

import hub.plugin
import hub.testing
from hub.errors import Code
from tests.docs.markdown import code, table

_VALUES = {
    "ANONYMOUS": "The `Identity` of whoever brought no token.",
    "NAMING_CONVENTION": "How constraints are named; give it to the `MetaData` of a plugin's tables.",
}
_NOTE = re.compile(
    r'^ +(?:self\.)?(\w+)(?:: [^\n=]*)?(?: = [^\n]*)?\n +"""(.*?)"""', re.MULTILINE | re.DOTALL
)
_RULE = re.compile(r"(?m)^=[= ]+$")


def handler_events() -> str:
    """The table of events in the docstring of `hub.plugin`, as Markdown."""
    text = _RULE.split(hub.plugin.__doc__ or "")
    head, *_ = text[1].strip().splitlines()
    edges = [found.start() for found in re.finditer(r"=+", _RULE.findall(hub.plugin.__doc__ or "")[0])]
    rows = []
    for line in [line for part in text[2:3] for line in part.strip("\n").splitlines()]:
        events, signature, returns = _columns(line, edges)
        rows += [(code(event), code(signature), returns) for event in re.split(r", *", events)]
    return table(_columns(head, edges), rows)


def _columns(line: str, edges: list[int]) -> tuple[str, ...]:
    ends = [*edges[1:], None]
    return tuple(line[start:end].strip() for start, end in zip(edges, ends, strict=True))


def plugin_names() -> str:
    """Every name that `hub.plugin` promises."""
    return _names(hub.plugin)


def testing_names() -> str:
    """Every name that `hub.testing` promises."""
    return _names(hub.testing)


def promised(module: ModuleType) -> dict[str, Any]:
    """What a module's `__all__` names, in the order of its names whatever their case."""
    return {name: getattr(module, name) for name in sorted(module.__all__, key=str.lower)}


def _names(module: ModuleType) -> str:
    found = promised(module)
    codes = {name: value for name, value in found.items() if isinstance(value, Code)}
    sections = [
        _of_class(name, value) if isinstance(value, type) else _of_function(name, value, "###")
        for name, value in found.items()
        if isinstance(value, type) or inspect.isfunction(value)
    ]
    others = {
        name: value
        for name, value in found.items()
        if not (isinstance(value, type | Code) or inspect.isfunction(value))
    }
    if codes:
        numbers = [(code(name), str(each.number), each.sentence) for name, each in codes.items()]
        sections.append("### Codes for `ReplyError`\n\n" + table(("name", "number", "meaning"), numbers))
    if others:
        rows = [(code(name), _VALUES[name]) for name in others]
        sections.append("### Values\n\n" + table(("name", "meaning"), rows))
    return "\n\n".join(sections)


def _of_class(name: str, found: type) -> str:
    parts = [f"### `{name}`", _python(_class_head(found)), _prose(found.__doc__)]
    if told := list(_field_notes(found)):
        parts.append("\n".join(told))
    parts += [
        _of_member(f"{name}.{each}", member)
        for each, member in members(found)
        if not (_function(member).__doc__ or "").startswith("See ")
    ]
    return "\n\n".join(parts)


def members(found: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class, in the order in which they are written."""
    for name, member in vars(found).items():
        if not name.startswith("_") and inspect.isfunction(_function(member)):
            yield name, member


def _function(member: Any) -> Any:
    return member.fget if isinstance(member, property) else getattr(member, "__func__", member)


def _of_member(name: str, member: Any) -> str:
    if isinstance(member, property):
        return f"#### `{name}: {_returned(_parsed(_function(member)))}`\n\n{_prose(member.__doc__)}"
    return _of_function(name, _function(member), "####")


def _of_function(name: str, function: Any, level: str) -> str:
    node = _parsed(function)
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    line = f"{prefix} {node.name}({', '.join(_parameters(node))}) -> {_returned(node)}"
    return f"{level} `{name}`\n\n{_python(line)}\n\n{_prose(function.__doc__)}"


def _parsed(found: Any) -> Any:
    """The syntax tree of a function or class."""
    return ast.parse(textwrap.dedent(inspect.getsource(found))).body[0]


def _returned(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return ast.unparse(node.returns) if node.returns is not None else "Any"


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The parameters as they are written, without `self`."""
    given = node.args
    given.args = [each for each in given.args if each.arg not in {"self", "cls"}]
    return [_spaced(part) for part in _commas(ast.unparse(given)) if part]


def _spaced(part: str) -> str:
    """`name: type = default`, with the quotes of our own code."""
    start, equals, default = part.rpartition("=")
    spaced = f"{start} = {default}" if equals and ":" in start else part
    return spaced.replace("'", '"')


def _class_head(found: type) -> str:
    """How a class is made: a dataclass or struct by its fields, any other by the parameters of its constructor."""
    node = _parsed(found)
    bases = [ast.unparse(base) for base in node.bases]
    base = f"({', '.join(bases)})" if bases else ""
    if dataclasses.is_dataclass(found) or issubclass(found, msgspec.Struct):
        fields = [
            ast.unparse(each).replace("'", '"')
            for each in node.body
            if isinstance(each, ast.AnnAssign) and "init=False" not in ast.unparse(each)
        ]
        body = "".join(f"\n    {field}" for field in fields) or " ..."
        decorator = "@dataclass\n" if dataclasses.is_dataclass(found) else ""
        return f"{decorator}class {node.name}{base}:{body}"
    made = next((each for each in node.body if getattr(each, "name", "") == "__init__"), None)
    if made is None:
        return f"class {node.name}{base}"
    line = f"def __init__({', '.join(['self', *_parameters(made)])}) -> None"
    return f"class {node.name}{base}:\n{textwrap.indent(_wrapped(line, 96), '    ')}: ..."


def _python(text: str) -> str:
    """A class or a signature as a block."""
    return f"```python signature\n{_wrapped(text, 100)}\n```"


def _wrapped(line: str, width: int) -> str:
    """One signature; a long one has its parameters on lines of their own."""
    if "\n" in line or len(line) <= width:
        return line
    start, _, rest = line.partition("(")
    inside, _, end = rest.rpartition(")")
    return f"{start}({''.join(f'{chr(10)}    {each},' for each in _commas(inside))}\n){end}"


def _commas(text: str) -> list[str]:
    """What stands between the commas that are in no bracket."""
    depth, parts = 0, [""]
    for mark in text:
        depth += (mark in "[({") - (mark in "])}")
        if mark == "," and not depth:
            parts.append("")
        else:
            parts[-1] += mark
    return [part.strip() for part in parts]


def _field_notes(found: type) -> Iterator[str]:
    """Sentences that stand as strings below a class's fields and attributes."""
    source = textwrap.dedent(inspect.getsource(found))
    for name, note in _NOTE.findall(source):
        yield f"- `{name}`: {' '.join(note.split())}"


def _prose(doc: str | None) -> str:
    """A docstring as Markdown: what follows `::` becomes a block."""
    lines: list[str] = []
    fenced = False
    for line in inspect.cleandoc(doc or "").splitlines():
        indented = line.startswith("    ")
        if fenced and line and not indented:
            lines[-1:] = ["```", ""]
            fenced = False
        if not fenced and indented:
            lines += ["```python part"]
            fenced = True
        lines.append(line[4:] if fenced else line.replace("::", ":") if line.endswith("::") else line)
    return "\n".join([*lines, "```"] if fenced else lines)
