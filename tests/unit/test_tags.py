"""Filters on tags."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.errors import ReplyError
from hub.model import ClientInfo, Publication
from hub.tags import MAX_DEPTH, MAX_NODES, MAX_TEXT, MAX_VALUES, TagFilter, read_filter

TAGS = {"t": "apple", "price": "10.50", "empty": ""}
EX = {"key": "t", "cmp": "ex"}


def made(node: Any) -> TagFilter:
    found = read_filter(json.dumps(node).encode())
    assert found is not None
    return found


def leaf(cmp: str, val: str = "", key: str = "t", vals: list[str] | None = None) -> dict[str, Any]:
    return {"key": key, "cmp": cmp, "val": val, "vals": vals or []}


@pytest.mark.parametrize(
    ("node", "matches"),
    [
        (leaf("eq", "apple"), True),
        (leaf("eq", "app"), False),
        (leaf("eq", "apple", "none"), False),
        (leaf("neq", "pear"), True),
        (leaf("neq", "apple"), False),
        (leaf("neq", "apple", "none"), True),
        (leaf("in", vals=["pear", "apple"]), True),
        (leaf("in", vals=["pear"]), False),
        (leaf("in", key="none", vals=["pear"]), False),
        (leaf("nin", vals=["pear"]), True),
        (leaf("nin", vals=["apple"]), False),
        (leaf("nin", key="none", vals=["apple"]), True),
        (leaf("ex"), True),
        (leaf("ex", key="empty"), True),
        (leaf("ex", key="none"), False),
        (leaf("nex"), False),
        (leaf("nex", key="none"), True),
        (leaf("sw", "app"), True),
        (leaf("sw", "le"), False),
        (leaf("sw", "a", "none"), False),
        (leaf("ew", "le"), True),
        (leaf("ew", "app"), False),
        (leaf("ct", "ppl"), True),
        (leaf("ct", "x"), False),
        (leaf("ct", "x", "none"), False),
        (leaf("gt", "9", "price"), True),
        (leaf("gt", "10.5", "price"), False),
        (leaf("gte", "10.5", "price"), True),
        (leaf("lt", "10.500", "price"), False),
        (leaf("lt", "+100", "price"), True),
        (leaf("lte", "10.5", "price"), True),
        (leaf("lte", "-10.5", "price"), False),
        (leaf("gt", "0"), False),
        (leaf("lte", "0", "none"), False),
        ({"op": "and", "nodes": [EX, leaf("gt", "1", "price")]}, True),
        ({"op": "and", "nodes": [EX, leaf("gt", "11", "price")]}, False),
        ({"op": "or", "nodes": [leaf("eq", "x"), EX]}, True),
        ({"op": "or", "nodes": [leaf("eq", "x"), leaf("eq", "y")]}, False),
        ({"op": "not", "nodes": [EX]}, False),
        ({"op": "not", "nodes": [{"op": "not", "nodes": [EX]}]}, True),
    ],
)
def test_a_filter_matches_tags(node: Any, matches: bool) -> None:
    assert made(node).matches(TAGS) is matches


@given(st.decimals(-(10**9), 10**9, places=3), st.decimals(-(10**9), 10**9, places=2))
def test_decimals_are_compared_exactly(tag: Decimal, bound: Decimal) -> None:
    tags = {"n": format(tag, "f")}
    for cmp, truth in (
        ("gt", tag > bound),
        ("gte", tag >= bound),
        ("lt", tag < bound),
        ("lte", tag <= bound),
    ):
        assert made(leaf(cmp, format(bound, "f"), "n")).matches(tags) is truth


@pytest.mark.parametrize(
    "tag", ["", " 1", "1e9", "NaN", "Infinity", "1_0", "\u0661", "1.", ".5", "-.5", "--1", "1" * 65]
)
def test_only_plain_decimals_are_numbers(tag: str) -> None:
    plain = tag in {"1.", ".5", "-.5"}
    assert made(leaf("gt", "-9", "n")).matches({"n": tag}) is plain


def deep(levels: int) -> Any:
    node: Any = EX
    for _ in range(levels - 1):
        node = {"op": "not", "nodes": [node]}
    return node


@pytest.mark.parametrize(
    ("node", "text"),
    [
        ({}, "cmp is one of"),
        (leaf("like", "x"), "found 'like'"),
        (leaf("eq"), "eq needs val"),
        (leaf("eq", "x", ""), "eq needs a key"),
        (leaf("eq", "x", vals=["y"]), "eq takes no vals"),
        (leaf("in"), "in needs vals"),
        (leaf("nin", "x", vals=["y"]), "nin takes no val"),
        (leaf("ex", "x"), "ex takes no val"),
        (leaf("nex", vals=["x"]), "nex takes no vals"),
        (leaf("gt", "ten"), "compares decimals; found 'ten'"),
        (leaf("lte", "1e3"), "compares decimals"),
        ({"op": "xor", "nodes": [EX]}, "found 'xor'"),
        ({"op": "and"}, "and needs at least one of nodes"),
        ({"op": "not", "nodes": [EX, EX]}, "not needs exactly one of nodes"),
        ({"op": "or", "nodes": [EX, {}]}, "cmp is one of"),
        ([], "it cannot be read"),
        ({"key": 1}, "it cannot be read"),
        ({"key": "t", "cmp": "eq", "val": 5}, "it cannot be read"),
        (deep(MAX_DEPTH + 1), "deeper than 8 levels"),
        ({"op": "or", "nodes": [EX] * MAX_NODES}, "more than 32 nodes"),
        (leaf("in", vals=["x"] * (MAX_VALUES + 1)), "more than 128 values"),
        (leaf("eq", "x" * (MAX_TEXT + 1)), "more than 256 characters"),
        (leaf("in", vals=["x" * (MAX_TEXT + 1)]), "more than 256 characters"),
        (leaf("eq", "x", "x" * (MAX_TEXT + 1)), "more than 256 characters"),
    ],
)
def test_a_bad_filter_is_refused_with_its_mistake(node: Any, text: str) -> None:
    with pytest.raises(ReplyError, match="tags filter is refused") as caught:
        made(node)
    assert caught.value.code == 107
    assert text in caught.value.message


@pytest.mark.parametrize("raw", [b'{"op":"not","nodes":[' * 20_000, b'"\xff"', b"{"])
def test_what_is_no_json_is_refused(raw: bytes) -> None:
    with pytest.raises(ReplyError, match="it cannot be read"):
        read_filter(raw)


def test_the_largest_filter_is_taken() -> None:
    assert made(deep(MAX_DEPTH)).matches({"t": "x"}) is False
    assert made({"op": "or", "nodes": [EX] * (MAX_NODES - 1)}).matches({"t": "x"}) is True


def test_null_is_no_filter() -> None:
    assert read_filter(b"null") is None


def test_filters_written_alike_are_one() -> None:
    first, second = made({"op": "", "key": "t", "cmp": "ex"}), made({"cmp": "ex", "key": "t", "vals": []})
    assert first == second
    assert len({first, second}) == 1
    assert first != made(leaf("nex"))


def test_joins_and_leaves_pass_every_filter() -> None:
    nothing = made({"op": "not", "nodes": [{"op": "or", "nodes": [EX, leaf("nex")]}]})
    assert not nothing.admits(Publication("x", b"1"))
    assert not nothing.admits(Publication("x", b"1", tags=TAGS))
    assert nothing.admits(Publication("x", b"null", info=ClientInfo("a", "b"), kind="join"))
