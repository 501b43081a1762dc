"""Taking out of Redis the clients of nodes whose lease has ended."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

from hub.errors import BrokerError
from hub.presence.base import Entry
from hub.presence.redis.entry import unpack_all
from hub.presence.redis.keys import Keys, to_text
from hub.presence.redis.scripts import CLAIM, TAKE
from hub.redis.client import Redis

logger = logging.getLogger(__name__)
PLACES: Final = 50
"""Topics that are swept together at most."""
CHUNK: Final = 200
"""Clients that one run of the script takes out at most, so that Redis is not held up."""
_KNOWN_MS: Final = 86_400_000
"""How long it is known that a lease was taken: a node that was suspended for longer learns that it was lost."""


async def sweep(redis: Redis, keys: Keys, limit: int) -> list[Entry]:
    """Takes at most `limit` clients out, each of which is handed to one caller only. Raises BrokerError.

    Once it has taken some it returns them rather than raise, since nobody else can tell that they are gone.
    """
    gone: list[Entry] = []
    try:
        while len(gone) < limit:
            room = limit - len(gone)
            found = await redis.run(CLAIM, keys.leases, min(PLACES, room), _KNOWN_MS)
            places = list(zip(found[::2], found[1::2], strict=True))
            if not places:
                break
            each = min(CHUNK, room // len(places))
            taken = await asyncio.gather(*(_take(redis, keys, *place, each) for place in places))
            gone += [entry for entries, _ in taken for entry in entries]
            _raise_first(error for _, error in taken)
    except BrokerError as error:
        if not gone:
            raise
        logger.warning("the sweep of nodes that are gone stopped half-way: %s", error)
    return gone


def _raise_first(errors: Any) -> None:
    for error in errors:
        if error is not None:
            raise error


async def _take(
    redis: Redis, keys: Keys, owner: bytes, name: bytes, limit: int
) -> tuple[list[Entry], BrokerError | None]:
    """Takes clients of an owner out of a topic, and forgets the topic once the owner has none there."""
    topic = to_text(name)
    entries: list[Entry] = []
    try:
        left, taken = await redis.run(TAKE, keys.topic(topic), owner, limit)
        entries = [(topic, info) for info in unpack_all(taken)]
        if not left:
            await redis.command(keys.places, "ZREM", keys.places, owner + b"\0" + name)
    except BrokerError as error:
        return entries, error
    return entries, None
