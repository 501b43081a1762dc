"""The public API for plugins: all that a plugin's code may import from the hub.

The smallest plugin is a folder with a manifest and one function::

    # plugins/greeter/plugin.yaml
    name: greeter
    api: 1
    topics:
      "greet:{who}":
        allow: {subscribe: anyone, publish: anyone}
        handlers: {publish: "handlers:reply"}

    # plugins/greeter/handlers.py
    from hub.plugin import Context, Publication

    async def reply(ctx: Context, pub: Publication) -> None:
        await ctx.publish("greetings:all", {"hello": ctx.params["who"]})

and one line in the operator's file: `plugins: {greeter: {use: ./plugins/greeter}}`.

Handlers by event, each an `async def`; what is in brackets may be returned:

=============  ===================================  ====================================================
event          signature                            returns
=============  ===================================  ====================================================
connect        (ctx)                                None, or Accept(data=, topics=, identity=)
subscribe      (ctx)                                None, or Accept(data=, info=)
publish        (ctx, pub: Publication)              None to let it pass, or the Publication to send instead
rpc            (ctx, data: Any)                     anything JSON can say: the reply's data
message        (ctx, data: Any)                     None (a `send` of the client, which has no reply)
unsubscribe    (ctx)                                None
disconnect     (ctx)                                None
schedule       (ctx)                                None
start, stop    (ctx)                                None
=============  ===================================  ====================================================

A handler refuses by raising `ReplyError` (the command fails, the session goes on) or `Disconnect` (the session ends).
Any other exception is logged and answered with error 100; it never touches another client.

A connect handler may say who the client is, by a cookie of the site that the page belongs to::

    async def connect(ctx: Context) -> Accept | None:
        if ctx.user or ctx.request is None:
            return None
        user = await signed_in(ctx.request.cookies.get("sessionid", ""))
        return Accept(identity=Identity(user=user)) if user else None

Where clients without a token are not admitted (`auth.anonymous: false`), the connect handlers are asked all the same;
unless one of them names somebody, such a client is sent away. `POST /api/ticket` asks them too (`ctx.client` is then
"") and they may be asked again when the ticket is used, by then with its identity.

A publisher that was told that the broker is away (100), or that nobody knows whether it was stored (300), publishes
again: a publish handler then runs again for what is one publication to its publisher. One that stores something must
recognise it, by `pub.key` or by a nonce in the payload, and return the publication with a `key` that follows from it.

A plugin's own refusals have numbers from 400 to 1999. Over HTTP those from 1400 to 1499 become the status 400 to 499
(1404 is a 404), the others 422.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from logging import Logger
from typing import Any, Generic, Protocol, TypeVar

from hub.credentials import ClientRequest
from hub.documented import documented
from hub.egress.fetched import Fetched
from hub.errors import (
    BAD_REQUEST,
    CONFLICT,
    NOT_AVAILABLE,
    OUTCOME_UNKNOWN,
    PERMISSION_DENIED,
    TOO_MANY_REQUESTS,
    UNAUTHORIZED,
    UNKNOWN_TOPIC,
    Disconnect,
    FetchError,
    HubError,
    LeaseLost,
    ReplyError,
    TopicError,
)
from hub.from_file import FromFile
from hub.model import ANONYMOUS, ClientInfo, HistoryPage, Identity, Position, PresenceStats, Publication
from hub.tables import NAMING_CONVENTION
from hub.topics import check_topic
from hub.validation import query, validated

__all__ = [
    "ANONYMOUS",
    "BAD_REQUEST",
    "CONFLICT",
    "NAMING_CONVENTION",
    "NOT_AVAILABLE",
    "OUTCOME_UNKNOWN",
    "PERMISSION_DENIED",
    "TOO_MANY_REQUESTS",
    "UNAUTHORIZED",
    "UNKNOWN_TOPIC",
    "Accept",
    "ClientInfo",
    "ClientRequest",
    "Context",
    "Disconnect",
    "FetchError",
    "Fetched",
    "FromFile",
    "HistoryPage",
    "HubError",
    "Identity",
    "Lease",
    "LeaseLost",
    "NodeStats",
    "Position",
    "PresenceStats",
    "Publication",
    "ReplyError",
    "Services",
    "TopicError",
    "check_topic",
    "context",
    "documented",
    "query",
    "validated",
]

API_VERSION = 1
SettingsT = TypeVar("SettingsT")


@dataclass(frozen=True, slots=True)
class Accept:
    """An admission with extras, from a connect or subscribe handler.

    `data` (anything JSON can say) travels in the reply; on a plain socket it is the first frame. `info` becomes the
    subscriber's `chan_info` in presence. `topics` (connect only) are subscribed by the server at once. `identity`
    (connect only) is who the client is from then on, whatever its token said; its `info` is JSON text. The session
    ends when the identity expires, and the client comes back to be asked anew.
    """

    data: Any = None
    info: Any = None
    topics: tuple[str, ...] = ()
    identity: Identity | None = None


@dataclass(frozen=True, slots=True)
class NodeStats:
    """Counters of this node since it started, and gauges of now."""

    node: str
    uptime: float
    clients: int
    users: int
    subscriptions: int
    topics: int
    requests: int
    """HTTP requests answered and sockets opened."""
    publications: int
    deliveries: int


class Lease(Protocol):
    """A lease that this node holds; see Context.lease."""

    @property
    def number(self) -> int:
        """Greater than the number of every holder before, so that what is written to can refuse a former one."""

    @property
    def held(self) -> bool:
        """Whether this node holds it at this moment, by its own clock; a process that was paused finds out by this."""


class Services(Protocol):
    """What stands behind a Context; the hub provides it, `hub.testing` too."""

    async def publish(
        self,
        topic: str,
        data: Any,
        *,
        tags: Mapping[str, str] | None,
        idempotency_key: str,
        info: ClientInfo | None,
    ) -> Position | None:
        """See Context.publish."""

    async def submit(
        self,
        identity: Identity,
        client: str,
        topic: str,
        data: Any,
        *,
        tags: Mapping[str, str] | None,
        idempotency_key: str,
    ) -> Publication:
        """See Context.submit."""

    async def history(self, topic: str, limit: int, since: Position | None, reverse: bool) -> HistoryPage:
        """See Context.history."""

    async def presence(self, topic: str) -> Mapping[str, ClientInfo]:
        """See Context.presence."""

    async def presence_stats(self, topic: str) -> PresenceStats:
        """See Context.presence_stats."""

    async def subscribe(self, user: str, topic: str, client: str) -> None:
        """See Context.subscribe."""

    async def unsubscribe(self, user: str, topic: str, client: str) -> None:
        """See Context.unsubscribe."""

    async def disconnect(self, user: str, client: str, code: int, reason: str) -> None:
        """See Context.disconnect."""

    async def revoke(
        self,
        user: str | None,
        token_id: str | None,
        issued_before: float | None,
        topic: str | None,
        until: float | None,
    ) -> None:
        """See Context.revoke."""

    async def unrevoke(
        self, user: str | None, token_id: str | None, issued_before: bool, topic: str | None
    ) -> bool:
        """See Context.unrevoke."""

    async def allowed(self, identity: Identity, action: str, topic: str) -> bool:
        """See Context.allowed."""

    def subscribers(self, topic: str) -> int:
        """See Context.subscribers."""

    def database(self) -> AbstractAsyncContextManager[Any]:
        """See Context.database."""

    def lease(self, plugin: str, name: str) -> AbstractAsyncContextManager[Lease]:
        """See Context.lease."""

    def try_lease(self, plugin: str, name: str) -> AbstractAsyncContextManager[Lease | None]:
        """See Context.try_lease."""

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, seconds: float, max_bytes: int
    ) -> Fetched:
        """See Context.fetch."""

    def node(self) -> NodeStats:
        """See Context.node."""

    def now(self) -> float:
        """See Context.now."""


@dataclass(slots=True)
class Context(Generic[SettingsT]):
    """What a handler or a route knows of its call, and what it may do.

    `topic` and `params` (the pattern's captures) are empty where no topic is concerned. `client` is the session's id,
    "" for publishes over HTTP and for schedules. `method` is the RPC's name. `settings` is the plugin's own settings
    object, already validated. `log` is the plugin's logger. `api_key` is the name of the key of the server API that
    came with a request to the plugin's routes, "" without one; a key without a scope for the plugin (its name, such as
    `chat`, or `*`) has been refused before. `request` is what the client's connection began with, for connect handlers
    alone; None for others, and where there is none, as in tests.
    """

    plugin: str
    services: Services
    log: Logger
    settings: SettingsT
    topic: str = ""
    params: Mapping[str, str] = field(default_factory=dict)
    identity: Identity = ANONYMOUS
    client: str = ""
    method: str = ""
    api_key: str = ""
    request: ClientRequest | None = None

    @property
    def user(self) -> str:
        """The acting user's id, "" when anonymous."""
        return self.identity.user

    async def publish(
        self,
        topic: str,
        data: Any,
        *,
        tags: Mapping[str, str] | None = None,
        idempotency_key: str = "",
        info: ClientInfo | None = None,
    ) -> Position | None:
        """Publishes as the server: no permission is asked and no publish handler runs.

        Returns the position, None where the topic keeps no history. On a topic that no pattern declares nobody can be
        subscribed; the publication then goes nowhere, and the log says so once. Raises TopicError for an impossible
        name, ReplyError 100 (temporary) when the broker is away and nothing was stored, and 300 (temporary) when it
        may have been stored: publish it again with the same idempotency key.
        """
        return await self.services.publish(topic, data, tags=tags, idempotency_key=idempotency_key, info=info)

    async def submit(
        self, topic: str, data: Any, *, tags: Mapping[str, str] | None = None, idempotency_key: str = ""
    ) -> Publication:
        """Publishes as the acting user, through the same door as their own client.

        The topic's rules are asked and its publish handlers run, the operator's and the plugin's. Returns the
        publication as the handlers left it, with its position where the topic keeps history. Raises TopicError, and
        ReplyError as the publish command would answer. A publish handler that submits to its own topic never ends.
        """
        return await self.services.submit(
            self.identity, self.client, topic, data, tags=tags, idempotency_key=idempotency_key
        )

    async def history(
        self, topic: str, *, limit: int = -1, since: Position | None = None, reverse: bool = False
    ) -> HistoryPage:
        """Reads a topic's history: -1 reads all that is kept, 0 the position alone.

        Raises ReplyError 108 where none is kept, and 100 (temporary) when the broker is away.
        """
        return await self.services.history(topic, limit, since, reverse)

    async def presence(self, topic: str) -> Mapping[str, ClientInfo]:
        """Who is subscribed on any node, by client id. Raises ReplyError 108 where presence is off."""
        return await self.services.presence(topic)

    async def presence_stats(self, topic: str) -> PresenceStats:
        """How many clients and users are subscribed on any node. Raises ReplyError 108 where presence is off."""
        return await self.services.presence_stats(topic)

    async def subscribe(self, user: str, topic: str, *, client: str = "") -> None:
        """Subscribes all sessions of a user (or the one named) on every node; unknown users are no error."""
        await self.services.subscribe(user, topic, client)

    async def unsubscribe(self, user: str, topic: str, *, client: str = "") -> None:
        """Takes a subscription from all sessions of a user (or the one named) on every node."""
        await self.services.unsubscribe(user, topic, client)

    async def disconnect(
        self, user: str, *, client: str = "", code: int = 3503, reason: str = "force disconnect"
    ) -> None:
        """Ends all sessions of a user (or the one named) on every node."""
        await self.services.disconnect(user, client, code, reason)

    async def revoke(
        self,
        *,
        user: str | None = None,
        token_id: str | None = None,
        issued_before: float | None = None,
        topic: str | None = None,
        until: float | None = None,
    ) -> None:
        """Has tokens refused on every node from now on, and ends at once what they opened.

        Name one of: `token_id`, a token's `jti`; `user`, all tokens of a user, also later ones; `issued_before`
        (seconds since 1970), older tokens of the user, or of everybody without one; `user` and `topic`, which bars the
        user from that topic alone and leaves the session open. It holds until it is lifted, or `until` (seconds since
        1970); a token's id is remembered for `limits.token_life`, or for ever, unless that is given.

        Raises ReplyError 107 for what makes no sense, 106 where as many are in force as may be, 100 (temporary) when
        the database is away and nothing was revoked, and 300 (temporary) when it is stored and holds here, and the
        other nodes hear of it later. To revoke again what is revoked does no harm; of two ends the later one holds.
        """
        await self.services.revoke(user, token_id, issued_before, topic, until)

    async def unrevoke(
        self,
        *,
        user: str | None = None,
        token_id: str | None = None,
        issued_before: bool = False,
        topic: str | None = None,
    ) -> bool:
        """Lifts what was revoked, named in the same way; false where nothing was. Raises as `revoke` does."""
        return await self.services.unrevoke(user, token_id, issued_before, topic)

    async def allowed(self, action: str, topic: str) -> bool:
        """Whether the rules let the acting identity `subscribe`, `publish`, or read `presence` or `history` of a topic.

        Handlers are not asked: where only `handler` could admit it is False, and where a handler stands beside other
        rules it may still refuse.
        """
        return await self.services.allowed(self.identity, action, topic)

    def subscribers(self, topic: str) -> int:
        """How many subscriptions the topic has on this node."""
        return self.services.subscribers(topic)

    def database(self) -> AbstractAsyncContextManager[Any]:
        """A database session of SQLModel's async kind: `async with ctx.database() as db`; commit it yourself."""
        return self.services.database()

    def lease(self, name: str) -> AbstractAsyncContextManager[Lease]:
        """Waits until this node holds a lease of the plugin, for work that one node of the cluster does at a time.

        In a task of the plugin's own, such as one that its start handler begins and its stop handler cancels::

            async def follow(ctx):
                while True:
                    try:
                        async with ctx.lease("feed"):
                            await read_the_feed(ctx)
                    except LeaseLost:
                        ctx.log.info("another node reads the feed now")

        The lease is renewed as long as the body runs, and given back at its end, whereupon another node has it within
        two seconds. When the holder dies, another has it about ten seconds later. When the holder cannot renew it,
        because the broker is away or has forgotten it, the body is cancelled before the lease ends for the others, and
        `LeaseLost` is raised in place of the CancelledError; the same happens at once when the node begins to stop.
        What cancels the task for another reason cancels it as ever, and the five seconds of a handler hold here too.

        No two nodes are in the body at a time, with these exceptions: one that does not let itself be cancelled within
        a second, a process that was paused and goes on before it has looked at `held`, a broker in two halves that both
        answer, a broker whose clock jumps ahead. Where even that must do no harm, hand `number` to what is written to.
        A broker that is new, was emptied or failed over grants nothing for the first ten seconds. Raises ValueError for
        a name that has not 1 to 100 characters.
        """
        return self.services.lease(self.plugin, name)

    def try_lease(self, name: str) -> AbstractAsyncContextManager[Lease | None]:
        """The same without waiting: `async with ctx.try_lease("feed") as lease`, where `lease` may be None.

        The body runs in any case. None means that another node has it, or another task of this one, or that the broker
        does not answer.
        """
        return self.services.try_lease(self.plugin, name)

    async def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        seconds: float = 5.0,
        max_bytes: int = 1_048_576,
    ) -> Fetched:
        """Asks another server over HTTP, without being led anywhere else: for URLs that others may have chosen.

        Only https, and only to the public internet, unless the operator's `webhooks.allow_http` and `allow_networks`
        say more; names are resolved once and connected to as judged. Nothing is redirected, no proxy is used.
        `seconds` bound all of it, `max_bytes` the answer's body. Returns whatever the server answers, also
        404; raises FetchError, whose `kind` says what went wrong.
        """
        return await self.services.fetch(method, url, headers or {}, body, seconds, max_bytes)

    def node(self) -> NodeStats:
        """What this node counts."""
        return self.services.node()

    def now(self) -> float:
        """Seconds since 1970, by the hub's clock (which tests move)."""
        return self.services.now()


class HasScope(Protocol):
    """A Starlette Request or WebSocket, as far as `context` needs it."""

    @property
    def scope(self) -> Any:
        """The ASGI scope."""


def context(request: HasScope) -> Context[Any]:
    """The Context of a plugin's own route: identity from the request's token, settings of the plugin."""
    found: Context[Any] = request.scope["hub.context"]
    return found
