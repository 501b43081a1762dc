"""Payload schemas: JSON Schema, compiled once, checked on every publish to a topic that has one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jsonschema_rs
import msgspec

from hub.errors import InvalidPayload


class PayloadSchema:
    """A compiled schema (draft 2020-12 unless it says otherwise; references to other documents are refused)."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Raises ValueError when it is not a valid schema."""
        self._validator = jsonschema_rs.validator_for(
            dict(schema), validate_formats=True, retriever=_refuse_reference
        )

    def check(self, raw: bytes) -> None:
        """Raises InvalidPayload (107) that names the place and the rule, and never repeats the payload."""
        try:
            value = msgspec.json.decode(raw)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise InvalidPayload(f"the payload is not valid JSON: {error}") from error
        failure = next(iter(self._validator.iter_errors(value)), None)
        if failure is not None:
            pointer = "".join(f"/{part}" for part in failure.instance_path)
            message = failure.message if len(failure.message) <= 120 else "does not match the topic's schema"
            raise InvalidPayload(f"bad request: data{pointer}: {message}", pointer)


def _refuse_reference(uri: str) -> Any:
    """Without a retriever the library would read files and fetch addresses by itself."""
    raise ValueError(f"it refers to another document, {uri}")
