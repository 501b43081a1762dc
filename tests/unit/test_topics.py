"""Names of topics and patterns."""

from __future__ import annotations

import itertools
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import TopicError
from hub.topics import MAX_TOPIC_BYTES, Pattern, PatternTable, check_topic, fill


@pytest.mark.parametrize(
    "name",
    ["lobby", "news:sport", "a", "x" * 255, "über:straße", "chat:{x}", "a b", "日本:語", "$p", "dm#1,2"],
)
def test_ordinary_names_are_admitted(name: str) -> None:
    assert check_topic(name) == name


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "empty"),
        ("x" * 256, "at most 255 bytes"),
        ("ü" * 128, "at most 255 bytes"),
        ("a\x00b", "U\\+0000"),
        ("a\nb", "U\\+000A"),
        ("a\x7f", "U\\+007F"),
        ("a\x85", "U\\+0085"),
        ("a\u2028", "U\\+2028"),
        ("a\u202eb", "U\\+202E"),
        ("a\ud800", "U\\+D800"),
        ("e\u0301", "normal form C"),
    ],
)
def test_names_that_could_deceive_or_break_are_refused_with_the_rule(name: str, rule: str) -> None:
    with pytest.raises(TopicError, match=rule):
        check_topic(name)


@given(st.text(max_size=300))
def test_any_text_is_admitted_unchanged_or_refused(name: str) -> None:
    try:
        admitted = check_topic(name)
    except TopicError:
        return
    assert admitted == name
    assert 1 <= len(name.encode()) <= MAX_TOPIC_BYTES


@pytest.mark.parametrize(
    ("pattern", "topic", "params"),
    [
        ("news:{section}", "news:sport", {"section": "sport"}),
        ("news:{section}", "news:sport.de", None),
        ("news:{section}", "news:", None),
        ("news:{section}", "anews:sport", None),
        ("chat.{room}", "chat.a", {"room": "a"}),
        ("chat.{room}", "chatxa", None),
        ("a:{x:rest}", "a:b:c.d", {"x": "b:c.d"}),
        ("{all:rest}", "anything: at all", {"all": "anything: at all"}),
        ("{x}-{y}", "1-2", {"x": "1", "y": "2"}),
        ("a:{x}:c", "a:b:c", {"x": "b"}),
        ("lobby", "lobby", {}),
        ("lobby", "lobby\n", None),
    ],
)
def test_captures_take_one_segment_or_the_rest(
    pattern: str, topic: str, params: dict[str, str] | None
) -> None:
    assert Pattern.parse(pattern).match(topic) == params


@pytest.mark.parametrize(
    "pattern", ["", "a:{x}:{x}", "a:{x:rest}:b", "{a}{b}", "a:{", "a:}", "a:{x y}", "a:{1}", "a\x00{x}"]
)
def test_wrong_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(TopicError):
        Pattern.parse(pattern)


@pytest.mark.parametrize(
    ("topic", "best"),
    [
        ("chat:lobby", "chat:lobby"),
        ("chat:other", "chat:{room}"),
        ("chat:a.b", "{t:rest}"),
        ("a:b:c", "a:b:{y}"),
        ("a:z:c", "a:{x}:c"),
        ("a:z:d", "a:{r:rest}"),
        ("x", "{t:rest}"),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_the_most_specific_pattern_wins_whatever_the_order(topic: str, best: str, turned: bool) -> None:
    texts = ["{t:rest}", "chat:{room}", "chat:lobby", "a:{x}:c", "a:b:{y}", "a:{r:rest}"]
    table = PatternTable([(Pattern.parse(text), text) for text in (reversed(texts) if turned else texts)])
    found = table.find(topic)
    assert found is not None
    assert found[0] == best
    assert table.find(topic) == found


def test_patterns_that_match_the_same_topics_clash() -> None:
    with pytest.raises(TopicError, match="same topics"):
        PatternTable([(Pattern.parse("a:{x}"), 1), (Pattern.parse("a:{y}"), 2)])


def test_a_table_without_a_match_finds_nothing() -> None:
    assert PatternTable([(Pattern.parse("a:{x}"), 1)]).find("b:1") is None


def test_templates_are_filled() -> None:
    assert fill("echo:{connection}:{user}", {"connection": "c1", "user": "ann"}) == "echo:c1:ann"
    with pytest.raises(TopicError, match="no value"):
        fill("{nope}", {})


def searched(text: str) -> re.Pattern[str]:
    """The same pattern with every way of matching tried."""
    return re.compile("([^:.]+)".join(map(re.escape, text.split("{a}"))))


@given(
    st.lists(st.text("ab-:.", min_size=1, max_size=3), min_size=1, max_size=3).map("{a}".join),
    st.text("ab-:.", min_size=1, max_size=10),
)
def test_a_capture_that_ends_early_misses_no_topic(text: str, topic: str) -> None:
    numbers = itertools.count()
    pattern = Pattern.parse(re.sub(r"\{a\}", lambda _: f"{{a{next(numbers)}}}", text))
    found = pattern.match(topic)
    assert (found is not None) is (searched(text).fullmatch(topic) is not None)
    if found is not None:
        assert fill(pattern.text, found) == topic


def test_a_capture_ends_where_the_text_after_it_comes_first() -> None:
    assert Pattern.parse("dm:{from}-{to}").match("dm:a-b-c") == {"from": "a", "to": "b-c"}


@pytest.mark.parametrize(
    "text", ["{a}-{b}-{c}-{d}-{e}x", "{a}-{b}-{c}:{d}-{e}-{f}x", "{a}--{b}--{c}--{d}y:{e:rest}"]
)
def test_no_name_makes_matching_take_long(text: str) -> None:
    pattern, started = Pattern.parse(text), time.perf_counter()
    for topic in ("-" * 255, "-" * 127 + ":" + "-" * 127, "a-" * 127):
        assert pattern.match(topic) is None
    assert time.perf_counter() - started < 0.1
