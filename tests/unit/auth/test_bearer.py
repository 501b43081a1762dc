from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from hub.auth.bearer import presented_token


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
