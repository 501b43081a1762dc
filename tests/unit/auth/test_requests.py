"""What connect handlers see of a request: cookies of our own pages, and nothing that speaks to the hub itself."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hub.auth.requests import client_request, presenter, read_cookies
from hub.credentials import ClientRequest, Credentials

LISTED = ["https://app.example", "https://*.team.example"]


def scope(*headers: tuple[str, str], **more: Any) -> dict[str, Any]:
    found = [
        (b"host", b"hub.example"),
        *((name.encode(), value.encode("latin-1")) for name, value in headers),
    ]
    given = {"scheme": "wss", "path": "/ws/a", "query_string": b"", "client": ("203.0.113.7", 5), **more}
    return {"headers": found, **given}


def test_a_handler_sees_path_query_headers_cookies_and_address() -> None:
    seen = client_request(
        scope(
            ("user-agent", "Browser"),
            ("x-twice", "first"),
            ("x-twice", "second"),
            ("cookie", "sessionid=abc"),
            ("origin", "https://app.example"),
            query_string=b"page=1&token=T0ken&ticket=T1cket&api_key=K3y&empty=&page=2",
        ),
        LISTED,
    )
    assert seen == ClientRequest(
        path="/ws/a",
        query={"page": "2", "empty": ""},
        headers={
            "host": "hub.example",
            "user-agent": "Browser",
            "x-twice": "first",
            "origin": "https://app.example",
        },
        cookies={"sessionid": "abc"},
        origin="https://app.example",
        address="203.0.113.7",
        secure=True,
    )


def test_what_speaks_to_the_hub_itself_is_not_among_the_headers() -> None:
    names = ("authorization", "proxy-authorization", "x-api-key", "cookie", "sec-websocket-protocol")
    seen = client_request(scope(*((name, f"S3cret-{name}") for name in names)), [])
    assert set(seen.headers) == {"host"}
    assert "S3cret" not in msgspec.json.encode(seen).decode()


def test_nothing_secret_is_printed() -> None:
    seen = client_request(scope(("cookie", "sessionid=S3cret"), query_string=b"code=S3cret"), [])
    assert seen.cookies == {"sessionid": "S3cret"}
    assert "S3cret" not in f"{seen!r} {seen} {Credentials('S3cret', 'S3cret', '', seen)!r}"


def test_it_can_be_sent_as_json() -> None:
    seen = client_request(scope(("cookie", "a=b")), [])
    assert msgspec.json.decode(msgspec.json.encode(seen), type=ClientRequest) == seen


@pytest.mark.parametrize(
    ("headers", "allowed", "trusted"),
    [
        ([], [], True),
        ([("origin", "https://hub.example")], [], True),
        ([("origin", "https://app.example")], LISTED, True),
        ([("origin", "https://red.team.example")], LISTED, True),
        ([("origin", "https://app.example")], ["*", "https://app.example"], True),
        ([("origin", "https://evil.example")], ["*"], False),
        ([("origin", "null")], ["*"], False),
        ([("origin", "https://app.example.evil.example")], ["*", *LISTED], False),
        ([("origin", "https://evil.example"), ("origin", "https://app.example")], ["*", *LISTED], False),
        ([("sec-fetch-site", "same-origin")], [], True),
        ([("sec-fetch-site", "none")], [], True),
        ([("sec-fetch-site", "cross-site")], [], False),
        ([("sec-fetch-site", "same-site")], [], False),
        ([("sec-fetch-site", "cross-site"), ("origin", "https://app.example")], LISTED, True),
    ],
)
def test_cookies_count_only_from_pages_that_are_known_by_name(
    headers: list[tuple[str, str]], allowed: list[str], trusted: bool
) -> None:
    seen = client_request(scope(("cookie", "sessionid=abc"), *headers), allowed)
    assert seen.cookies == ({"sessionid": "abc"} if trusted else {})


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], {}),
        (["a=1; b=2"], {"a": "1", "b": "2"}),
        (["a=1", "b=2"], {"a": "1", "b": "2"}),
        (["a=1; a=2"], {"a": "2"}),
        (["s=eyJ4IjoxfQ==.Zx.sig=; n"], {"s": "eyJ4IjoxfQ==.Zx.sig="}),
        (['a="q \\"x\\" y"; b=""; c="'], {"a": 'q "x" y', "b": "", "c": '"'}),
        (["=x; ;; a = b "], {"a": "b"}),
        (["a=\xfc"], {"a": "\xfc"}),
    ],
)
def test_cookies_are_read_as_sites_read_them(headers: list[str], expected: dict[str, str]) -> None:
    assert read_cookies(headers) == expected


def test_a_query_of_more_fields_than_anybody_means_is_left_out() -> None:
    assert client_request(scope(query_string=b"&".join([b"a=1"] * 2_000)), []).query == {}


def test_who_has_no_address_has_none() -> None:
    assert client_request(scope(client=None), []).address == ""


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), "https://hub.example"),
        ((("sec-fetch-site", "same-origin"),), "https://hub.example"),
        ((("sec-fetch-site", "none"),), "https://hub.example"),
        ((("origin", "https://app.example"), ("sec-fetch-site", "cross-site")), "https://app.example"),
        ((("origin", ""),), ""),
        ((("sec-fetch-site", "cross-site"),), ""),
        ((("sec-fetch-site", "same-site"),), ""),
        ((("sec-fetch-site", "\xff"),), ""),
    ],
)
def test_who_presents_a_ticket_without_an_origin_is_a_page_of_the_hubs_own_or_none(
    headers: tuple[tuple[str, str], ...], expected: str
) -> None:
    assert presenter(scope(*headers)) == expected
    assert presenter(scope(*headers, scheme="https")) == expected


def test_the_hubs_own_place_is_written_as_browsers_do() -> None:
    found = [(b"host", b"Hub.example:80")]
    assert presenter({"headers": found, "scheme": "ws"}) == "http://hub.example"
    assert presenter({"headers": [(b"host", b"a b")], "scheme": "http"}) == ""
    assert presenter({"headers": [], "scheme": "http"}) == ""
