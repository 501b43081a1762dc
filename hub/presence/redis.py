"""Presence on Redis, common to all nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from hub.errors import HubError
from hub.model import ClientInfo, PresenceStats
from hub.presence.base import Presence
from hub.presence.redis_scripts import GET, KEEP, REMOVE, STATS, ScriptRunner

TIMEOUT_SECONDS: Final = 3.0
CONNECT_SECONDS: Final = 2.0
CHUNK: Final = 200
"""Clients renewed by one run of the script at most, so that Redis is not held up."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(tuple[bytes | None, bytes | None])


class RedisPresence(Presence):
    """Entries with leases of `lease` seconds by the clock of Redis.

    `server` is a URL, or a client of redis-py in its RESP2 form, which the caller closes. All answers come within a few
    seconds or as BrokerError. Raises HubError for a URL that cannot be used.
    """

    def __init__(self, server: str | Redis, *, prefix: str, node: str, lease: float) -> None:
        self._owned = isinstance(server, str)
        self._client = _client(server) if isinstance(server, str) else server
        self._prefix = prefix
        self._lease = max(1, int(lease * 1000))
        self._changes = ScriptRunner(self._client, TIMEOUT_SECONDS)
        self._reads = ScriptRunner(self._client, TIMEOUT_SECONDS)

    async def stop(self) -> None:
        """Ends the connections; entries of other nodes stay."""
        await asyncio.gather(self._changes.close(), self._reads.close())
        if self._owned:
            await self._client.aclose()

    async def add(self, topic: str, info: ClientInfo) -> None:
        """Enters a client, or renews it with this info."""
        await self._changes.run(KEEP, self._keys(topic), self._lease, *_entry(info))

    async def remove(self, topic: str, client: str, user: str) -> None:  # the entry says it
        """Takes a client out; an unknown one is no error."""
        await self._changes.run(REMOVE, self._keys(topic), client)

    async def keep(self, entries: Mapping[str, list[ClientInfo]]) -> None:
        """Renews leases, all in few round trips."""
        runs = []
        for topic, infos in entries.items():
            keys = self._keys(topic)
            for at in range(0, len(infos), CHUNK):
                pairs = [part for info in infos[at : at + CHUNK] for part in _entry(info)]
                runs.append(self._changes.run(KEEP, keys, self._lease, *pairs))
        await asyncio.gather(*runs)

    async def get(self, topic: str) -> Mapping[str, ClientInfo]:
        """The clients by id."""
        found = await self._reads.run(GET, self._keys(topic))
        return {
            client.decode(): _info(client, entry)
            for client, entry in zip(found[::2], found[1::2], strict=True)
        }

    async def stats(self, topic: str) -> PresenceStats:
        """Counts."""
        clients, users = await self._reads.run(STATS, self._keys(topic))
        return PresenceStats(clients, users)

    def _keys(self, topic: str) -> list[bytes]:
        """The topic's three keys, in the same braces, so that a cluster keeps them in one place; no other topic's."""
        tag = topic.replace("%", "%25").replace("}", "%7D")
        return [
            f"{self._prefix}:{kind}:{{{tag}}}".encode("utf-8", "surrogatepass") for kind in ("pe", "pl", "pu")
        ]


def _client(url: str) -> Redis:
    try:
        client = Redis.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        client.connection_pool.make_connection()  # type: ignore[no-untyped-call]  # tells of unknown options
    except (ValueError, TypeError) as error:
        raise HubError(f"the Redis URL cannot be used: {error}") from None
    return client


def _entry(info: ClientInfo) -> tuple[str, bytes]:
    """A client's id and its entry: the user with its length in front, for the scripts; then the rest as JSON."""
    user = info.user.encode("utf-8", "surrogatepass")
    return info.client, b"%d:%s%s" % (len(user), user, _encoder.encode((info.conn_info, info.chan_info)))


def _info(client: bytes, entry: bytes) -> ClientInfo:
    size, _, rest = entry.partition(b":")
    end = int(size)
    return ClientInfo(
        rest[:end].decode("utf-8", "surrogatepass"), client.decode(), *_decoder.decode(rest[end:])
    )
