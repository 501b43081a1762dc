"""Handlers of plugins are contained: what one of them does costs its caller alone."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from hub import metrics
from hub.errors import Disconnect, ReplyError
from hub.handlers import Call, Handler, HandlerTable
from hub.topics import PatternTable


@pytest.fixture
def table() -> HandlerTable:
    return HandlerTable(PatternTable([]))


def handler(function: Any, **more: Any) -> Handler:
    return Handler(
        "moody:handlers:ask", "moody", function, None, logging.getLogger("hub.plugin.moody"), **more
    )


def errors() -> float:
    labels = {"plugin": "moody", "handler": "moody:handlers:ask"}
    return metrics.REGISTRY.get_sample_value("hub_handler_errors_total", labels) or 0


async def test_one_that_takes_too_long_is_given_up_and_its_caller_told_to_come_back(
    table: HandlerTable, caplog: pytest.LogCaptureFixture
) -> None:
    ended = []

    async def hangs(ctx: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    before = errors()
    with pytest.raises(ReplyError) as refused:
        await table.run(handler(hangs, timeout=0.01), Call("lobby"))
    assert (refused.value.code, refused.value.temporary) == (100, True)
    assert ended == [True]
    assert "took longer than 0.0 s on lobby" in caplog.text
    assert errors() == before + 1


async def test_one_that_fails_tells_the_log_what_and_the_client_nothing(
    table: HandlerTable, caplog: pytest.LogCaptureFixture
) -> None:
    async def fails(ctx: Any) -> None:
        raise LookupError("a secret of the database")

    before = errors()
    with pytest.raises(ReplyError) as refused:
        await table.run(handler(fails), Call("lobby"))
    assert refused.value.code == 100
    assert "secret" not in str(refused.value)
    assert "a secret of the database" in caplog.text
    assert errors() == before + 1


@pytest.mark.parametrize("refusal", [ReplyError(103), Disconnect(4_001, "no")])
async def test_a_refusal_is_no_failure(table: HandlerTable, refusal: Exception) -> None:
    async def refuses(ctx: Any) -> None:
        raise refusal

    before = errors()
    with pytest.raises(type(refusal)) as told:
        await table.run(handler(refuses), Call("lobby"))
    assert told.value is refusal
    assert errors() == before
