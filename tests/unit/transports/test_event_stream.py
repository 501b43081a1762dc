from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.types import Message

from hub.errors import SHUTDOWN, SOCKET_TOO_SLOW
from hub.outbox import MAX_JOINED
from hub.transports.event_stream import EventTransport
from hub.transports.sse import position_of


class Peer:
    """The server's side of a response: keeps what is sent, and blocks while it is told not to read."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.complete = False
        self.reading = asyncio.Event()
        self.reading.set()

    async def send(self, message: Message) -> None:
        await self.reading.wait()
        self.bodies.append(message["body"])
        self.complete = not message["more_body"]


def run(transport: EventTransport, peer: Peer, seconds: float = 5.0) -> asyncio.Task[Any]:
    return asyncio.create_task(transport.run(peer.send, seconds))


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_waits_is_sent_together_and_counts_until_it_is_taken() -> None:
    transport, peer = EventTransport(), Peer()
    peer.reading.clear()
    for piece in (b"a", b"bc", (b"d", b"e")):
        transport.write(piece)
    running = run(transport, peer)
    await turns()
    assert transport.buffered() == 5
    peer.reading.set()
    await turns()
    assert (peer.bodies, transport.buffered()) == ([b"abcde"], 0)
    transport.abandon()
    await running
    assert not peer.complete


async def test_bursts_are_sent_in_bounded_pieces_in_order() -> None:
    transport, peer = EventTransport(), Peer()
    pieces = [bytes([65 + number]) * 30_000 for number in range(5)]
    for piece in pieces:
        transport.write(piece)
    running = run(transport, peer)
    await turns()
    assert b"".join(peer.bodies) == b"".join(pieces)
    assert max(map(len, peer.bodies)) <= MAX_JOINED
    transport.abandon()
    await running


async def test_the_end_comes_after_what_waits_and_says_why() -> None:
    transport, peer = EventTransport(), Peer()
    transport.write(b"a")
    transport.close(SHUTDOWN.number, "shutdown")
    transport.write(b"too late")
    transport.close(4_500, "nobody hears this")
    await run(transport, peer)
    assert b"".join(peer.bodies) == b'aevent: disconnect\ndata: {"code":3001,"reason":"shutdown"}\n\n'
    assert peer.complete


async def test_too_slow_means_that_what_waits_is_dropped() -> None:
    transport, peer = EventTransport(), Peer()
    transport.write(b"a" * 1_000)
    transport.close(SOCKET_TOO_SLOW.number, "slow")
    assert transport.buffered() == 0
    await run(transport, peer)
    assert b"".join(peer.bodies) == b'event: disconnect\ndata: {"code":4008,"reason":"slow"}\n\n'


async def test_a_peer_that_never_reads_is_given_up() -> None:
    transport, peer = EventTransport(), Peer()
    peer.reading.clear()
    transport.write(b"a")
    with pytest.raises(TimeoutError):
        await run(transport, peer, seconds=0.02)


async def test_a_ping_is_a_comment_and_is_left_out_where_something_waits() -> None:
    transport, peer = EventTransport(), Peer()
    assert transport.ping()
    assert transport.ping()
    assert transport.buffered() == len(b": ping\n\n")
    running = run(transport, peer)
    await turns()
    assert peer.bodies == [b": ping\n\n"]
    transport.abandon()
    await running


@pytest.mark.parametrize(
    ("last", "position"),
    [
        ("5:epoch", (5, "epoch")),
        ("0:e:f", (0, "e:f")),
        ("7", (7, "")),
        ("", None),
        (":e", None),
        ("-1:e", None),
        ("x:e", None),
        ("1.5:e", None),
        ("٣:e", None),
        ("9" * 19 + ":e", None),
        ("9" * 5_000, None),
    ],
)
def test_an_event_id_that_the_hub_never_gave_is_no_position(
    last: str, position: tuple[int, str] | None
) -> None:
    found = position_of(last)
    assert (None if found is None else (found.offset, found.epoch)) == position
