"""How deep JSON is nested."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import ReplyError
from hub.fitness import MAX_DEPTH, too_deep
from hub.testing import InProcessHub


@pytest.mark.parametrize(
    ("raw", "deep"),
    [
        (b"[" * 64 + b"]" * 64, False),
        (b"[" * 65 + b"]" * 65, True),
        (b'{"a":' * 65 + b"1" + b"}" * 65, True),
        (b"[" + b"[],".join([b""] * 200) + b"1]", False),
        (json.dumps("[" * 200).encode(), False),
        (json.dumps({"a": '\\"' + "{" * 200}).encode(), False),
    ],
)
def test_only_real_nesting_counts(raw: bytes, deep: bool) -> None:
    assert too_deep(raw) is deep


def depth(value: Any) -> int:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if below is None else 1 + max((depth(item) for item in below), default=0)


@given(st.integers(0, 80), st.text(), st.booleans())
def test_it_agrees_with_a_decoder(levels: int, text: str, wide: bool) -> None:
    value: Any = text
    for level in range(levels):
        value = {text: value} if level % 2 else [value, *([[text]] * 70 if wide and level == 0 else [])]
    assert too_deep(json.dumps(value).encode()) == (depth(value) > MAX_DEPTH)


async def test_a_payload_that_is_too_deep_is_refused_at_the_one_door() -> None:
    anyone = {"subscribe": "anyone", "publish": "anyone"}
    async with InProcessHub({"topics": {"a:{x}": {"allow": anyone}}}) as hub:
        ann = await hub.connect("ann")
        value: Any = 1
        for _ in range(65):
            value = [value]
        with pytest.raises(ReplyError, match="deeper than 64") as caught:
            await ann.publish("a:1", value)
        assert caught.value.code == 107
        await ann.publish("a:1", value[0])
