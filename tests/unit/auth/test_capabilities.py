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
        ("inbox:{sub}", "inbox:ann@example.com", "ann@example.com", True),
        ("inbox:{sub}", "inbox:ann@exampleXcom", "ann@example.com", False),
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
    "user", ["{x}", "{x:rest}", "*", ".*", "(?:", "\\", "a|b", "{sub}", "x)|(y", "]", "{_:rest}"]
)
def test_a_name_is_taken_literally(user: str) -> None:
    assert covers("inbox:{sub}", f"inbox:{user}", user)
    for other in ("bob", "bob:x", "a", "y"):
        assert not covers("inbox:{sub}", f"inbox:{other}", user)


@given(st.text(min_size=1), st.text(min_size=1))
def test_whatever_the_name_only_its_own_text_is_covered(user: str, other: str) -> None:
    assert covers("inbox:{sub}:*", f"inbox:{other}:x", user) is (f"inbox:{other}:x").startswith(
        f"inbox:{user}:"
    )


def test_compiled_patterns_are_bounded() -> None:
    for number in range(5_000):
        covers(f"topic:{number}", "topic:1", "ann")
    info = capabilities._compiled.cache_info()
    assert info.maxsize is not None
    assert info.currsize <= info.maxsize


def test_one_compiled_pattern_serves_all_users_whose_name_it_does_not_hold() -> None:
    capabilities._compiled.cache_clear()
    for user in ("ann", "bob", ""):
        assert covers("news:*", "news:all", user)
    assert capabilities._compiled.cache_info().currsize == 1
