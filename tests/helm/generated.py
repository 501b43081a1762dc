"""What in the chart is made from elsewhere; scripts/generate writes it.

values.schema.json takes the shape of `config` from config/hub.schema.json; the table of README.md takes its rows from
values.yaml, where the comment above a key says what it is for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tests.docs.markdown import code, table
from tests.docs.regions import renewed

CHART: Final = Path(__file__).parents[2] / "helm/topichub"
VALUES: Final = CHART / "values.yaml"
SCHEMA: Final = CHART / "values.schema.json"
README: Final = CHART / "README.md"

_HUB: Final = "hub.yaml"
_OWN_DEFINITIONS: Final = ("quantities",)
_LONGEST: Final = 40


@dataclass(frozen=True, slots=True)
class Value:
    """One value of the chart: its path, its default as YAML, and the comment above it."""

    path: str
    default: str
    about: str


def values() -> list[Value]:
    """Every value that values.yaml documents, in its order; a map whose keys are not documented is one value."""
    text = VALUES.read_text()
    root = yaml.compose(text, yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return list(_values(root, text.splitlines(), ""))


def _values(node: yaml.MappingNode, lines: list[str], above: str) -> Iterator[Value]:
    for key, below in node.value:
        path = f"{above}.{key.value}" if above else key.value
        if isinstance(below, yaml.MappingNode) and not below.flow_style and _is_section(path, below, lines):
            yield from _values(below, lines, path)
        else:
            yield Value(path, _default(below), _comment(lines, key.start_mark.line))


def _is_section(path: str, node: yaml.MappingNode, lines: list[str]) -> bool:
    return path != "config" and bool(_comment(lines, node.value[0][0].start_mark.line))


def _comment(lines: list[str], line: int) -> str:
    """The lines of comment right above a line, as one."""
    found: list[str] = []
    while line and (comment := re.fullmatch(r"\s*# (.*)", lines[line - 1])):
        found.insert(0, comment[1])
        line -= 1
    return " ".join(found)


def _default(node: yaml.Node) -> str:
    value: Any = yaml.safe_load(yaml.serialize(node))
    text = json.dumps(value, ensure_ascii=False)
    return code(text) if len(text) <= _LONGEST else "see values.yaml"


def values_table() -> str:
    """All values as a table of Markdown."""
    return table(("Value", "Default", ""), [(code(each.path), each.default, each.about) for each in values()])


def made(hub_schema: str) -> dict[Path, str]:
    """README.md and values.schema.json with the texts that they should have, by the JSON Schema of hub.yaml."""
    return {
        README: renewed(README.read_text(), {"values": values_table}),
        SCHEMA: values_schema(json.loads(hub_schema)),
    }


def values_schema(hub: dict[str, Any]) -> str:
    """values.schema.json with the shape of hub.yaml as it is now, where `null` takes away what has a name."""
    schema = json.loads(SCHEMA.read_text())
    definitions = hub.pop("$defs")
    del hub["$schema"]
    named = [hub["properties"][name] for name in ("topics", "sockets", "rpc", "schedule")]
    for entries in (*named, definitions["AuthSettings"]["properties"]["api_keys"]):
        entries["additionalProperties"] = {"anyOf": [entries["additionalProperties"], {"type": "null"}]}
    own = {name: schema["$defs"][name] for name in _OWN_DEFINITIONS}
    schema["$defs"] = own | {_HUB: hub} | definitions
    return json.dumps(schema, indent=2) + "\n"
