"""The load generator sees what a server does wrong: each server here does one thing wrong, every fifth time."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.tools import load_generator
from tests.services.missing import unavailable

pytestmark = pytest.mark.timeout(180)
SEQUENCE = re.compile(r"LT~\w+~\d+~(\d+)~")
Answer = Callable[[ServerConnection, str, bool], Awaitable[None]]
"""Sends one publication back; it is told whether to do wrong."""


@pytest.fixture(scope="module")
def generator() -> Path:
    """Built with this machine's Go, or with the one that a wheel brings."""
    try:
        return load_generator()
    except SystemExit as error:
        unavailable("load generator", f"install Go ({error})")


async def honest(socket: ServerConnection, text: str, wrong: bool) -> None:
    await socket.send(text)


async def doubling(socket: ServerConnection, text: str, wrong: bool) -> None:
    await socket.send(text)
    if wrong:
        await socket.send(text)


async def losing(socket: ServerConnection, text: str, wrong: bool) -> None:
    if not wrong:
        await socket.send(text)


async def straying(socket: ServerConnection, text: str, wrong: bool) -> None:
    await socket.send(re.sub(r"~0~", "~7~", text, count=1) if wrong else text)


async def damaging(socket: ServerConnection, text: str, wrong: bool) -> None:
    await socket.send(re.sub(r"~0~", "~x~", text, count=1) if wrong else text)


def swapping() -> Answer:
    held: list[str] = []

    async def answer(socket: ServerConnection, text: str, wrong: bool) -> None:
        if wrong:
            held.append(text)
            return
        await socket.send(text)
        while held:
            await socket.send(held.pop())

    return answer


def late_by_many() -> Answer:
    """The fifth comes after all others that are under way."""
    held: list[str] = []

    async def answer(socket: ServerConnection, text: str, wrong: bool) -> None:
        if wrong and not held:
            held.append(text)
            asyncio.get_running_loop().call_later(
                0.3, lambda: tasks.append(asyncio.ensure_future(socket.send(text)))
            )
            return
        await socket.send(text)

    tasks: list[asyncio.Future[None]] = []
    return answer


async def counted(generator: Path, answer: Answer, *more: str) -> dict[str, Any]:
    """What the load generator says of a server that answers so."""

    async def serve_one(socket: ServerConnection) -> None:
        async for message in socket:
            text = message if isinstance(message, str) else message.decode()
            found = SEQUENCE.search(text)
            assert found
            number = int(found[1])
            await answer(socket, text, number > 0 and number % 5 == 0)

    async with serve(serve_one, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        command = [
            *(str(generator), "-url", f"ws://127.0.0.1:{port}/{{topic}}", "-conns", "1", "-rate", "203"),
            *("-duration", "500ms", "-settle", "50ms", "-drain", "500ms", *more),
        ]
        process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
    assert process.returncode == 0
    result: dict[str, Any] = json.loads(output)
    assert result["published"] >= 50
    assert result["unreached"] == 0
    return result


def wrongs(found: dict[str, Any]) -> dict[str, int]:
    names = ("lost", "gaps", "duplicates", "disorder", "stray", "corrupt", "dropped")
    return {name: found[name] for name in names if found[name]}


async def test_a_server_that_does_nothing_wrong_is_not_blamed(generator: Path) -> None:
    found = await counted(generator, honest)
    assert not wrongs(found)
    assert found["deliveries"] == found["published"]


async def test_what_comes_twice_is_a_duplicate_and_no_delivery(generator: Path) -> None:
    found = await counted(generator, doubling)
    assert wrongs(found) == {"duplicates": found["published"] // 5}
    assert found["deliveries"] == found["published"]


async def test_what_does_not_come_is_lost_and_leaves_a_gap(generator: Path) -> None:
    found = await counted(generator, losing)
    assert found["lost"] == found["published"] // 5
    assert found["lost"] - found["gaps"] in (0, 1)  # nothing comes after the last, so it leaves none
    assert set(wrongs(found)) == {"lost", "gaps"}


@pytest.mark.parametrize("make", [swapping, late_by_many])
async def test_what_comes_late_is_out_of_order_but_neither_lost_nor_double(
    generator: Path, make: Callable[[], Answer]
) -> None:
    found = await counted(generator, make())
    assert found["disorder"] >= 1
    assert set(wrongs(found)) <= {"disorder", "lost"}
    assert found.get("lost", 0) <= 1  # the last may be held until there is no next one


async def test_what_is_another_topics_or_damaged_is_told_apart(generator: Path) -> None:
    found = await counted(generator, straying)
    assert found["stray"] == found["lost"] == found["published"] // 5
    found = await counted(generator, damaging)
    assert found["corrupt"] == found["lost"] == found["published"] // 5


async def test_a_payload_of_ones_own_is_counted_like_any(generator: Path, tmp_path: Path) -> None:
    payload = tmp_path / "payload.json"
    payload.write_text('{"mark":"{mark}","figures":[{r},{r}]}')
    texts: list[str] = []

    async def noting(socket: ServerConnection, text: str, wrong: bool) -> None:
        texts.append(text)
        await socket.send(text)

    assert not wrongs(await counted(generator, noting, "-payload-file", str(payload)))
    figures = {tuple(json.loads(text)["figures"]) for text in texts}
    assert len(figures) > len(texts) // 2


async def test_compression_that_was_not_negotiated_is_told(generator: Path) -> None:
    assert (await counted(generator, honest))["deflate_negotiated"] == 0
    found = await counted(generator, honest, "-deflate")
    assert found["deflate_negotiated"] == found["connected"] == 1
    assert not wrongs(found)
