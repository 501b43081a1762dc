from __future__ import annotations

import pytest

from hub.handlers import TopicRule
from hub.model import HistoryOptions
from hub.settings.problem import ConfigError
from tests.unit.loader.conftest import Compose

HANDLERS = "async def admit(ctx): ...\nasync def check(ctx, pub): ...\n"


def rule(composed: Compose, manifest: str, operator: str, **more: str) -> TopicRule:
    """The rule of `room:{id}` when a plugin and the operator say these things of it."""
    texts = {
        "p/plugin.yaml": f"name: p\napi: 1\ntopics:\n  'room:{{id}}': {manifest}\n",
        "p/h.py": HANDLERS,
        "mine.py": HANDLERS,
        "hub.yaml": "plugins: {p: {use: p}}\n"
        + (f"topics:\n  'room:{{id}}': {operator}\n" if operator else ""),
    }
    found = composed({**texts, **more}).table.find("room:1")
    assert found is not None
    return found[0]


def test_a_topic_without_options_admits_nobody(composed: Compose) -> None:
    options = rule(composed, "{}", "").options
    assert options.allow == {"subscribe": ("nobody",), "publish": ("nobody",)}
    assert (options.pattern, options.owner, options.history, options.schema) == ("room:{id}", "p", None, None)
    assert (options.presence, options.join_leave, options.recovery) == (False, False, "stream")
    assert (options.slow, options.conflate, options.max_bytes) == ("disconnect", "", 65_536)
    assert (options.delta, options.filter) == (False, False)


def test_every_option_reaches_the_rule(composed: Compose) -> None:
    said = (
        "{allow: {subscribe: anyone, publish: [token, 'user:{id}'], presence: nobody, history: 'role:a'}, "
        "history: {size: 3, ttl: 1m, meta_ttl: 1h}, presence: true, join_leave: true, recovery: cache, "
        "slow: 'conflate:name', delta: true, filter: true, max_bytes: 1KiB, schema: {type: object}, "
        "handlers: {subscribe: 'h:admit', publish: 'h:check'}}"
    )
    found = rule(composed, said, "")
    options = found.options
    assert options.allow == {
        "subscribe": ("anyone",),
        "publish": ("token", "user:{id}"),
        "presence": ("nobody",),
        "history": ("role:a",),
    }
    assert options.history == HistoryOptions(3, 60.0, 3_600.0)
    assert (options.presence, options.join_leave, options.recovery) == (True, True, "cache")
    assert (options.slow, options.conflate, options.max_bytes) == ("conflate", "name", 1_024)
    assert (options.delta, options.filter) == (True, True)
    assert options.schema == {"type": "object"}
    assert [handler.name for handler in (*found.subscribe, *found.publish)] == ["p:h:admit", "p:h:check"]


def test_the_operator_overrides_option_by_option(composed: Compose) -> None:
    manifest = "{allow: {subscribe: anyone, publish: anyone}, history: {size: 3, ttl: 1m}, "
    manifest += "presence: true, slow: drop_oldest}"
    options = rule(
        composed, manifest, "{allow: {publish: nobody}, history: {size: 9}, presence: false}"
    ).options
    assert options.allow == {"subscribe": ("anyone",), "publish": ("nobody",)}
    assert options.history == HistoryOptions(9, 60.0)
    assert (options.presence, options.slow, options.owner) == (False, "drop_oldest", "p")


def test_null_takes_an_option_back(composed: Compose) -> None:
    manifest = "{history: {size: 3}, schema: {type: object}, allow: {subscribe: anyone}}"
    options = rule(composed, manifest, "{history: null, schema: null, allow: null}").options
    assert (options.history, options.schema) == (None, None)
    assert options.allow["subscribe"] == ("nobody",)


def test_the_operators_handlers_run_first(composed: Compose) -> None:
    found = rule(
        composed, "{handlers: {publish: 'h:check'}}", "{handlers: {publish: ['mine:check', 'mine:check']}}"
    )
    assert [handler.name for handler in found.publish] == ["mine:check", "mine:check", "p:h:check"]


def test_a_schema_lies_beside_the_file_that_names_it(composed: Compose) -> None:
    texts = {"p/s.json": '{"title": "plugin"}', "s.json": '{"title": "operator"}', "t.yaml": "title: yaml\n"}
    assert rule(composed, "{schema: s.json}", "", **texts).options.schema == {"title": "plugin"}
    assert rule(composed, "{schema: s.json}", "{presence: true}", **texts).options.schema == {
        "title": "plugin"
    }
    assert rule(composed, "{schema: s.json}", "{schema: s.json}", **texts).options.schema == {
        "title": "operator"
    }
    assert rule(composed, "{}", "{schema: t.yaml}", **texts).options.schema == {"title": "yaml"}


def test_the_operator_may_leave_it_to_the_plugins_handler(composed: Compose) -> None:
    found = rule(composed, "{handlers: {subscribe: 'h:admit'}}", "{allow: {subscribe: handler}}")
    assert found.options.allow["subscribe"] == ("handler",)


def test_what_two_files_say_together_may_be_wrong(composed: Compose) -> None:
    with pytest.raises(
        ConfigError, match=r"hub\.yaml:3:26 .*history: with what the plugin says, meta_ttl must not"
    ):
        rule(composed, "{history: {ttl: 1m, meta_ttl: 1h}}", "{history: {ttl: 2h}}")
    with pytest.raises(
        ConfigError, match=r"hub\.yaml:3:\d+ .*recovery: recovery from the cache needs a history"
    ):
        rule(composed, "{history: {size: 1}}", "{history: null, recovery: cache}")


def test_the_most_specific_pattern_wins_across_files(composed: Compose) -> None:
    texts = {
        "p/plugin.yaml": "name: p\napi: 1\ntopics: {'room:{id}': {}, '{all:rest}': {}}\n",
        "hub.yaml": "plugins: {p: {use: p}}\ntopics: {'room:lobby': {}, 'room:{id}:{part}': {}}\n",
    }
    table = composed(texts).table
    assert {
        name: (table.find(name) or pytest.fail(name))[0].options.pattern
        for name in ("room:lobby", "room:x", "room:x:y", "room:x:y:z")
    } == {
        "room:lobby": "room:lobby",
        "room:x": "room:{id}",
        "room:x:y": "room:{id}:{part}",
        "room:x:y:z": "{all:rest}",
    }
