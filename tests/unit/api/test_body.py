from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from hub.api.body import BodyRefused, read_body


def request(*chunks: bytes, then: Message | None = None) -> Receive:
    """A peer that sends its body in pieces, and perhaps something else in the end."""
    messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if then is None:
        messages[-1]["more_body"] = False
    else:
        messages.append(then)
    waiting = iter(messages)

    async def receive() -> Message:
        message = next(waiting, None)
        return message if message is not None else await asyncio.Event().wait()  # type: ignore[return-value]

    return receive


def scope(headers: Iterable[tuple[bytes, bytes]] = ()) -> dict[str, Any]:
    return {"type": "http", "headers": list(headers)}


async def test_a_body_in_pieces_is_put_together() -> None:
    assert await read_body(scope(), request(b"ab", b"", b"cd"), 4) == b"abcd"
    assert await read_body(scope(), request(b""), 4) == b""


@pytest.mark.parametrize("chunks", [[b"abcde"], [b"abc", b"de"], [b"abc", b"de", b"f"]])
async def test_more_than_the_limit_is_413(chunks: list[bytes]) -> None:
    with pytest.raises(BodyRefused) as refused:
        await read_body(scope(), request(*chunks), 4)
    assert refused.value.status == 413


async def test_a_declared_length_over_the_limit_is_413_before_a_byte_is_read() -> None:
    async def never() -> Message:
        raise AssertionError("the body was asked for")

    with pytest.raises(BodyRefused) as refused:
        await read_body(scope([(b"content-length", b"5")]), never, 4)
    assert refused.value.status == 413


async def test_a_body_that_stops_arriving_is_408() -> None:
    with pytest.raises(BodyRefused) as refused:
        await read_body(
            scope(), request(b"a", then={"type": "http.request", "more_body": True}), 4, seconds=0.01
        )
    assert refused.value.status == 408


async def test_a_peer_that_goes_leaves_no_half_a_body() -> None:
    with pytest.raises(ClientDisconnect):
        await read_body(scope(), request(b"a", then={"type": "http.disconnect"}), 4)
