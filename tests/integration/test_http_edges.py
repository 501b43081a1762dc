"""The edges of HTTP on the hub's own server: what is slow, too much, or read differently by two servers in a row."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from hub import metrics
from hub.app import Hub
from hub.testing import LiveHub
from hub.transports.http_protocol import UNREAD_BYTES
from hub.transports.strict_requests import FIELDS, HEADER_BYTES, LINE_BYTES
from tests.services.raw_socket import RawSocket, handshake

LIVE = "/health/live"
ALIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"
SMUGGLED = b"POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
"""What somebody would have the hub read who can only add to a body; it would be answered by a 401."""
SOCKET = "/connection/websocket"


def post(*headers: bytes, body: bytes = b"", path: bytes = b"/api/publish") -> bytes:
    """A request whose headers are as they are given."""
    return b"".join(
        [b"POST " + path + b" HTTP/1.1\r\nHost: x\r\n", *(h + b"\r\n" for h in headers), b"\r\n", body]
    )


@pytest.fixture(scope="module")
def hub() -> Iterator[LiveHub]:
    topics = {"open:{x}": {"allow": {"subscribe": "anyone", "publish": "anyone"}}}
    with LiveHub({"auth": {"anonymous": True}, "topics": topics}) as live:
        yield live


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveHub]:
    """A hub that waits half a second for headers, for bodies, and for answers to be taken."""
    for name in ("HEADER_SECONDS", "BODY_SECONDS", "ANSWER_SECONDS"):
        monkeypatch.setattr(f"hub.transports.http_protocol.{name}", 0.5)
    with LiveHub(
        {"auth": {"anonymous": True}, "topics": {"open:{x}": {"allow": {"publish": "anyone"}}}}
    ) as live:
        yield live


def counted(limit: str) -> float:
    return metrics.REGISTRY.get_sample_value("hub_limited_total", {"limit": limit}) or 0.0


def statuses(answer: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def answered(hub: LiveHub, sent: bytes) -> list[int]:
    """The statuses of all answers until the server closes; it is asked to, in a request behind, if it reads on."""
    with RawSocket(hub.url) as socket:
        socket.send(sent)
        time.sleep(0.05)
        with contextlib.suppress(OSError):
            socket.finish_sending()
        return statuses(socket.rest())


AMBIGUOUS = {
    "a length and chunks": post(
        b"Content-Length: 4", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SMUGGLED
    ),
    "chunks and a length": post(
        b"Transfer-Encoding: chunked", b"Content-Length: 4", body=b"0\r\n\r\n" + SMUGGLED
    ),
    "two lengths": post(b"Content-Length: 0", b"Content-Length: 66", body=SMUGGLED),
    "one length twice": post(b"Content-Length: 2", b"Content-Length: 2", body=b"{}"),
    "a list of lengths": post(b"Content-Length: 2, 2", body=b"{}"),
    "a signed length": post(b"Content-Length: +2", body=b"{}"),
    "a negative length": post(b"Content-Length: -2", body=b"{}"),
    "a length in hexadecimals": post(b"Content-Length: 0x2", body=b"{}"),
    "a length that does not fit": post(b"Content-Length: 99999999999999999999999", body=b"{}"),
    "a length of nothing": post(b"Content-Length: ", body=SMUGGLED),
    "a folded header": post(b"X-A: b", b" c", b"Content-Length: 2", body=b"{}"),
    "a folded length": post(b"Content-Length:", b" 2", body=b"{}"),
    "a folded coding": post(b"Transfer-Encoding:", b" chunked", body=b"0\r\n\r\n"),
    "a space before the first header": b"GET /health/live HTTP/1.1\r\n Host: x\r\n\r\n",
    "a space before the colon": post(b"Content-Length : 2", body=b"{}"),
    "a tab before the colon": post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n"),
    "a bare LF behind a header": ALIVE[:-2] + b"\n\r\n",
    "a bare LF as the empty line": ALIVE + b"\n",
    "a bare LF behind the request's line": b"GET /health/live HTTP/1.1\nHost: x\r\n\r\n",
    "a bare CR in a header": ALIVE + b"X-A: b\rX-C: d\r\n\r\n",
    "NUL in a header": ALIVE + b"X-A: b\0c\r\n\r\n",
    "a header without a name": ALIVE + b": b\r\n\r\n",
    "a header without a colon": ALIVE + b"nothing\r\n\r\n",
    "a name with a space": ALIVE + b"X A: b\r\n\r\n",
    "no Host": b"GET /health/live HTTP/1.1\r\n\r\n",
    "two Hosts": ALIVE + b"Host: y\r\n\r\n",
    "an HTTP to come": b"GET /health/live HTTP/2.0\r\nHost: x\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a line of three words too many": b"GET /health/live HTTP/1.1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target with a space": b"GET /health/live /x HTTP/1.1\r\nHost: x\r\n\r\n",
    "no method that is known": b"FETCH /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
    "chunks by HTTP/1.0": b"POST /api/publish HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(64),
}
CODINGS = [
    "identity",
    "gzip",
    "gzip, chunked",
    "chunked, chunked",
    "chunked, identity",
    "xchunked",
    "chunked;q=1",
    "\x0bchunked",
]
CHUNKS = {
    "a size that is none": b"zz\r\n{}\r\n0\r\n\r\n",
    "a size in the C way": b"0x2\r\n{}\r\n0\r\n\r\n",
    "a signed size": b"+2\r\n{}\r\n0\r\n\r\n",
    "a negative size": b"-2\r\n{}\r\n0\r\n\r\n",
    "an empty size": b"\r\n{}\r\n0\r\n\r\n",
    "a space before the size": b" 2\r\n{}\r\n0\r\n\r\n",
    "a size with an underscore": b"0_2\r\n{}\r\n0\r\n\r\n",
    "a size beyond 64 bits": b"10000000000000002\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than its size": b"2\r\n{}{}\r\n0\r\n\r\n",
    "a bare LF behind the size": b"2\n{}\r\n0\r\n\r\n",
    "a bare LF behind the chunk": b"2\r\n{}\n0\r\n\r\n",
    "a bare LF in an extension": b"2;a\nb\r\n{}\r\n0\r\n\r\n",
    "a bare CR behind the size": b"2\r{}\r\n0\r\n\r\n",
    "a length behind the last chunk": b"2\r\n{}\r\n0\r\nContent-Length: 66\r\n\r\n",
    "a coding behind the last chunk": b"2\r\n{}\r\n0\r\nTransfer-Encoding: identity\r\n\r\n",
    "NUL in an extension": b"2;a=\0\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("what", AMBIGUOUS)
def test_what_two_servers_may_understand_differently_is_refused_and_nothing_read_behind_it(
    hub: LiveHub, what: str
) -> None:
    (found,) = answered(hub, AMBIGUOUS[what] + ALIVE + b"\r\n") or [0]
    assert found in (400, 501, 505), "what lay behind would be a second answer"


@pytest.mark.parametrize("coding", CODINGS)
def test_the_only_transfer_coding_is_chunked(hub: LiveHub, coding: str) -> None:
    header = b"Transfer-Encoding: " + coding.encode()
    assert answered(hub, post(header, body=b"0\r\n\r\n" + SMUGGLED)) in ([400], [501])


def test_a_transfer_coding_is_named_once(hub: LiveHub) -> None:
    twice = [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"]
    for both in (twice, twice[::-1]):
        assert answered(hub, post(*both, body=b"0\r\n\r\n" + SMUGGLED)) in ([400], [501])


@pytest.mark.parametrize("path", [b"/api/publish", b"/nothing"])
@pytest.mark.parametrize("what", CHUNKS)
def test_bad_chunks_end_the_connection_with_at_most_one_answer(hub: LiveHub, what: str, path: bytes) -> None:
    sent = post(b"Transfer-Encoding: chunked", body=CHUNKS[what] + SMUGGLED, path=path)
    assert answered(hub, sent) in ([400], [401], [404], [])


def test_trailers_and_extensions_of_chunks_mean_nothing(hub: LiveHub) -> None:
    trailed = b'2;a="b;c"\r\n{}\r\n0;x\r\nX-API-Key: ' + hub.api_key.encode() + b"\r\n\r\n"
    assert answered(hub, post(b"Transfer-Encoding: chunked", body=trailed) + ALIVE + b"\r\n") == [401, 200]


def test_requests_behind_one_another_are_answered_each_once(hub: LiveHub) -> None:
    sent = (
        ALIVE
        + b"\r\n"
        + post(b"Content-Length: 2", body=b"{}")
        + post(b"Transfer-Encoding: chunked", body=b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n")
    )
    assert answered(hub, sent + ALIVE + b"\r\n") == [200, 401, 401, 200]


def test_requests_ahead_of_a_bad_body_are_answered(hub: LiveHub) -> None:
    bad = post(b"Transfer-Encoding: chunked", body=b"zz\r\n") + SMUGGLED
    for ahead in (1, 3):
        assert answered(hub, (ALIVE + b"\r\n") * ahead + bad) == [200] * ahead


def test_nothing_is_read_behind_an_upgrade_to_something_else(hub: LiveHub) -> None:
    upgrade = (
        ALIVE
        + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
    )
    assert answered(hub, upgrade + SMUGGLED) == [200]
    assert answered(hub, b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n" + SMUGGLED)[1:] == []


def test_what_comes_later_behind_an_upgrade_to_something_else_is_not_read_either(hub: LiveHub) -> None:
    head = b"GET /sse/open:later HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    with RawSocket(hub.url) as socket:
        socket.send(head)
        socket.until(b"\n\n")
        socket.send(b"\xff\x00 no HTTP at all \r\n\r\n")
        time.sleep(0.2)

        async def publish(hub: Hub) -> None:
            await hub.node.router.publish("open:later", b'"still here"', trusted=True)

        hub.call(publish)
        assert b"still here" in socket.until(b"still here")


def test_nothing_is_read_behind_a_handshake_that_was_refused(hub: LiveHub) -> None:
    with RawSocket(hub.url) as socket:
        socket.send(handshake("x", SOCKET, Sec_WebSocket_Version="99") + SMUGGLED)
        assert statuses(socket.rest()) == [426]


def fields(count: int, size: int) -> bytes:
    """Headers, so many of them (with Host), of so many bytes each."""
    return b"".join(b"X-%04d: " % number + b"v" * (size - 6) + b"\r\n" for number in range(count - 1))


@pytest.mark.parametrize(
    ("what", "headers", "status"),
    [
        ("as many fields as may come", fields(FIELDS, 20), 200),
        ("one more", fields(FIELDS + 1, 20), 431),
        ("a field as long as may be", fields(2, LINE_BYTES), 200),
        ("a longer one", fields(2, LINE_BYTES + 1), 431),
        ("as much in all as may come", fields(8, LINE_BYTES), 200),
        ("more in all", fields(HEADER_BYTES // LINE_BYTES + 2, LINE_BYTES), 431),
    ],
)
@pytest.mark.parametrize("piece", [1_000_000, 4_096])
def test_headers_are_capped(hub: LiveHub, what: str, headers: bytes, status: int, piece: int) -> None:
    sent = ALIVE + headers + b"\r\n"
    with RawSocket(hub.url) as socket:
        try:
            for at in range(0, len(sent), piece):
                socket.send(sent[at : at + piece])
        except OSError:
            assert status != 200
        found = socket.until(b"\r\n") if status == 200 else socket.rest()
    # Who is still sending when he is refused may see a reset for the answer.
    assert statuses(found) == [status] or (status == 431 and piece == 4_096 and not found)


@pytest.mark.parametrize("begin", [b"GET /", ALIVE + b"X-A: ", ALIVE + b"X-"])
def test_a_line_without_an_end_is_not_kept(hub: LiveHub, begin: bytes) -> None:
    before, begun = counted("headers"), time.monotonic()
    with RawSocket(hub.url) as socket, contextlib.suppress(OSError):
        socket.send(begin)
        while time.monotonic() < begun + 8:
            socket.send(b"x" * 4_096)
            time.sleep(0.005)
    assert counted("headers") == before + 1
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("upgrades", [False, True])
def test_the_target_is_capped(hub: LiveHub, upgrades: bool) -> None:
    target = "/" + "x" * LINE_BYTES
    sent = handshake("x", target) if upgrades else f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    assert answered(hub, sent) == [414]
    assert answered(hub, sent.replace(b"xx", b"x", 1))[:1] == [403 if upgrades else 404]


@pytest.mark.parametrize("begin", [b"", b"GET", ALIVE[:30], ALIVE, handshake("x", SOCKET)[:-2]])
def test_a_head_that_drips_in_is_given_up(impatient: LiveHub, begin: bytes) -> None:
    begun = time.monotonic()
    with RawSocket(impatient.url) as socket:
        socket.send(begin)
        try:
            while time.monotonic() < begun + 5:
                time.sleep(0.05)
                socket.send(b"G" if len(begin) < 4 else b"X-A: b\r\n")
        except OSError:
            pass
    assert time.monotonic() - begun < 3, "each byte put the deadline off"


def test_what_is_too_long_or_too_slow_is_counted_by_the_limits_name(hub: LiveHub, impatient: LiveHub) -> None:
    names = ("headers", "header_seconds", "body_seconds", "body_bytes")
    before = [counted(name) for name in names]
    key = b"X-API-Key: " + hub.api_key.encode()
    for sent, status in (
        (ALIVE + fields(FIELDS + 1, 20) + b"\r\n", 431),
        (b"GET /" + b"x" * LINE_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (ALIVE, 408),
        (post(b"Content-Length: 9", key), 408),
        (post(b"Transfer-Encoding: chunked", key) + b"1;" + b"x" * 75_000 + b"\r\n", 400),
    ):
        with RawSocket((impatient if status == 408 else hub).url) as socket:
            for at in range(0, len(sent), 20_000):
                socket.send(sent[at : at + 20_000])
                time.sleep(0.01)
            assert statuses(socket.rest()) == [status]
    assert [counted(name) - was for name, was in zip(names, before, strict=True)] == [2, 1, 1, 1]


@pytest.mark.parametrize("path", [b"/api/publish", b"/api/topics/open:a", b"/nothing"])
@pytest.mark.parametrize("drip", [b"", b" ", b"1\r\n \r\n", b"1;x\r\n", b"X-A: b\r\n"])
def test_a_body_that_drips_in_is_given_up(impatient: LiveHub, path: bytes, drip: bytes) -> None:
    chunked = len(drip) > 1
    header = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 1000"
    key = b"X-API-Key: " + impatient.api_key.encode()
    start = b"0\r\n" if drip[:1] == b"X" else b""
    begun = time.monotonic()
    with RawSocket(impatient.url) as socket:
        socket.send(post(header, key, path=path, body=start))
        try:
            while time.monotonic() < begun + 5:
                time.sleep(0.05)
                socket.send(drip or b"")
                if not drip:
                    socket.rest()
                    break
        except OSError:
            pass
    assert time.monotonic() - begun < 3


def test_a_body_that_comes_in_time_is_taken_however_small_its_pieces(hub: LiveHub) -> None:
    body = b'{"channel":"open:a","data":1}'
    key = b"X-API-Key: " + hub.api_key.encode()
    with RawSocket(hub.url) as socket:
        socket.send(post(b"Content-Length: %d" % len(body), key))
        for at in range(len(body)):
            socket.send(body[at : at + 1])
        assert statuses(socket.until(b"\r\n")) == [200]


@pytest.mark.parametrize("round_", [b"1;" + b"x" * 4_000 + b"\r\n \r\n", b"X-A: " + b"x" * 4_000 + b"\r\n"])
def test_a_body_is_not_made_of_what_lies_round_its_chunks(hub: LiveHub, round_: bytes) -> None:
    key = b"X-API-Key: " + hub.api_key.encode()
    start = b"" if round_[:1] == b"1" else b"1\r\n \r\n0\r\n"
    sent = 0
    with RawSocket(hub.url) as socket:
        socket.send(post(b"Transfer-Encoding: chunked", key, body=start))
        try:
            while sent < 20_000_000:
                socket.send(round_)
                sent += len(round_)
        except OSError:
            pass
    assert sent < 10_000_000


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_its_cap_is_refused_before_it_has_come(hub: LiveHub, chunked: bool) -> None:
    key = b"X-API-Key: " + hub.api_key.encode()
    with RawSocket(hub.url) as socket:
        if chunked:
            socket.send(post(b"Transfer-Encoding: chunked", key))
            piece = b"10000\r\n" + b" " * 65_536 + b"\r\n"
            for _ in range(20):
                socket.send(piece)
        else:
            socket.send(post(b"Content-Length: 100000000", key))
        assert statuses(socket.until(b"\r\n\r\n")) == [413]
        # Who goes on sending is read from for a while, so that it sees the answer, and then cut.
        sent = 0
        with contextlib.suppress(OSError):
            while sent < 3 * UNREAD_BYTES:
                socket.send(b"10000\r\n" + b" " * 65_536 + b"\r\n")
                sent += 65_536
        assert 1_000_000 < sent < 2 * UNREAD_BYTES


HANDSHAKES: dict[str, tuple[dict[str, Any], int]] = {
    "two keys": ({"add": b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="}, 400),
    "no key": ({"Sec_WebSocket_Key": ""}, 400),
    "a key of 15 bytes": ({"Sec_WebSocket_Key": "MTIzNDU2Nzg5MDEyMzQ1"}, 400),
    "a key of 17 bytes": ({"Sec_WebSocket_Key": "MTIzNDU2Nzg5MDEyMzQ1Njc="}, 400),
    "a key without its padding": ({"Sec_WebSocket_Key": "A" * 22}, 400),
    "a key in the alphabet of URLs": ({"Sec_WebSocket_Key": "_" * 22 + "=="}, 400),
    "a key with something behind": ({"Sec_WebSocket_Key": "A" * 22 + "==x"}, 400),
    "no version": ({"Sec_WebSocket_Version": ""}, 426),
    "an older version": ({"Sec_WebSocket_Version": "8"}, 426),
    "a list of versions": ({"Sec_WebSocket_Version": "13, 8"}, 426),
    "13 twice": ({"add": b"Sec-WebSocket-Version: 13"}, 426),
    "13 in another form": ({"Sec_WebSocket_Version": "013"}, 426),
    "a body": ({"Content_Length": "5"}, 400),
    "a body in chunks": ({"Transfer_Encoding": "chunked"}, 400),
    "another method": ({"method": b"POST"}, 400),
    "HEAD": ({"method": b"HEAD"}, 400),
    "an old HTTP": ({"version": b"HTTP/1.0"}, 400),
}


@pytest.mark.parametrize("path", [SOCKET, "/connection/uni_websocket", "/ws/open:a"])
@pytest.mark.parametrize("what", HANDSHAKES)
def test_a_handshake_is_as_the_standard_has_it_or_refused(hub: LiveHub, what: str, path: str) -> None:
    changes, status = HANDSHAKES[what]
    headers = {name: value for name, value in changes.items() if isinstance(value, str)}
    sent = handshake("x", path, **headers)
    sent = sent.replace(b"GET", changes.get("method", b"GET")).replace(
        b"HTTP/1.1", changes.get("version", b"HTTP/1.1")
    )
    if "add" in changes:
        sent = sent[:-2] + changes["add"] + b"\r\n\r\n"
    with RawSocket(hub.url) as socket:
        socket.send(sent)
        answer = socket.rest()
    assert statuses(answer) == [status]
    for header in (b"upgrade: websocket\r\n", b"sec-websocket-version: 13\r\n"):
        assert (header in answer) == (status == 426)


def test_a_socket_is_asked_for_by_an_upgrade(hub: LiveHub) -> None:
    for path in (SOCKET, "/connection/uni_websocket", "/ws/open:a"):
        for change in ({"Upgrade": ""}, {"Connection": "keep-alive"}, {"Upgrade": "h2c"}):
            with RawSocket(hub.url) as socket:
                socket.send(handshake("x", path, **change))
                answer = socket.rest()
            assert statuses(answer) == [426]
            assert b"upgrade: websocket\r\n" in answer
            assert b"sec-websocket-version: 13\r\n" in answer


def resident(pid: str = "self") -> int:
    """MiB of memory that a process holds."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


STREAM = b"GET /sse/open:turn HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("begin", [b"GET /", b"GET / HTTP/1.1\r\nHost: x\r\nX-A: "])
def test_a_head_without_an_end_is_not_kept_behind_a_request_under_way_either(
    hub: LiveHub, begin: bytes
) -> None:
    with RawSocket(hub.url) as socket:
        socket.send(STREAM)
        socket.until(b"\n\n")
        before = resident()
        socket.send(begin)
        for _ in range(50):
            socket.send(b"a" * 1_000_000)
        assert resident() - before < 20


def test_requests_that_wait_behind_another_cost_no_more_than_their_bytes(hub: LiveHub) -> None:
    before = resident()
    with ExitStack() as stack:
        for _ in range(20):
            socket = stack.enter_context(RawSocket(hub.url))
            socket.send(STREAM + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 8_000)
        time.sleep(1)
        assert resident() - before < 60


def test_all_of_many_requests_are_answered_in_turn_however_many_come_at_once(hub: LiveHub) -> None:
    many, paths = 3_000, (b"/a", b"/b")
    with RawSocket(hub.url) as socket:
        for number in range(many):
            socket.send(b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n" % paths[number % 2])
        socket.send(b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert len(statuses(socket.rest())) == many + 1


def test_a_stream_with_requests_behind_it_ends_with_its_connection(
    hub: LiveHub, caplog: pytest.LogCaptureFixture
) -> None:
    def streams() -> int:
        return hub.call(count)

    async def count(hub: Hub) -> int:
        return len(hub.node.sessions)

    before = streams()
    for behind in (1, 50):
        with RawSocket(hub.url) as socket:
            socket.send(STREAM + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * behind)
            socket.until(b"\n\n")
            assert streams() == before + 1
    with RawSocket(hub.url) as socket:
        socket.send(STREAM)
        socket.until(b"\n\n")
        socket.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
    deadline = time.monotonic() + 10
    while streams() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert streams() == before
    assert "Traceback" not in caplog.text


BIG = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n" * 500
"""What is answered with more than the kernel takes."""


@pytest.mark.parametrize("sent", [BIG, BIG + b"no HTTP\r\n\r\n"])
def test_whoever_takes_nothing_of_an_answer_is_cut(impatient: LiveHub, sent: bytes) -> None:
    before = counted("answer_seconds")
    with RawSocket(impatient.url, receive_buffer=4_096) as socket:
        socket.send(sent)
        deadline = time.monotonic() + 15
        while counted("answer_seconds") == before and time.monotonic() < deadline:
            time.sleep(0.1)
    assert counted("answer_seconds") == before + 1


def test_whoever_takes_an_answer_slowly_gets_all_of_it(impatient: LiveHub) -> None:
    last = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    with RawSocket(impatient.url, receive_buffer=65_536) as socket:
        socket.send(BIG + last)
        for _ in range(15):
            time.sleep(0.2)
            socket.until(b"HTTP/1.1 200 OK")
        assert len(statuses(socket.rest())) == 501 - 15


def test_a_connection_in_reserve_is_kept_longer_than_a_head_may_take(impatient: LiveHub) -> None:
    with RawSocket(impatient.url) as socket:
        for _ in range(2):
            socket.send(ALIVE + b"\r\n")
            assert b"HTTP/1.1 200" in socket.until(b"\r\n\r\n")
            time.sleep(1.2)
