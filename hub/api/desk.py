"""What all methods of the server API work with: the node, the caller's scopes, and errors as the wire tells them."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

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
from hub.model import TopicOptions
from hub.node import Node

_log = logging.getLogger("hub.api")
AT_ONCE: Final = 64
"""Publishes of one request that are under way at the same time; more would only wait for the broker in memory."""


class Desk:
    """What the methods work on. `history_page` is the most publications that one reply holds."""

    def __init__(self, node: Node, history_page: int) -> None:
        self.node = node
        self.history_page = history_page
        self.name = f"{socket.gethostname()}_{os.getpid()}"
        self.process = psutil.Process()
        self.process.cpu_percent()

    def options(self, topic: str) -> TopicOptions:
        """The topic's options; raises TopicError, or ReplyError 102."""
        return self.node.rule(topic)[0].options


def demand(key: ApiKey, topic: str | None, *methods: str) -> None:
    """Raises ReplyError 103 when the key's scopes hold none of the methods on the topic."""
    if not any(key.may(method, topic) for method in methods):
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


async def in_slices(tasks: Sequence[Callable[[], Awaitable[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """Runs all, some at once, and gives what they return in their order."""
    done: list[dict[str, Any]] = []
    for start in range(0, len(tasks), AT_ONCE):
        done += await asyncio.gather(*(task() for task in tasks[start : start + AT_ONCE]))
    return done
