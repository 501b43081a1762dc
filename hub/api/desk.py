"""What all methods of the server API work with: the node, the caller's scopes, and errors as the wire tells them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import psutil

from hub.auth.api_keys import ApiKey
from hub.errors import (
    BAD_REQUEST,
    INTERNAL,
    PERMISSION_DENIED,
    BrokerError,
    Disconnect,
    HubError,
    ReplyError,
    TopicError,
    broker_refusal,
)
from hub.handlers import TopicRule
from hub.model import TopicOptions
from hub.node import Node

T = TypeVar("T")
Told = dict[str, Any]
"""The answer to one of several commands."""
Now = Callable[[T], Told | None]
"""Does one without waiting; None, and nothing done, where `Later` has to."""
Later = Callable[[T], Awaitable[Told]]

_log = logging.getLogger("hub.api")
MAX_REMEMBERED: Final = 16_384
AT_ONCE: Final = 64
"""Publishes of one request that are under way at the same time, and that are done before others have their turn."""


class Desk:
    """What the methods work on. `history_page` is the most publications that one reply holds."""

    def __init__(self, node: Node, history_page: int) -> None:
        self.node = node
        self.history_page = history_page
        self.name = f"{socket.gethostname()}_{os.getpid()}"
        self.process = psutil.Process()
        self.process.cpu_percent()
        self.publishable: dict[tuple[str, str], TopicRule] = {}
        """What is known of topics on which a key may publish, by the key's name and the topic."""

    def remember(self, key: ApiKey, topic: str, rule: TopicRule) -> None:
        """Notes that a key may publish on a topic: neither keys nor rules change while the node runs."""
        if len(self.publishable) >= MAX_REMEMBERED:
            self.publishable.clear()
        self.publishable[key.name, topic] = rule

    def options(self, topic: str) -> TopicOptions:
        """The topic's options; raises TopicError, or ReplyError 102."""
        return self.node.rule(topic)[0].options


def demand(key: ApiKey, topic: str | None, *methods: str) -> None:
    """Raises ReplyError 103 when the key's scopes hold none of the methods on the topic."""
    for method in methods:
        if key.may(method, topic):
            return
    raise ReplyError(
        PERMISSION_DENIED, f"permission denied: the API key {key.name!r} has no scope for this call"
    )


def told(error: HubError) -> dict[str, Any]:
    """An error of the hub as code and message."""
    refused = _as_reply(error)
    return {"code": refused.code, "message": refused.message}


def _as_reply(error: HubError) -> ReplyError:
    if isinstance(error, ReplyError):
        return error
    if isinstance(error, TopicError):
        return ReplyError(BAD_REQUEST, f"bad request: {error}")
    if isinstance(error, BrokerError):
        _log.warning("a call of the API failed at the broker: %s", error)
        return broker_refusal(error)
    if isinstance(error, Disconnect):
        return ReplyError(PERMISSION_DENIED, error.reason)
    _log.error("a call of the API failed", exc_info=error)
    return ReplyError(INTERNAL)


async def in_order(items: Sequence[T], now: Now[T], later: Later[T]) -> list[Told]:
    """What becomes of each, one after another: by `now`, or by `later` where that is None.

    A HubError that either raises is told in its place.
    """
    done: list[Told] = []
    for start in range(0, len(items), AT_ONCE):
        if start:
            await asyncio.sleep(0)  # others have their turn
        for item in items[start : start + AT_ONCE]:
            found = _tried(now, item)
            done.append(await _awaited(later, item) if found is None else found)
    return done


async def in_slices(items: Sequence[T], now: Now[T], later: Later[T]) -> list[Told]:
    """The same for some at once, in no order; the answers stand in that of the items."""
    done: list[Told] = []
    for start in range(0, len(items), AT_ONCE):
        if start:
            await asyncio.sleep(0)
        some = items[start : start + AT_ONCE]
        found = [_tried(now, item) for item in some]
        waiting = [_awaited(later, item) for item, each in zip(some, found, strict=True) if each is None]
        answers = iter(await asyncio.gather(*waiting))
        done += [next(answers) if each is None else each for each in found]
    return done


def _tried(now: Now[T], item: T) -> Told | None:
    try:
        return now(item)
    except HubError as error:
        return {"error": told(error)}


async def _awaited(later: Later[T], item: T) -> Told:
    try:
        return await later(item)
    except HubError as error:
        return {"error": told(error)}
