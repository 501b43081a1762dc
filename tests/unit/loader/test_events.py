from __future__ import annotations

import re
from functools import partial
from typing import Any

import pytest

from hub import plugin
from hub.loader.events import PARAMETERS, misfit


async def one(ctx: Any) -> None: ...


async def two(ctx: Any, data: Any) -> None: ...


async def three(ctx: Any, data: Any, more: Any = None) -> None: ...


async def keyword(*, ctx: Any) -> None: ...


async def anything(*args: Any, **options: Any) -> None: ...


def plain(ctx: Any) -> None: ...


class Handlers:
    async def one(self, ctx: Any) -> None: ...

    @staticmethod
    async def two(ctx: Any, data: Any) -> None: ...

    async def __call__(self, ctx: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "event"),
    [
        (one, "connect"),
        (two, "publish"),
        (two, "rpc"),
        (three, "message"),
        (anything, "publish"),
        (anything, "start"),
        (Handlers().one, "stop"),
        (Handlers.two, "rpc"),
        (Handlers(), "schedule"),
        (partial(two, data=1), "subscribe"),
        (partial(Handlers().one), "unsubscribe"),
    ],
)
def test_whatever_can_be_awaited_with_the_events_arguments_fits(function: Any, event: str) -> None:
    assert misfit(function, event) is None


@pytest.mark.parametrize(
    ("function", "event", "text"),
    [
        (one, "publish", "it takes (ctx), and publish calls it with (ctx, pub)"),
        (two, "start", "it takes (ctx, data), and start calls it with (ctx)"),
        (keyword, "start", "it takes (ctx), and start calls it with (ctx)"),
        (partial(three, 1, 2, 3), "rpc", "rpc calls it with (ctx, data)"),
        (plain, "start", "it is not async"),
        (Handlers, "start", "it is a class"),
        (3, "start", "it is a int, not a function"),
        (None, "start", "it is a NoneType, not a function"),
        (len, "start", "it is not async"),
    ],
)
def test_what_does_not_fit_is_described(function: Any, event: str, text: str) -> None:
    fault = misfit(function, event)
    assert fault is not None
    assert text in fault.message
    assert f"({', '.join(PARAMETERS[event])})" in fault.remedy


def test_the_arguments_are_those_of_the_public_page() -> None:
    told = re.findall(r"(?m)^((?:\w+(?:, )?)+) +\((ctx[^)]*)\)", plugin.__doc__ or "")
    page = {
        event: tuple(name.split(":")[0].strip() for name in names.split(","))
        for events, names in told
        for event in events.split(", ")
    }
    assert page == PARAMETERS
