from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from hub.auth.bearer import MALFORMED, presented, presented_token


@pytest.mark.parametrize(
    ("headers", "query", "expected"),
    [
        ({}, {}, None),
        ({}, {"token": "q"}, "q"),
        ({"Authorization": "Bearer h"}, {}, "h"),
        ({"Authorization": "bearer   h "}, {}, "h"),
        ({"Authorization": "Bearer h"}, {"token": "q"}, "q"),
        ({"Authorization": "Bearer h"}, {"token": " "}, "h"),
        ({"Authorization": "Basic h"}, {}, None),
        ({"Authorization": "apikey h"}, {"token": ""}, None),
        ({"Authorization": "Bearer"}, {}, None),
        ({"Authorization": ""}, {}, None),
    ],
)
def test_a_token_comes_from_the_query_else_from_authorization(
    headers: dict[str, str], query: dict[str, str], expected: str | None
) -> None:
    assert presented_token(Headers(headers), query) == expected
    assert presented_token({name.lower(): value for name, value in headers.items()}, query) == expected


@pytest.mark.parametrize(
    ("headers", "query", "subprotocols", "expected"),
    [
        ({}, {}, [], ("", "")),
        ({}, {"ticket": " t "}, [], ("", "t")),
        ({}, {"ticket": " "}, ["bearer", "s"], ("s", "")),
        ({}, {}, ["bearer", "s"], ("s", "")),
        ({}, {}, ["centrifuge-json", "bearer", "s"], ("s", "")),
        ({}, {}, ["bearer", "s", "centrifuge-json"], ("s", "")),
        ({"Authorization": "Bearer h"}, {}, ["bearer", "s"], ("s", "")),
        ({"Authorization": "Bearer h"}, {"ticket": "t"}, ["bearer", "s"], ("", "t")),
        ({"Authorization": "Bearer h"}, {"token": "q", "ticket": "t"}, ["bearer", "s"], ("q", "")),
        ({"Authorization": "Bearer h"}, {}, ["centrifuge-json"], ("h", "")),
        ({"Authorization": "Bearer h"}, {}, ["Bearer", "s"], ("h", "")),
    ],
)
def test_of_all_ways_the_first_counts_and_the_others_are_not_looked_at(
    headers: dict[str, str], query: dict[str, str], subprotocols: list[str], expected: tuple[str, str]
) -> None:
    assert presented(Headers(headers), query, subprotocols) == expected


@pytest.mark.parametrize(
    "offered", [["bearer"], ["x", "bearer"], ["bearer", "bearer"], ["bearer", "t", "bearer"]]
)
def test_a_token_that_is_announced_and_missing_is_a_bad_token_and_not_none(offered: list[str]) -> None:
    assert presented(Headers({"Authorization": "Bearer h"}), {}, offered) == (MALFORMED, "")
