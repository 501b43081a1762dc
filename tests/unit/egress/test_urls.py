"""One reading of a URL, or none."""

from __future__ import annotations

import pytest

from hub.egress.urls import Target, read_url


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("https://example.com", ("https", "example.com", 443, "/")),
        ("https://Example.COM:8443/a/b?c=d", ("https", "example.com", 8443, "/a/b?c=d")),
        ("http://192.0.2.1:80/", ("http", "192.0.2.1", 80, "/")),
        ("https://[2001:DB8::1]:9/x", ("https", "2001:db8::1", 9, "/x")),
        ("https://xn--bcher-kva.example/", ("https", "xn--bcher-kva.example", 443, "/")),
        ("https://localhost./", ("https", "localhost.", 443, "/")),
        ("https://a_b.svc.cluster.local/%20", ("https", "a_b.svc.cluster.local", 443, "/%20")),
        ("https://example.com?x=1", ("https", "example.com", 443, "/?x=1")),
    ],
)
def test_a_plain_url_is_read(url: str, target: tuple[str, str, int, str]) -> None:
    assert read_url(url) == Target(*target)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("ftp://example.com", "begins with https"),
        ("file:///etc/passwd", "begins with https"),
        ("gopher://example.com", "begins with https"),
        ("//example.com/", "begins with https"),
        ("https://", "cannot be read"),
        ("https:///path", "cannot be read"),
        ("https://user@example.com/", "user and password"),
        ("https://user:secret@example.com/", "user and password"),
        ("https://example.com@127.0.0.1/", "user and password"),
        ("https://example.com#@127.0.0.1/", "# part"),
        ("https://example.com/#", "# part"),
        ("https://example.com\\@127.0.0.1/", "backslashes"),
        ("https://example.com /", "spaces"),
        ("https://example.com/\r\nHost: evil", "spaces"),
        ("https://exa\tmple.com/", "spaces"),
        ("https://①②⑦.0.0.1/", "ASCII"),
        ("https://bücher.example/", "xn--"),
        ("https://example。com/", "ASCII"),
        ("https://exam%70le.com/", "cannot be read"),
        ("https://example.com:0/", "1 to 65535"),
        ("https://example.com:65536/", "1 to 65535"),
        ("https://example.com:port/", "cannot be read"),
        ("https://example.com:/", "cannot be read"),
        ("https://a..b/", "name server"),
        ("https://-a.b/", "name server"),
        ("https://" + "a" * 64 + ".b/", "name server"),
        ("https://2130706433/", "four decimal"),
        ("https://0x7f000001/", "four decimal"),
        ("https://0x7f.1/", "four decimal"),
        ("https://0177.0.0.1/", "four decimal"),
        ("https://127.1/", "four decimal"),
        ("https://127.0.0.1./", "four decimal"),
        ("https://1.2.3.4.5/", "four decimal"),
        ("https://256.1.1.1/", "four decimal"),
        ("https://[fe80::1%25eth0]/", "cannot be read"),
        ("https://[::1", "Invalid IPv6"),
        ("https://[127.0.0.1]/", "brackets|At least 3 parts"),
        ("https://[v1.a]/", "cannot be read"),
        ("https://example.com/" + "a" * 2_050, "at most 2048"),
    ],
)
def test_a_url_that_could_be_read_in_two_ways_is_refused(url: str, told: str) -> None:
    with pytest.raises(ValueError, match=told) as raised:
        read_url(url)
    assert "secret" not in str(raised.value)


def test_what_logs_show_of_a_url_leaves_its_query_out() -> None:
    assert read_url("https://hooks.example:444/a?key=secret").label == "https://hooks.example:444/a"
    assert read_url("http://[2001:db8::1]/").label == "http://[2001:db8::1]/"
