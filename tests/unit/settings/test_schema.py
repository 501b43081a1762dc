from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel, ConfigDict

from hub.settings.example import EXAMPLES
from hub.settings.load import load
from hub.settings.schema import json_schema


class Inner(BaseModel):
    title: str = "x"


class Options(BaseModel):
    """Not shown."""

    rooms: int = 3
    inner: Inner = Inner()


class Loose(BaseModel):
    model_config = ConfigDict(extra="ignore")


SCHEMA = json_schema({"chat": Options, "plain": None, "loose": Loose})
VALIDATOR = jsonschema_rs.Draft202012Validator(SCHEMA)

BOTH: list[dict[str, Any]] = [
    {},
    {"server": {"port": 0, "internal": None, "drain": "1.5s", "allowed_origins": ["*"]}},
    {"client": {"ping": 25, "message_bytes": "1MiB", "queue_bytes": 65_536}},
    {"broker": {"url": "memory://"}},
    {"broker": {"url": ["memory://"]}},
    {"plugins": {"chat": None, "other": {"use": "x", "settings": {"any": 1}}}},
    {
        "topics": {
            "a": {"allow": {"subscribe": "role:x", "publish": ["token", "user:{a}"]}, "slow": "conflate:a"}
        }
    },
    {"topics": {"a": {"history": None, "schema": {"type": "object"}, "handlers": {"publish": ["a:b"]}}}},
]
NEITHER: list[dict[str, Any]] = [
    {"sevrer": {}},
    {"version": 2},
    {"server": {"port": "8000"}},
    {"server": {"port": -1}},
    {"server": {"workers": 1.5}},
    {"auth": {"anonymous": "yes"}},
    {"auth": {"jwt": {"algorithms": ["none"]}}},
    {"client": {"ping": "25 weeks"}},
    {"client": {"message_bytes": "1 MEGA"}},
    {"log": {"level": "INFO"}},
    {"topics": {"a": {"allow": {"subscribe": "anyon"}}}},
    {"topics": {"a": {"handlers": {"publish": "reply"}}}},
    {"topics": {"a": {"slow": "sometimes"}}},
    {"sockets": {"/x": {}}},
]


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        yield schema
    for below in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from nodes(below)


@pytest.mark.parametrize("data", BOTH)
def test_what_the_hub_takes_an_editor_takes(data: dict[str, Any]) -> None:
    assert load(None, {}, overlay=data).problems == ()
    assert VALIDATOR.is_valid(data)


@pytest.mark.parametrize("data", NEITHER)
def test_what_the_hub_refuses_an_editor_marks(data: dict[str, Any]) -> None:
    assert load(None, {}, overlay=data).problems
    assert not VALIDATOR.is_valid(data)


@pytest.mark.parametrize("path", sorted(EXAMPLES))
def test_examples_are_valid(path: tuple[str, ...]) -> None:
    data = EXAMPLES[path]
    for key in reversed(path):
        data = {key: data}
    assert VALIDATOR.is_valid(data)


@pytest.mark.parametrize(
    "data",
    [
        {"server": {"port": "${PORT:-8000}"}},
        {"auth": {"anonymous": "${ANONYMOUS}"}},
        {"client": {"ping": "${PING}"}},
        {"log": {"level": "${LEVEL}"}},
        {"plugins": {"chat": {"settings": {"rooms": "${ROOMS}"}}}},
    ],
)
def test_an_expansion_may_stand_where_no_text_is_wanted(data: dict[str, Any]) -> None:
    assert VALIDATOR.is_valid(data)


def test_settings_of_plugins_are_known() -> None:
    def settings(plugin: str, data: dict[str, Any]) -> bool:
        return VALIDATOR.is_valid({"plugins": {plugin: {"settings": data}}})

    assert settings("chat", {"rooms": 2, "inner": {"title": "y"}})
    assert not settings("chat", {"romos": 2})
    assert not settings("chat", {"inner": {"titel": "y"}})
    assert not settings("plain", {"a": 1})
    assert settings("loose", {"a": 1})


def test_every_option_has_its_sentence_and_no_generated_title() -> None:
    for node in nodes(json_schema()):
        properties = node.get("properties", {})
        assert all("$ref" in found or found.get("description") for found in properties.values())
        assert node is not properties
    titles = [node["title"] for node in nodes(json_schema()) if isinstance(node.get("title"), str)]
    assert titles == ["hub.yaml"]


def test_it_says_which_dialect_it_speaks_and_is_valid_in_it() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    jsonschema_rs.meta.validate(SCHEMA)
