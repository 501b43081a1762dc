"""What happens on the chat's topics, and its RPC."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from pydantic import BaseModel, ConfigDict

from hub.plugin import Context, Publication, validated
from hub_chat import kicks, messages, rooms
from hub_chat.kicks import Pardon, RoomKick
from hub_chat.messages import RoomHistory, Sent
from hub_chat.settings import ChatSettings


class Typing(BaseModel):
    """Whether the sender is typing."""

    model_config = ConfigDict(extra="forbid", strict=True)

    typing: bool


async def enter(ctx: Context[ChatSettings]) -> None:
    """Lets a subscriber into a room."""
    room = ctx.params["room"]
    rooms.topic_of(room)
    await rooms.demand_known(ctx, room)


async def say(ctx: Context[ChatSettings], pub: Publication) -> Publication:
    """Stores a message before it is sent; what cannot be stored is not sent.

    A retry (the same nonce, or the same idempotency key of an HTTP publish) finds the message of then, and the key
    that goes with it keeps it from being sent twice.
    """
    room = ctx.params["room"]
    rooms.topic_of(room)
    draft = messages.draft_of(pub)
    message = await messages.store(ctx, room, draft, draft.nonce or _nonce_of(pub.key))
    return pub.replace(data=message.shown(), key=f"chat:{message.id}")


def _nonce_of(key: str) -> str:
    """An idempotency key as a nonce: it may be long, and is nobody else's business."""
    return sha256(key.encode()).hexdigest() if key else ""


async def watch_typing(ctx: Context[ChatSettings]) -> None:
    """Lets those see who is typing who may see the messages."""
    room = ctx.params["room"]
    await rooms.demand(ctx, "subscribe", room)
    await rooms.demand_known(ctx, room)


async def typing(ctx: Context[ChatSettings], pub: Publication) -> Publication:
    """Stamps a typing notice with its sender, who has to be one who may write."""
    room = ctx.params["room"]
    await rooms.demand(ctx, "publish", room)
    notice = validated(Typing, pub.raw)
    stamped = {"kind": "typing", "room": room, "user": ctx.user, "name": messages.name_of(ctx)}
    return pub.replace(data={**stamped, "typing": notice.typing})


async def rpc_send(ctx: Context[ChatSettings], data: Any) -> dict[str, Any]:
    """chat.send: publishes in a room and returns the message."""
    sent = validated(Sent, data)
    return await messages.send(ctx, sent.room, sent)


async def rpc_history(ctx: Context[ChatSettings], data: Any) -> dict[str, Any]:
    """chat.history: stored messages of a room."""
    wanted = validated(RoomHistory, data)
    return await messages.page(ctx, wanted.room, wanted)


async def rpc_rooms(ctx: Context[ChatSettings], data: Any) -> dict[str, Any]:
    """chat.rooms: the rooms that there are."""
    return await rooms.page(ctx, data)


async def rpc_kick(ctx: Context[ChatSettings], data: Any) -> dict[str, Any]:
    """chat.kick: takes a user out of a room."""
    wanted = validated(RoomKick, data)
    await kicks.kick(ctx, wanted.room, wanted)
    return {}


async def rpc_pardon(ctx: Context[ChatSettings], data: Any) -> dict[str, Any]:
    """chat.pardon: lets a user back in."""
    wanted = validated(Pardon, data)
    return {"pardoned": await kicks.pardon(ctx, wanted.room, wanted.user)}
