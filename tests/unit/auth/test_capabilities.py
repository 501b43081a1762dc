from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.auth import capabilities
from hub.auth.capabilities import covers


@pytest.mark.parametrize(
    ("pattern", "topic", "user", "expected"),
    [
        ("chat:lobby", "chat:lobby", "", True),
        ("chat:lobby", "chat:lobby2", "", False),
        ("chat:*", "chat:lobby", "", True),
        ("chat:*", "chat:a:b.c", "", True),
        ("chat:*", "chat:", "", False),
        ("chat:*", "chats:lobby", "", False),
        ("chat:{room}", "chat:lobby", "", True),
        ("chat:{room}", "chat:a:b", "", False),
        ("{_}:*", "chat:lobby", "", False),  # no pattern: one capture twice
        ("*", "anything:at.all", "", True),
        ("a*b", "a*b", "", True),
        ("a*b", "axb", "", False),
        ("inbox:{sub}", "inbox:ann", "ann", True),
        ("inbox:{sub}", "inbox:bob", "ann", False),
        ("inbox:{sub}", "inbox:ann:x", "ann", False),
        ("inbox:{sub}", "inbox:ann@example.com", "ann@example.com", False),
        ("inbox:{sub:rest}", "inbox:ann@example.com", "ann@example.com", True),
        ("inbox:{sub:rest}", "inbox:ann@exampleXcom", "ann@example.com", False),
        ("inbox:{sub:rest}", "inbox:ann", "ann", True),
        ("inbox:{sub:rest}", "inbox:bob", "ann", False),
        ("{sub}", "ann", "ann", True),
        ("dm:{other}:{sub}:*", "dm:bob:ann:1:2", "ann", True),
        ("dm:{other}:{sub}:*", "dm:ann:bob:1:2", "ann", False),
        ("inbox:{sub}", "inbox:", "", False),
        ("inbox:{sub}", "inbox:{sub}", "", False),
        ("inbox:{", "inbox:{", "", False),
        ("", "", "", False),
    ],
)
def test_a_capability_covers_what_its_pattern_says(
    pattern: str, topic: str, user: str, expected: bool
) -> None:
    assert covers(pattern, topic, user) is expected


@pytest.mark.parametrize(
    "user",
    ["{x}", "{x:rest}", "*", "[^x]*", "(?:", "\\", "a|b", "{sub}", "x)|(y", "]", "{_:rest}", "#ann", "$"],
)
def test_a_name_is_taken_literally(user: str) -> None:
    assert covers("inbox:{sub:rest}", f"inbox:{user}", user)
    assert covers("inbox:{sub}", f"inbox:{user}", user) is (":" not in user)
    for other in ("bob", "bob:x", "a", "y"):
        assert not covers("inbox:{sub}", f"inbox:{other}", user)
        assert not covers("inbox:{sub:rest}", f"inbox:{other}", user)


@pytest.mark.parametrize(
    ("pattern", "topic", "owner", "thief"),
    [
        ("board:{sub}.notes", "board:red.secret.notes", "", "red.secret"),
        ("user:{sub}", "user:ann:inbox", "", "ann:inbox"),
        ("user:{sub}:{box}", "user:ann:inbox", "ann", "ann:inbox"),
        ("dm:{sub}-{peer}", "dm:ann-bob-eve", "ann", "ann-bob"),
        ("dm:{peer}-{sub}", "dm:ann-bob-eve", "bob-eve", "eve"),
        ("user:{sub}:*", "user:ann:inbox:1", "ann", "ann:inbox"),
    ],
)
def test_a_name_with_separators_reaches_into_nobody_elses_topics(
    pattern: str, topic: str, owner: str, thief: str
) -> None:
    assert not covers(pattern, topic, thief)
    assert covers(pattern, topic, owner) is bool(owner)


@given(
    st.sampled_from(
        ("inbox:{sub}", "inbox:{sub}:*", "dm:{sub}-{peer}", "dm:{peer}-{sub}", "{sub}", "a{sub:rest}")
    ),
    st.text("ab-:.{}*", min_size=1, max_size=8),
    st.lists(st.text("ab-:.{}*", min_size=1, max_size=4), min_size=1, max_size=20, unique=True),
)
def test_of_each_topic_a_capability_names_one_user_at_most(pattern: str, rest: str, users: list[str]) -> None:
    for topic in (f"inbox:{rest}", f"dm:{rest}", f"a{rest}", rest):
        assert sum(covers(pattern, topic, user) for user in users) <= 1


def test_compiled_patterns_are_bounded() -> None:
    for number in range(5_000):
        covers(f"topic:{number}", "topic:1", "ann")
    info = capabilities._compiled.cache_info()
    assert info.maxsize is not None
    assert info.currsize <= info.maxsize


def test_one_compiled_pattern_serves_all_users() -> None:
    capabilities._compiled.cache_clear()
    for user in ("ann", "bob", "eve"):
        assert covers("news:{sub}", f"news:{user}", user)
    assert capabilities._compiled.cache_info().currsize == 1
