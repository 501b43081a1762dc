"""Requests to real servers, kind and hostile."""

from __future__ import annotations

import asyncio
import datetime as dt
import gzip
import ipaddress
import itertools
import logging
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hub.egress.addresses import networks
from hub.egress.client import Egress
from hub.egress.fetched import Fetched
from hub.egress.resolver import MAX_LOOKUPS, Lookup, Resolver, system_lookup
from hub.errors import FetchError, FetchFault
from tests.services.web import Asked, WebServer, hangs, says

LOCAL = "127.0.0.1/32"
NAME = "hooks.example"


def leads_to(*addresses: str) -> Lookup:
    async def lookup(host: str, port: int) -> list[str]:
        return list(addresses)

    return lookup


def egress(
    *allow: str,
    lookup: Lookup = system_lookup,
    tls: Callable[[], ssl.SSLContext] | None = None,
    allow_http: bool = True,
) -> Egress:
    return Egress(allow_http=allow_http, allow_networks=networks(allow), lookup=lookup, tls=tls)


async def get(out: Egress, url: str, *, seconds: float = 5.0, max_bytes: int = 1_000) -> Fetched:
    try:
        return await out.fetch("GET", url, headers={}, body=b"", seconds=seconds, max_bytes=max_bytes)
    finally:
        await out.close()


async def fails(out: Egress, url: str, *, seconds: float = 5.0, max_bytes: int = 1_000) -> FetchFault:
    with pytest.raises(FetchError) as raised:
        await get(out, url, seconds=seconds, max_bytes=max_bytes)
    assert url not in str(raised.value)
    return raised.value.kind


async def test_a_request_and_its_answer_are_carried_whole() -> None:
    async with WebServer(says({"a": 1}, 404, x_kind="teapot")) as server:
        out = egress(LOCAL)
        for _ in range(3):
            fetched = await out.fetch(
                "POST", f"{server.url}/p?q=1", headers={"x-a": "b"}, body=b"body", seconds=5, max_bytes=100
            )
        await out.close()
    assert (fetched.status, fetched.data, fetched.headers["x-kind"]) == (404, {"a": 1}, "teapot")
    (asked, *_) = server.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/p?q=1", b"body")
    assert (asked.headers["x-a"], asked.headers["host"]) == ("b", f"127.0.0.1:{server.port}")
    assert (len(server.asked), server.connections) == (3, 1), "the connection is kept for the next"


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"]
)
async def test_this_machine_is_not_asked_by_any_of_its_names(host: str) -> None:
    async with WebServer(says({})) as server:
        assert await fails(egress(), f"http://{host}:{server.port}/") == "refused"
    assert server.connections == 0


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "169.254.169.254", "::1", "fe80::1%lo", "::ffff:127.0.0.1", "100.100.100.200"]
)
async def test_a_name_that_leads_inside_is_refused_after_resolution(address: str) -> None:
    assert await fails(egress(lookup=leads_to(address)), f"http://{NAME}/", seconds=1) == "refused"


async def test_of_several_addresses_only_admitted_ones_are_tried() -> None:
    async with WebServer(says({})) as server, WebServer(says({}), host="127.0.0.2") as other:
        out = egress(LOCAL, lookup=leads_to("127.0.0.2", "10.0.0.1", "127.0.0.1"))
        await get(out, f"http://{NAME}:{server.port}/")
    assert (len(server.asked), other.connections) == (1, 0)


async def test_one_of_several_addresses_that_is_closed_gives_way_to_the_next() -> None:
    async with WebServer(says({})) as server:
        out = egress("127.0.0.0/8", lookup=leads_to("127.0.0.3", "127.0.0.1"))
        assert (await get(out, f"http://{NAME}:{server.port}/")).status == 200


async def test_a_name_that_is_bound_anew_leads_nowhere_else() -> None:
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    asked = 0

    async def rebinding(host: str, port: int) -> list[str]:
        nonlocal asked
        asked += 1
        return answers[asked - 1]

    async with WebServer(says({}, connection="close")) as server:
        inside = WebServer(says({}), "127.0.0.2", server.port)
        async with inside:
            out = egress(LOCAL, lookup=rebinding)
            url = f"http://{NAME}:{server.port}/"
            await out.fetch("GET", url, headers={}, body=b"", seconds=5, max_bytes=10)
            assert asked == 1, "what was judged is what was connected to"
            assert await fails(out, url) == "refused"
    assert (asked, len(server.asked), inside.connections) == (2, 1, 0)


async def test_a_resolver_that_changes_its_mind_between_two_questions_leads_nowhere_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Below everything of ours: what the system's resolver says, and what sockets are connected to."""
    answers = {NAME: itertools.cycle(["127.0.0.1", "127.0.0.2"])}
    resolved: list[object] = []
    real = socket.getaddrinfo

    def rebinding(host: Any, *arguments: Any, **options: Any) -> Any:
        resolved.append(host)
        return real(next(answers[host]) if host in answers else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    async with (
        WebServer(says({}, connection="close")) as server,
        WebServer(says({}), "127.0.0.2", server.port) as inside,
    ):
        resolved.clear()
        out, url = egress(LOCAL), f"http://{NAME}:{server.port}/"
        for _ in range(3):
            fetched = await out.fetch("GET", url, headers={}, body=b"", seconds=5, max_bytes=10)
            assert fetched.status == 200
            with pytest.raises(FetchError, match="none of its addresses"):
                await out.fetch("GET", url, headers={}, body=b"", seconds=5, max_bytes=10)
        await out.close()
    assert resolved == [NAME] * 6, "each connection asks once, and connects to what it was told then"
    assert (len(server.asked), inside.connections) == (3, 0)


async def test_plain_http_is_refused_unless_it_is_allowed() -> None:
    async with WebServer(says({})) as server:
        assert await fails(egress(LOCAL, allow_http=False), server.url) == "refused"
    assert server.connections == 0


async def test_no_redirect_is_followed() -> None:
    async with WebServer(says({})) as inside, WebServer(says(b"", 302, location=inside.url)) as server:
        fetched = await get(egress(LOCAL), server.url)
    assert (fetched.status, inside.connections) == (302, 0)


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with WebServer(says({})) as proxy, WebServer(says({})) as server:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        assert (await get(egress(LOCAL), server.url)).status == 200
    assert (proxy.connections, len(server.asked)) == (0, 1)


async def drips(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drips_headers(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-a: b\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


async def promises_more(asked: Asked, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("answer", [hangs, drips, drips_headers, promises_more])
async def test_the_whole_exchange_has_one_deadline(answer: Callable[..., asyncio.Future[None]]) -> None:
    async with WebServer(answer) as server:
        started = time.monotonic()
        assert await fails(egress(LOCAL), server.url, seconds=0.4) == "timeout"
        assert time.monotonic() - started < 3


async def test_a_name_server_that_hangs_ends_with_the_deadline() -> None:
    async def silent(host: str, port: int) -> list[str]:
        await asyncio.sleep(3_600)
        return []

    assert await fails(egress(lookup=silent), f"http://{NAME}/", seconds=0.2) == "timeout"


async def never_ends(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
        await writer.drain()


async def headers_without_end(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x-a: " + b"b" * 5_000 + b"\r\n")
        await writer.drain()


BOMB = gzip.compress(b"0" * 50_000_000)
EMPTY_BLOCKS = gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 2_000
"""Compressed data that goes on and on and comes to nothing."""


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (says(b"x" * 1_001), "too_large"),
        (never_ends, "too_large"),
        (says(BOMB, content_encoding="gzip"), "too_large"),
        (says(gzip.compress(b"x" * 1_001), content_encoding="gzip"), "too_large"),
        (says(EMPTY_BLOCKS, content_encoding="gzip"), "too_large"),
        (says(gzip.compress(b"abc")[:-4], content_encoding="gzip"), "broken"),
        (says(b"no gzip", content_encoding="gzip"), "broken"),
        (says(b"abc", content_encoding="br"), "broken"),
        (says(b"abc", content_encoding="gzip, gzip"), "broken"),
        (headers_without_end, "broken"),
    ],
)
async def test_an_answer_beyond_its_bounds_is_given_up(
    answer: Callable[..., asyncio.Future[None]], kind: FetchFault
) -> None:
    async with WebServer(answer) as server:
        started = time.monotonic()
        assert await fails(egress(LOCAL), server.url) == kind
        assert time.monotonic() - started < 4


async def test_an_answer_of_just_the_allowed_size_is_taken_also_compressed() -> None:
    body = b"x" * 1_000
    for answer in (says(body), says(gzip.compress(body), content_encoding="gzip")):
        async with WebServer(answer) as server:
            assert (await get(egress(LOCAL), server.url)).body == body


async def talks_nonsense(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9\r\n\r\n")
    writer.close()


async def hangs_up(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.close()


@pytest.mark.parametrize("answer", [talks_nonsense, hangs_up])
async def test_what_is_no_http_is_broken(answer: Callable[..., asyncio.Future[None]]) -> None:
    async with WebServer(answer) as server:
        assert await fails(egress(LOCAL), server.url) == "broken"


async def shouts(asked: Asked, writer: asyncio.StreamWriter) -> None:
    writer.write(b"A" * 50_000 + b"\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_what_a_server_says_in_place_of_http_does_not_fill_the_log() -> None:
    async with WebServer(shouts) as server:
        with pytest.raises(FetchError) as raised:
            await get(egress(LOCAL), server.url)
    assert raised.value.kind == "broken"
    assert len(str(raised.value)) < 300


async def test_a_closed_port_and_an_unknown_name_are_unreachable() -> None:
    async def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    async with WebServer(says({})) as server:
        url = server.url
    assert await fails(egress(LOCAL), url) == "unreachable"
    with pytest.raises(FetchError, match=r"the connection failed: \S"):
        await get(egress(LOCAL), url)
    assert await fails(egress(lookup=unknown), f"http://{NAME}/") == "unreachable"
    assert await fails(egress(lookup=leads_to()), f"http://{NAME}/") == "unreachable"


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding"])
async def test_headers_that_frame_a_request_cannot_be_given(name: str) -> None:
    out = egress(LOCAL)
    with pytest.raises(FetchError) as raised:
        await out.fetch("GET", "http://127.0.0.1:1/", headers={name: "x"}, body=b"", seconds=1, max_bytes=1)
    await out.close()
    assert raised.value.kind == "refused"


async def test_a_line_break_in_a_header_sends_nothing() -> None:
    async with WebServer(says({})) as server:
        out = egress(LOCAL)
        with pytest.raises(FetchError):
            await out.fetch(
                "GET", server.url, headers={"x-a": "b\r\nx-evil: c"}, body=b"", seconds=1, max_bytes=1
            )
        await out.close()
    assert server.asked == []


# TLS


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and its own certificate for hooks.example."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "topichub tests")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName(
        [x509.DNSName(NAME), x509.IPAddress(ipaddress.ip_address("192.0.2.77"))]
    )
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path = tmp_path_factory.mktemp("tls") / "hooks.pem"
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + signed.public_bytes(pem))
    return path


def serving(path: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_tls_and_host_keep_the_name_while_the_address_is_pinned(authority: Path) -> None:
    async with WebServer(says({}), tls=serving(authority)) as server:
        out = egress(
            LOCAL,
            lookup=leads_to("127.0.0.1"),
            tls=lambda: ssl.create_default_context(cafile=authority),
            allow_http=False,
        )
        assert (await get(out, f"https://{NAME}:{server.port}/")).status == 200
    assert server.names == [NAME]
    assert server.asked[0].headers["host"] == f"{NAME}:{server.port}"


@pytest.mark.parametrize("trusting", [False, True])
async def test_a_certificate_of_nobody_or_of_another_name_is_refused(authority: Path, trusting: bool) -> None:
    tls = (lambda: ssl.create_default_context(cafile=authority)) if trusting else None
    url = "https://other.example" if trusting else f"https://{NAME}"
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    async with WebServer(says({}), tls=serving(authority)) as server:
        out = egress(LOCAL, lookup=leads_to("127.0.0.1"), tls=tls)
        assert await fails(out, f"{url}:{server.port}/") == "unreachable"
    assert server.asked == []


# Names


async def test_many_who_want_one_name_ask_once_and_few_names_are_asked_at_once() -> None:
    asked: list[str] = []
    answer = asyncio.Event()

    async def slow(host: str, port: int) -> list[str]:
        asked.append(host)
        await answer.wait()
        return ["192.0.2.1"]

    resolver = Resolver(slow)
    waiting = [asyncio.create_task(resolver.addresses(f"h{number % 5}", 443)) for number in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(asked) == MAX_LOOKUPS
    waiting.pop().cancel()
    answer.set()
    assert {tuple(found) for found in await asyncio.gather(*waiting)} == {("192.0.2.1",)}
    assert sorted(asked) == ["h0", "h1", "h2", "h3", "h4"]
    await resolver.addresses("h0", 443)
    assert len(asked) == 6, "nothing is kept"


async def test_closing_gives_up_names_that_are_still_asked_for() -> None:
    async def silent(host: str, port: int) -> list[str]:
        await asyncio.sleep(3_600)
        return []

    resolver = Resolver(silent)
    waiting = asyncio.create_task(resolver.addresses("a", 1))
    await asyncio.sleep(0)
    await resolver.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
