"""The JSON Schema of hub.yaml, for editors: completion, sentences and red lines while typing.

It says of values what the model says, with two differences: wherever something else than text is wanted, a `${...}` may
stand as well, which only the loader can judge; and what only rules among several settings forbid, it lets pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from hub.settings.model import PluginSettings, Settings

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_EXPANSION: Final = {
    "type": "string",
    "pattern": r"\$\{.+\}",
    "description": "From the environment or a file: ${VARIABLE}, ${VARIABLE:-default} or ${file:/path}.",
}
_NOT_TEXT: Final = frozenset({"integer", "number", "boolean"})
_ABOUT: Final = ("description", "default")


def json_schema(plugins: Mapping[str, type[BaseModel] | None] | None = None) -> dict[str, Any]:
    """The schema, draft 2020-12; `plugins` are settings models by plugin, None for one that takes no settings."""
    schema = Settings.model_json_schema(mode="validation")
    definitions = schema.pop("$defs")
    sections = schema["properties"]
    if plugins:
        sections["plugins"]["properties"] = {
            name: _plugin(name, model, definitions) for name, model in sorted(plugins.items())
        }
    return {
        "$schema": DIALECT,
        "title": "hub.yaml",
        "description": "The operator's file of topichub.",
        "type": "object",
        "additionalProperties": False,
        "properties": _open(sections),
        "$defs": {"Expansion": _EXPANSION}
        | {name: _open(found) for name, found in sorted(definitions.items())},
    }


def _plugin(name: str, model: type[BaseModel] | None, definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of `plugins.<name>`, whose settings are the plugin's own; adds what it refers to."""
    own: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": {}}
    if model is not None:
        own = model.model_json_schema(mode="validation", ref_template=f"#/$defs/{name}.{{model}}")
        definitions |= {f"{name}.{key}": _closed(found) for key, found in own.pop("$defs", {}).items()}
        own = own if "extra" in model.model_config else _closed(own)
    own["description"] = f"Settings of the plugin {name}."
    entry = PluginSettings.model_json_schema(mode="validation")
    entry["properties"]["settings"] = own
    entry["description"] = own["description"].replace("Settings of the", "The")
    return {"anyOf": [entry, {"type": "null"}]}


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """A plugin's model as the loader reads it: a key that it does not know is a mistake, unless it says otherwise."""
    if schema.get("type") == "object" and "properties" in schema:
        schema.setdefault("additionalProperties", False)
    return schema


def _open(schema: Any) -> Any:
    """The schema without generated titles, its alternatives made flat, and expansions let in beside numbers."""
    if isinstance(schema, list):
        return [_open(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if "properties" in schema:
        schema = schema | {"properties": {name: _open(found) for name, found in schema["properties"].items()}}
    schema = {
        key: value if key in {"properties", "default", "const", "enum"} else _open(value)
        for key, value in schema.items()
        if key != "title" or not isinstance(value, str)
    }
    return _with_expansion(_flat(schema))


def _flat(schema: dict[str, Any]) -> dict[str, Any]:
    """Alternatives of alternatives as one list, where the inner ones carry nothing else of their own."""
    if "anyOf" not in schema:
        return schema
    options: list[Any] = []
    for option in schema["anyOf"]:
        options += (
            option["anyOf"] if isinstance(option, dict) and set(option) <= {"anyOf", "minItems"} else [option]
        )
    unique = [option for number, option in enumerate(options) if option not in options[:number]]
    return schema | {"anyOf": unique}


def _with_expansion(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("type") not in _NOT_TEXT and "enum" not in schema:
        return schema
    about = {key: schema[key] for key in _ABOUT if key in schema}
    value = {key: found for key, found in schema.items() if key not in _ABOUT}
    return about | {"anyOf": [value, {"$ref": "#/$defs/Expansion"}]}
