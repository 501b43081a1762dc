from __future__ import annotations

import re
from typing import Any

import pytest

from hub.settings import shape
from hub.settings.document import Document
from hub.settings.example import EXAMPLES, example_yaml
from hub.settings.load import load
from hub.settings.model import (
    ApiKeySettings,
    KeySettings,
    PluginSettings,
    PreviousKeySettings,
    Settings,
)
from hub.settings.topic import (
    AllowSettings,
    GlobalHandlers,
    HistorySettings,
    ScheduleSettings,
    SocketSettings,
    TopicHandlers,
    TopicSettings,
)

TEXT = example_yaml()


def test_it_says_nothing_but_the_defaults_a_secret_and_the_bundled_plugins() -> None:
    said = Document.parse(TEXT, "hub.yaml")
    assert said.problems == ()
    settings = load(None, {}, overlay=said.data).settings
    changed = {name for name in Settings.model_fields if getattr(settings, name) != getattr(Settings(), name)}
    assert changed == {"auth", "plugins"}
    assert settings.auth.model_copy(update={"jwt": Settings().auth.jwt}) == Settings().auth
    assert settings.auth.jwt.model_copy(update={"secret": None}) == Settings().auth.jwt
    assert set(settings.plugins) == {"chat", "dashboards", "notifications"}


def options(model: Any) -> list[tuple[str, str]]:
    found = []
    for name, field in shape.fields(model).items():
        found.append((name, field.description or ""))
        for below in shape.options(field.annotation):
            found += options(below) if shape.is_model(below) and model is not TopicSettings else []
    return found


@pytest.mark.parametrize(
    "model",
    [
        Settings,
        TopicSettings,
        AllowSettings,
        HistorySettings,
        TopicHandlers,
        GlobalHandlers,
        ScheduleSettings,
        ApiKeySettings,
        KeySettings,
        PreviousKeySettings,
        PluginSettings,
        SocketSettings,
    ],
)
def test_every_option_stands_in_it_with_its_sentence(model: Any) -> None:
    words = re.sub(r"[\s#]+", " ", TEXT)
    missing = [
        name
        for name, sentence in options(model)
        if f"{name}:" not in words or re.sub(r"[\s#]+", " ", sentence) not in words
    ]
    assert missing == []


@pytest.mark.parametrize("path", sorted(EXAMPLES))
def test_each_example_in_comments_is_one_that_the_model_reads(path: tuple[str, ...]) -> None:
    data = EXAMPLES[path]
    for key in reversed(path):
        data = {key: data}
    assert load(None, {}, overlay=data).problems == ()


def test_examples_come_into_force_as_the_head_says() -> None:
    text = TEXT.replace("topics: {}\n", "topics:\n")
    begin = text.index('#   "news:{section}":')
    end = text.index("#\n", begin)
    text = text[:begin] + re.sub(r"(?m)^# ", "", text[begin:end]) + text[end:]
    found = Document.parse(text, "hub.yaml").data["topics"]
    assert found == EXAMPLES[("topics",)]


def test_no_line_is_too_long() -> None:
    assert max(map(len, TEXT.splitlines())) <= 110
