"""What stands behind a plugin's Context."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Final

from hub import metrics
from hub.auth.revocable import key_of, revocable
from hub.egress.client import Egress
from hub.egress.fetched import Fetched
from hub.errors import NOT_AVAILABLE, BrokerError, ReplyError, broker_refusal, repeatable
from hub.handlers import Call
from hub.leases.keeper import Leases
from hub.model import ClientInfo, HistoryPage, HistoryQuery, Identity, Position, PresenceStats, Publication
from hub.node import Node, Order
from hub.plugin import Lease, NodeStats
from hub.protocol.json_codec import encode
from hub.store.engine import Database

MAX_FETCHES: Final = 64
"""Requests of plugins to other servers at a time; the others wait for their turn."""


class NodeServices:
    """A plugin's services on a running node; see `hub.plugin.Context` for what each promises."""

    def __init__(self, node: Node, database: Database, leases: Leases, egress: Egress) -> None:
        self._node = node
        self._database = database
        self._leases = leases
        self._egress = egress
        self._fetching = asyncio.Semaphore(MAX_FETCHES)

    async def publish(
        self,
        topic: str,
        data: Any,
        *,
        tags: Mapping[str, str] | None,
        idempotency_key: str,
        info: ClientInfo | None,
    ) -> Position | None:
        """Publishes as the server."""
        with _broker_told():
            result = await self._node.router.publish(
                topic, encode(data), tags=tags, idempotency_key=idempotency_key, info=info, trusted=True
            )
        return result.position

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
        """Publishes as an identity."""
        self._node.demand(identity, "publish", topic)
        self._node.meters.publication(identity.user, topic)
        with _broker_told():
            result = await self._node.router.publish(
                topic,
                encode(data),
                by=Call(identity=identity, client=client),
                info=ClientInfo(identity.user, client, identity.info),
                tags=tags,
                idempotency_key=idempotency_key,
            )
        at = result.position
        return (
            result.publication if at is None else result.publication.replace(offset=at.offset, epoch=at.epoch)
        )

    async def history(self, topic: str, limit: int, since: Position | None, reverse: bool) -> HistoryPage:
        """Reads what is kept."""
        with _broker_told():
            return await self._node.router.history(topic, HistoryQuery(limit, since, reverse))

    async def presence(self, topic: str) -> Mapping[str, ClientInfo]:
        """Who is subscribed."""
        self._demand_presence(topic)
        with _broker_told(), repeatable():
            return await self._node.presence.get(topic)

    async def presence_stats(self, topic: str) -> PresenceStats:
        """How many are subscribed."""
        self._demand_presence(topic)
        with _broker_told(), repeatable():
            return await self._node.presence.stats(topic)

    def _demand_presence(self, topic: str) -> None:
        if not self._node.rule(topic)[0].options.presence:
            raise ReplyError(NOT_AVAILABLE)

    async def subscribe(self, user: str, topic: str, client: str) -> None:
        """Subscribes sessions on every node."""
        self._node.rule(topic)
        await self._order(Order("subscribe", user, client, topic))

    async def unsubscribe(self, user: str, topic: str, client: str) -> None:
        """Takes a subscription away on every node."""
        await self._order(Order("unsubscribe", user, client, topic, 2000, "server unsubscribe"))

    async def disconnect(self, user: str, client: str, code: int, reason: str) -> None:
        """Ends sessions on every node."""
        await self._order(Order("disconnect", user, client, "", code, reason))

    async def revoke(
        self,
        user: str | None,
        token_id: str | None,
        issued_before: float | None,
        topic: str | None,
        until: float | None,
    ) -> None:
        """Revokes on every node."""
        entry = revocable(
            self._node.clock(),
            user=user,
            token_id=token_id,
            issued_before=issued_before,
            topic=topic,
            until=until,
        )
        await self._node.revoking.revoke(entry)

    async def unrevoke(
        self, user: str | None, token_id: str | None, issued_before: bool, topic: str | None
    ) -> bool:
        """Lifts on every node."""
        return await self._node.revoking.lift(
            key_of(user=user, token_id=token_id, dated=issued_before, topic=topic)
        )

    async def _order(self, order: Order) -> None:
        with _broker_told():
            await self._node.order(order)

    async def allowed(self, identity: Identity, action: str, topic: str) -> bool:
        """Asks the rules; a topic that nothing declares allows nothing."""
        return self._node.may(identity, action, topic)

    def subscribers(self, topic: str) -> int:
        """Subscriptions on this node."""
        return self._node.router.subscribers(topic)

    def database(self) -> AbstractAsyncContextManager[Any]:
        """A database session."""
        return self._database.session()

    def lease(self, plugin: str, name: str) -> AbstractAsyncContextManager[Lease]:
        """Holds a plugin's lease."""
        return self._leases.hold(_lease_name(plugin, name))

    def try_lease(self, plugin: str, name: str) -> AbstractAsyncContextManager[Lease | None]:
        """Holds it if it is free."""
        return self._leases.try_hold(_lease_name(plugin, name))

    async def fetch(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, seconds: float, max_bytes: int
    ) -> Fetched:
        """Asks another server."""
        async with self._fetching:
            return await self._egress.fetch(
                method, url, headers=headers, body=body, seconds=seconds, max_bytes=max_bytes
            )

    def node(self) -> NodeStats:
        """This node's counts."""
        node = self._node
        return NodeStats(
            node=node.id,
            uptime=node.clock() - node.started,
            clients=len(node.sessions),
            users=node.sessions.users,
            subscriptions=int(metrics.total(metrics.SUBSCRIPTIONS)),
            topics=len(node.router.topics()),
            requests=int(metrics.total(metrics.REQUESTS) + metrics.total(metrics.CONNECTS)),
            publications=int(metrics.total(metrics.PUBLICATIONS)),
            deliveries=int(metrics.total(metrics.DELIVERIES)),
        )

    def now(self) -> float:
        """The hub's clock."""
        return self._node.clock()


def _lease_name(plugin: str, name: str) -> str:
    """No two plugins share one: the names of plugins have no colon."""
    if not 0 < len(name) <= 100:
        raise ValueError("the name of a lease has 1 to 100 characters")
    return f"plugin:{plugin}:{name}"


@contextmanager
def _broker_told() -> Iterator[None]:
    """Tells plugins of a broker's failure as they know failures: ReplyError 100, or 300 for what may be stored."""
    try:
        yield
    except BrokerError as error:
        raise broker_refusal(error) from error
