"""The functions that plugins and operators put on events, and the one way in which they are called.

A handler never harms another: it runs under a time limit, its own refusals (`ReplyError`, `Disconnect`) pass through,
and anything else it raises is logged with its name and becomes error 100.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from logging import Logger
from typing import Any

from hub import metrics
from hub.credentials import ClientRequest
from hub.errors import INTERNAL, Disconnect, ReplyError
from hub.model import ANONYMOUS, Identity, TopicOptions
from hub.plugin import Context, Services
from hub.topics import PatternTable

DEFAULT_TIMEOUT = 5.0
"""Seconds a handler may take before its call is given up."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A resolved function with what it needs to be called. `name` reads `plugin:module:function`."""

    name: str
    plugin: str
    function: Callable[..., Awaitable[Any]]
    settings: Any
    log: Logger
    timeout: float = DEFAULT_TIMEOUT
    allow: tuple[str, ...] | None = None
    """Of an RPC's: the rules of who may call it; None: everybody who is connected."""
    origin: str = ""
    """Of an RPC's: where the configuration says it."""


@dataclass(frozen=True, slots=True)
class TopicRule:
    """All that is known of the topics under one pattern: options, and handlers in the order they run.

    `origins` tells where the configuration says what (`hub.yaml:7:3`), by the pattern (`""`) and by the options in it.
    """

    options: TopicOptions
    subscribe: tuple[Handler, ...] = ()
    unsubscribe: tuple[Handler, ...] = ()
    publish: tuple[Handler, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def handlers_of(self, action: str) -> tuple[Handler, ...]:
        """The handlers that may refuse an action."""
        return self.subscribe if action == "subscribe" else self.publish if action == "publish" else ()


@dataclass(frozen=True, slots=True)
class Schedule:
    """A handler run every `every` seconds; only while `topic` has subscribers on this node, when one is named.

    With `once` it runs on one node of the cluster.
    """

    name: str
    every: float
    handler: Handler
    topic: str | None = None
    once: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """Who and what a handler is called for: the fields of its Context."""

    topic: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    identity: Identity = ANONYMOUS
    client: str = ""
    method: str = ""
    request: ClientRequest | None = None


@dataclass(slots=True)
class HandlerTable:
    """Every handler by what it is for. `services` is set once, by the application, before the first call."""

    topics: PatternTable[TopicRule]
    connect: tuple[Handler, ...] = ()
    disconnect: tuple[Handler, ...] = ()
    message: tuple[Handler, ...] = ()
    start: tuple[Handler, ...] = ()
    stop: tuple[Handler, ...] = ()
    rpc: Mapping[str, Handler] = field(default_factory=dict)
    schedules: tuple[Schedule, ...] = ()
    services: Services | None = None

    def find(self, topic: str) -> tuple[TopicRule, dict[str, str]] | None:
        """The rule of the most specific pattern that matches, with its captures; None when nothing matches."""
        return self.topics.find(topic)

    async def run(self, handler: Handler, call: Call, *arguments: Any) -> Any:
        """Calls one handler; raises ReplyError or Disconnect, nothing else."""
        context: Context[Any] = Context(
            handler.plugin,
            self.services,  # type: ignore[arg-type]
            handler.log,
            handler.settings,
            call.topic,
            call.params,
            call.identity,
            call.client,
            call.method,
            request=call.request,
        )
        try:
            async with asyncio.timeout(handler.timeout):
                return await handler.function(context, *arguments)
        except (ReplyError, Disconnect):
            raise
        except TimeoutError:
            handler.log.error(  # noqa: TRY400 - the traceback would show the hub, not the handler
                "handler %s took longer than %.1f s on %s", handler.name, handler.timeout, call.topic
            )
        except Exception:
            handler.log.exception(
                "handler %s failed on %s", handler.name, call.topic or call.method or "the hub"
            )
        metrics.HANDLER_ERRORS.labels(handler.plugin or "operator", handler.name).inc()
        raise ReplyError(INTERNAL)

    async def run_all(self, handlers: tuple[Handler, ...], call: Call) -> list[Any]:
        """Calls several in order and returns what they returned; the first refusal ends it."""
        return [await self.run(handler, call) for handler in handlers]

    async def run_quietly(self, handlers: tuple[Handler, ...], call: Call) -> None:
        """Calls several whose refusal has nobody to hear it; each runs whatever the others did."""
        for handler in handlers:
            try:
                await self.run(handler, call)
            except (ReplyError, Disconnect) as refusal:
                handler.log.warning(
                    "handler %s refused with %s, which changes nothing here", handler.name, refusal
                )
