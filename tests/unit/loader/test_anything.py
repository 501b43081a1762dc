"""Whatever a file holds, the answer is a blueprint or a list of problems."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hub.loader.compose import compose
from hub.settings import shape
from hub.settings.load import Loaded, load
from hub.settings.model import Settings
from hub.settings.problem import ConfigCode, ConfigError, Problem
from hub.settings.topic import ScheduleSettings, TopicSettings


def known_keys(model: Any, seen: set[Any]) -> Iterator[str]:
    for key, field in shape.fields(model).items():
        yield key
        for found in shape.options(field.annotation):
            if shape.is_model(found) and found not in seen:
                seen.add(found)
                yield from known_keys(found, seen)


KEYS = sorted(
    {*known_keys(Settings, set()), *known_keys(TopicSettings, set()), *known_keys(ScheduleSettings, set())}
)
WORDS = [
    "a:b",
    "a:{b}",
    "{x:rest}",
    "anyone",
    "handler",
    "user:{b}",
    "redis://h",
    "json:dumps",
    "/ws",
    "1h",
    "${X}",
    "cache",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(WORDS)
)
NAMES = st.sampled_from(KEYS) | st.sampled_from(WORDS) | st.text(max_size=8)
VALUES = st.recursive(
    SCALARS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


def judged(loaded: Loaded) -> None:
    with contextlib.suppress(ConfigError):
        _ = loaded.settings
    for problem in told(loaded):
        assert ConfigCode(problem.code).sentence
        assert str(problem).isprintable()
        assert problem.message


def told(loaded: Loaded) -> tuple[Problem, ...]:
    try:
        compose(loaded, "serve")
    except ConfigError as error:
        return error.problems
    return ()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), VALUES, max_size=5))
@example(data={"plugins": {"a": {"use": "\x00"}}})
@example(data={"topics": {"a:b": {"schema": "\x00"}}})
@example(data={"topics": {"a:b": {"schema": {"$ref": {}}}}})
@example(data={"handlers": {"start": "json.decoder.x:y", "stop": "os:_exit"}})
def test_a_file_of_any_shape_is_judged(data: dict[str, Any], tmp_path: Path) -> None:
    judged(load(None, {}, overlay=data))
    (tmp_path / "hub.yaml").write_text(json.dumps(data))
    judged(load(tmp_path / "hub.yaml", {"X": "1"}))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.dictionaries(NAMES, VALUES, max_size=5))
def test_a_manifest_of_any_shape_is_judged(data: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir(exist_ok=True)
    (folder / "plugin.yaml").write_text(json.dumps({"name": "odd", "api": 1} | data))
    judged(load(None, {}, overlay={"plugins": {"odd": {"use": str(folder)}}}))


@pytest.mark.parametrize(
    "text", ["", "\n", "---\n", "null", "[]", "3", "a", "- a", "\t", "a: b: c", "\ufeffversion: 1"]
)
def test_a_text_of_any_kind_is_judged(text: str, tmp_path: Path) -> None:
    (tmp_path / "hub.yaml").write_text(text)
    judged(load(tmp_path / "hub.yaml", {}))
