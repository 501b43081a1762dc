from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.auth.origin import canonical, origin_allowed

LISTED = [
    "https://good.example",
    "http://localhost:3000",
    "https://*.good.example",
    "http://[::1]:8000",
    "app://local",
    "https://xn--mnchen-3ya.example",
]


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        (None, "hub.example", "http"),
        (None, None, "http"),
        ("http://hub.example", "hub.example", "http"),
        ("http://hub.example", "hub.example", "ws"),
        ("http://hub.example:80", "hub.example", "ws"),
        ("http://hub.example", "hub.example:80", "ws"),
        ("https://hub.example", "hub.example", "wss"),
        ("https://hub.example", "hub.example:443", "https"),
        ("http://127.0.0.1:8000", "127.0.0.1:8000", "ws"),
        ("http://[::1]:8000", "[::1]:8000", "ws"),
        ("HTTP://Hub.Example", "hub.example", "http"),
        ("http://my_host-1:8000", "my_host-1:8000", "http"),
    ],
)
def test_its_own_pages_and_what_is_no_browser_are_allowed(
    origin: str | None, host: str | None, scheme: str
) -> None:
    assert origin_allowed(origin, host, scheme, [])


@pytest.mark.parametrize(
    "origin",
    [
        "https://good.example",
        "https://good.example:443",
        "http://localhost:3000",
        "https://a.good.example",
        "https://a.b.good.example",
        "http://[::1]:8000",
        "app://local",
        "https://xn--mnchen-3ya.example",
        "https://XN--MNCHEN-3YA.example:443",
    ],
)
def test_listed_origins_are_allowed(origin: str) -> None:
    assert origin_allowed(origin, "hub.example", "http", LISTED)
    assert origin_allowed(origin, None, "http", LISTED)


@pytest.mark.parametrize(
    "origin",
    [
        "",
        " ",
        "null",
        "*",
        "https://*.good.example",
        "https://",
        "good.example",
        "//good.example",
        "http://good.example",
        "https://good.example:8443",
        "https://good.example:",
        "https://good.example:443000",
        "https://good.example:https",
        "https://good.example/",
        "https://good.example?x",
        "https://good.example#x",
        "https://good.example.",
        "https://good.example.evil.example",
        "https://evilgood.example",
        "https://evil.example",
        "https://evil.example/good.example",
        "https://evil.example#.good.example",
        "https://evil.example\\.good.example",
        "https://evil.example\\@good.example",
        "https://good.example@evil.example",
        "https://user:pass@good.example",
        "https://good.example:443@evil.example",
        "https://.good.example",
        "https://-.good.example",
        "https://a..good.example",
        "https://a%2egood.example",
        "https://a.good.example\n",
        "https://good.example https://evil.example",
        "https://good.example,https://evil.example",
        "https://göod.example",
        "https://xn--gd-jkab.example",  # the same in punycode
        "https://münchen.example",  # which a browser would send in punycode
        "https://xn--mnchen-3yb.example",
        "https://xn--mnchen-3ya.example.evil.example",
        "https://evilxn--mnchen-3ya.example",
        "https://mnchen-3ya.example",
        "https://good.example\u3002",
        "https://\u212a.good.example",  # the Kelvin sign, whose lower case is the letter k
        "https://[good.example]",
        "ws://localhost:3000",
        "http://localhost",
        "http://127.0.0.1:3000",
        "http://[::2]:8000",
        "app://other",
        "file://",
        "http://none",
        "https://" + "a." * 200 + "good.example",
    ],
)
def test_every_other_origin_is_refused(origin: str) -> None:
    assert not origin_allowed(origin, "hub.example", "http", LISTED)
    assert not origin_allowed(origin, None, "http", LISTED)


@pytest.mark.parametrize(
    ("origin", "host", "scheme"),
    [
        ("https://hub.example", "hub.example", "http"),
        ("http://hub.example", "hub.example", "https"),
        ("http://hub.example:8001", "hub.example:8000", "http"),
        ("http://a.hub.example", "hub.example", "http"),
        ("http://a.hub.example", "*.hub.example", "http"),
        ("http://hub.example", "evil@hub.example", "http"),
        ("http://hub.example", "hub.example/x", "http"),
        ("http://none", None, "http"),
        ("http://", "", "http"),
    ],
)
def test_another_place_than_its_own_is_refused_without_a_list(
    origin: str, host: str | None, scheme: str
) -> None:
    assert not origin_allowed(origin, host, scheme, [])


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "file://"])
def test_a_star_allows_every_origin(origin: str) -> None:
    assert origin_allowed(origin, "hub.example", "http", ["*"])


def test_a_listed_origin_that_is_none_allows_nothing() -> None:
    assert not origin_allowed(
        "https://good.example", None, "http", ["good.example", "https://good.example/", ""]
    )


@given(st.text(), st.none() | st.text(), st.sampled_from(["http", "wss"]))
def test_any_text_is_answered(origin: str, host: str | None, scheme: str) -> None:
    assert origin_allowed(origin, host, scheme, LISTED) in {True, False}


@given(st.from_regex(r"\Ahttps://[^/]{0,12}good\.example[^/]{0,8}\Z"))
def test_what_is_allowed_is_the_listed_place_or_below_it(origin: str) -> None:
    if origin_allowed(origin, None, "http", LISTED):
        host = origin.removeprefix("https://").removesuffix(":443").lower()
        assert host == "good.example" or host.endswith(".good.example")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://App.example", "https://app.example"),
        ("https://app.example:443", "https://app.example"),
        ("http://app.example:80", "http://app.example"),
        ("https://app.example:80", "https://app.example:80"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("https://app.example/", None),
        ("https://*.example", None),
        ("app.example", None),
        ("null", None),
        ("", None),
    ],
)
def test_an_origin_is_written_as_a_browser_would(origin: str, expected: str | None) -> None:
    assert canonical(origin) == expected
