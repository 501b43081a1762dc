"""Deltas in the form of Fossil."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.protocol import fossil

BEFORE = b'{"text": "the quick brown fox jumps over the lazy dog", "n": 2}'
AFTER = b'{"text": "the quick brown fox jumps over the lazy dog", "n": 3}'
FROM_ANOTHER_SERVER = b"~\ny@0,2:3}1gb~dm;"

pieces = st.lists(
    st.sampled_from([b"a", b"b" * 16, b"0123456789abcdef", b"\xff\x80" * 9, b"x" * 7]), max_size=40
)


@st.composite
def edited(draw: st.DrawFn) -> tuple[str, str]:
    """A text and what some edits made of it, characters of several bytes included."""
    before = draw(st.text(alphabet='ab {}":,0жШ日🎈', max_size=300))
    after = before
    for _ in range(draw(st.integers(0, 6))):
        start = draw(st.integers(0, len(after)))
        end = draw(st.integers(start, min(len(after), start + 40)))
        moved = draw(st.booleans())
        inserted = after[: end - start] if moved else draw(st.text(alphabet="cж日🎉", max_size=20))
        after = after[:start] + inserted + after[end:]
    return before, after


def test_a_delta_of_another_server_is_understood() -> None:
    assert fossil.apply(BEFORE, FROM_ANOTHER_SERVER) == AFTER
    assert fossil.apply(BEFORE, fossil.create(BEFORE, AFTER)) == AFTER


def test_the_checksum_is_that_of_big_endian_words_filled_up_with_zeros() -> None:
    assert fossil.checksum(b"") == 0
    assert fossil.checksum(b"\x01") == 0x0100_0000
    assert (
        fossil.checksum(b"\x00\x00\x00\x02\xff\xff\xff\xff\x00\x01") == (2 + 0xFFFF_FFFF + 0x1_0000) % 2**32
    )


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_any_bytes_come_back(source: bytes, target: bytes) -> None:
    assert fossil.apply(source, fossil.create(source, target)) == target


@given(pieces, pieces)
def test_bytes_with_much_in_common_come_back(source: list[bytes], target: list[bytes]) -> None:
    before, after = b"".join(source), b"".join(target)
    assert fossil.apply(before, fossil.create(before, after)) == after


@given(edited())
def test_edits_of_a_text_come_back_from_a_delta_that_is_text(texts: tuple[str, str]) -> None:
    before, after = (text.encode() for text in texts)
    delta = fossil.create(before, after)
    delta.decode()
    assert fossil.apply(before, delta) == after


@given(st.integers(0, 2**40))
def test_numbers_come_back(number: int) -> None:
    assert fossil._value(fossil._number(number)) == number


def rows(seed: int, count: int) -> list[dict[str, object]]:
    chance = random.Random(seed)
    return [
        {"id": n, "name": f"item {n}", "price": chance.randrange(10**6) / 100, "on": True}
        for n in range(count)
    ]


@pytest.mark.parametrize("at", [0, 400, 799])
def test_one_change_in_a_long_text_costs_some_bytes(at: int) -> None:
    content = rows(1, 800)
    before = json.dumps(content).encode()
    content[at]["price"] = 7
    after = json.dumps(content).encode()
    delta = fossil.create(before, after)
    assert len(delta) < 40
    assert fossil.apply(before, delta) == after


def test_changes_all_over_and_a_shift_are_found() -> None:
    content = rows(2, 100)
    before = json.dumps(content).encode()
    for row in content[::9]:
        row["price"] = "none"
    content.insert(3, {"id": 100, "new": True})
    after = json.dumps(content).encode()
    delta = fossil.create(before, after)
    assert len(delta) < len(after) / 10
    assert fossil.apply(before, delta) == after


def test_what_costs_too_much_to_find_is_inserted() -> None:
    chance = random.Random(3)
    before = chance.randbytes(32_768).hex().encode()
    blocks = [before[at : at + 16] for at in range(0, len(before), 16)]
    chance.shuffle(blocks)
    after = b"".join(blocks)
    delta = fossil.create(before, after)
    assert delta.count(b"@") <= fossil._MAX_COPIES + 2
    assert fossil.apply(before, delta) == after


@pytest.mark.parametrize(
    "delta",
    [
        b"",
        b"~",
        b"!\n0;",
        b"~\n",
        b"~\ny@0,2:3}",
        b"~\ny@0,2:3}1gb~dn;",
        b"}\ny@0,2:3}1gb~dm;",
        b"~\ny@0;2:3}1gb~dm;",
        b"~\ny@5,2:3}1gb~dm;",
        b"~\ny@0,~:3}1gb~dm;",
        b"~\ny@0,2:3}1gb~dm;x",
        b"~\ny@0,2:3}?1gb~dm;",
        b"1\ny@0,2:3}1gb~dm;",
    ],
)
def test_a_malformed_delta_is_refused(delta: bytes) -> None:
    with pytest.raises(ValueError, match="delta"):
        fossil.apply(BEFORE, delta)
