"""Payload schemas: written in place or in a file, checked by the code that will validate with them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import jsonschema_rs

from hub.schemas import PayloadSchema
from hub.settings.document import Document
from hub.settings.files import UnreadableFileError, read_text
from hub.settings.problem import ConfigCode, Fault

_SIZE_LIMIT: Final = 1024 * 1024
_LONGEST: Final = 200


def payload_schema(given: str | Mapping[str, Any], folder: Path) -> Mapping[str, Any] | Fault:
    """The schema itself, from a file when `given` is a path (which starts at `folder`); a Fault when it is none."""
    if not isinstance(given, str):
        fault = _invalid(given, "it")
        return fault or given
    path = folder / given
    found = _read(path)
    if isinstance(found, Fault):
        return found
    if not isinstance(found, Mapping):
        return Fault(
            ConfigCode.BAD_SCHEMA, f"{path} holds no map", "A schema is a map, such as {type: object}."
        )
    return _invalid(found, str(path)) or found


def _read(path: Path) -> Any:
    try:
        text = read_text(path, _SIZE_LIMIT)
    except UnreadableFileError as error:
        message = f"the schema file {path} cannot be used: {error.reason}"
        return Fault(
            ConfigCode.BAD_SCHEMA, message, "Relative paths start at the folder of the file that names them."
        )
    if path.suffix in {".yaml", ".yml"}:
        document = Document.parse(text, str(path))
        return Fault(ConfigCode.BAD_SCHEMA, str(document.problems[0])) if document.problems else document.data
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        where = (
            f"{path}:{error.lineno}:{error.colno}" if isinstance(error, json.JSONDecodeError) else str(path)
        )
        what = error.msg if isinstance(error, json.JSONDecodeError) else "it is nested too deeply"
        return Fault(ConfigCode.BAD_SCHEMA, f"{where} is not JSON: {what}", "A schema in YAML ends in .yaml.")


def _invalid(schema: Mapping[str, Any], name: str) -> Fault | None:
    try:
        PayloadSchema(schema)
    except jsonschema_rs.ValidationError as error:
        pointer = "".join(f"/{part}" for part in error.instance_path)
        at = f" at {pointer}" if pointer else ""
        message = f"{name} is no valid JSON Schema{at}: {_shortly(error.message)}"
    except ValueError as error:
        message = f"{name} is no valid JSON Schema: {_shortly(str(error))}"
    else:
        return None
    return Fault(ConfigCode.BAD_SCHEMA, message, "References must stay within the schema (#/$defs/...).")


def _shortly(text: str) -> str:
    line = text.splitlines()[0]
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
