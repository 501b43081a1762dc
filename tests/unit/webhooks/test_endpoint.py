"""One URL and those who ask it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub.egress.addresses import networks
from hub.egress.client import Egress
from hub.egress.resolver import system_lookup
from hub.webhooks.breaker import FAILURES
from hub.webhooks.endpoint import Endpoint, Terms, Unanswered
from hub.webhooks.signing import Signer, new_secret, read_secret
from tests.services.web import Asked, WebServer, hangs, says


@pytest.fixture
async def egress() -> AsyncIterator[Egress]:
    out = Egress(allow_http=True, allow_networks=networks(["127.0.0.1/32"]), lookup=system_lookup, tls=None)
    yield out
    await out.close()


def endpoint(server: WebServer, egress: Egress, *, timeout: float = 5.0, concurrency: int = 1) -> Endpoint:
    terms = Terms(Signer([read_secret(new_secret())]), timeout, 1_000, concurrency)
    return Endpoint(egress.target(server.url), terms, egress)


async def given_up(asked: Endpoint, server: WebServer) -> None:
    """Somebody asks, and stops to wait."""
    before = len(server.asked)
    asking = asyncio.create_task(asked.ask(b"{}", 0))
    while len(server.asked) == before:
        await asyncio.sleep(0.005)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_whoever_gives_up_makes_room_and_says_nothing_about_the_server(egress: Egress) -> None:
    async with WebServer(hangs) as server:
        asked = endpoint(server, egress)
        for _ in range(FAILURES + 1):
            await given_up(asked, server)
        server.answer = says({"data": 1})
        assert await asked.ask(b"{}", 0) == b'{"data":1}'


async def test_a_trial_that_is_given_up_leaves_the_way_to_the_next(
    egress: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.webhooks.breaker.PAUSE_SECONDS", 0.05)
    async with WebServer(says({}, 503)) as server:
        asked = endpoint(server, egress)
        for _ in range(FAILURES):
            with pytest.raises(Unanswered, match="503"):
                await asked.ask(b"{}", 0)
        with pytest.raises(Unanswered, match="away"):
            await asked.ask(b"{}", 0)
        await asyncio.sleep(0.06)
        server.answer = hangs
        await given_up(asked, server)
        server.answer = says({})
        assert await asked.ask(b"{}", 0) == b"{}"


async def test_the_wait_for_a_turn_counts_towards_the_timeout(egress: Egress) -> None:
    async with WebServer(hangs) as server:
        asked = endpoint(server, egress, timeout=0.5)
        loop = asyncio.get_running_loop()
        started = loop.time()
        failed = await asyncio.gather(*(asked.ask(b"{}", 0) for _ in range(4)), return_exceptions=True)
        assert loop.time() - started < 1.8
        assert {error.kind for error in failed if isinstance(error, Unanswered)} <= {"timeout", "busy"}
        assert len(failed) == 4


async def test_one_that_is_slow_with_many_at_once_does_not_count_as_away(egress: Egress) -> None:
    async def slow(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(1.2)
        await says({})(asked, writer)

    async with WebServer(slow) as server:
        asked = endpoint(server, egress, timeout=2, concurrency=2 * FAILURES)
        answers = await asyncio.gather(*(asked.ask(b"{}", 0) for _ in range(40)), return_exceptions=True)
        assert answers[: 2 * FAILURES] == [b"{}"] * 2 * FAILURES
        failed = {error.kind for error in answers if isinstance(error, Unanswered)}
        assert failed <= {"timeout", "busy"}
        assert "timeout" in failed
        assert await asked.ask(b"{}", 0) == b"{}"


async def test_no_more_requests_are_under_way_than_may_be(egress: Egress) -> None:
    async with WebServer(says({})) as server:
        asked = endpoint(server, egress, concurrency=3)
        await asyncio.gather(*(asked.ask(b"{}", 0) for _ in range(50)))
        assert (len(server.asked), server.most <= 3, server.connections <= 3) == (50, True, True)
