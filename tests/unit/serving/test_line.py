"""The line between a worker and its parent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from hub.serving.line import Line, Method, Silent


@asynccontextmanager
async def lines(**methods: Method) -> AsyncIterator[tuple[Line, Line]]:
    """Both ends; the methods are those of the second."""
    ends = socket.socketpair()
    one, two = await Line.open(ends[0], {}), await Line.open(ends[1], methods)
    try:
        yield one, two
    finally:
        await one.close()
        await two.close()


async def big(_: bytes) -> bytes:
    return b"x" * 1_000_000


async def test_an_answer_of_any_size_comes_to_its_question() -> None:
    async def small(_: bytes) -> bytes:
        return b"small"

    async with lines(big=big, small=small) as (one, _two):
        found = await asyncio.gather(*(one.ask(name, 5) for name in ("big", "small", "big")))
        assert [len(each) for each in found] == [1_000_000, 5, 1_000_000]


async def test_who_does_not_answer_in_time_is_silent_at_once_until_it_is_heard_again() -> None:
    thaw = asyncio.Event()

    async def frozen(_: bytes) -> bytes:
        await thaw.wait()
        return b"late"

    async with lines(frozen=frozen, big=big) as (one, two):
        with pytest.raises(Silent, match=r"within 0\.05 s"):
            await one.ask("frozen", 0.05)
        assert one.silent
        with pytest.raises(Silent):
            await asyncio.wait_for(one.ask("big", 60), 0.5)  # it does not wait for a minute
        thaw.set()
        while one.silent:
            await asyncio.sleep(0)
        assert len(await one.ask("big", 5)) == 1_000_000
        assert not two.silent


async def test_what_cannot_be_done_is_told_and_is_no_silence(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(_: bytes) -> bytes:
        raise ValueError("it is broken")

    async with lines(broken=broken, big=big) as (one, _two):
        for method in ("broken", "unheard-of"):
            with pytest.raises(Silent, match="could not"):
                await one.ask(method, 5)
        assert "it is broken" in caplog.text
        assert not one.silent
        assert len(await one.ask("big", 5)) == 1_000_000


async def test_nobody_waits_for_one_that_is_gone() -> None:
    async def hanging(_: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with lines(hanging=hanging) as (one, two):
        asked = asyncio.create_task(one.ask("hanging", 60))
        await asyncio.sleep(0.01)
        await two.close()
        with pytest.raises(Silent):
            await asyncio.wait_for(asked, 1)
        assert one.closed.is_set()
        with pytest.raises(Silent):
            await one.ask("hanging", 60)


async def test_what_is_told_before_the_end_is_heard() -> None:
    heard = []

    async def hear(body: bytes) -> bytes:
        heard.append(len(body))
        return b""

    async with lines(hear=hear) as (one, two):
        one.tell("hear", b"x" * 1_000_000)
        await one.close()
        await two.closed.wait()
        assert heard == [1_000_000]
