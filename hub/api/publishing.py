"""Publishing over the server API.

A broadcast is so many publishes: a key that may publish on a topic may broadcast to it.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec

from hub.api.desk import Desk, demand, in_slices, told
from hub.auth.api_keys import ApiKey
from hub.errors import BAD_REQUEST, HubError, ReplyError
from hub.protocol import server_api as wire
from hub.protocol.json_codec import compact, payload


async def publish(desk: Desk, key: ApiKey, request: wire.Publish) -> wire.PublishResult:
    """Publishes on one topic."""
    topic = request.channel or ""
    demand(key, topic, "publish")
    return await _publish(desk, topic, _payload(request), request)


async def broadcast(desk: Desk, key: ApiKey, request: wire.Broadcast) -> dict[str, list[dict[str, Any]]]:
    """Publishes the same on several topics; each has an answer of its own."""
    if not request.channels:
        raise ReplyError(BAD_REQUEST, "bad request: channels is missing or empty")
    raw = _payload(request)

    async def one(topic: str) -> dict[str, Any]:
        try:
            demand(key, topic, "broadcast", "publish")
            return {"result": await _publish(desk, topic, raw, request)}
        except HubError as error:
            return {"error": told(error)}

    return {"responses": await in_slices([partial(one, topic) for topic in request.channels])}


def _payload(request: wire.Payload) -> bytes:
    """The JSON to publish, on one line."""
    if request.b64data is not None:
        try:
            request.b64data.decode()
            msgspec.json.decode(request.b64data, type=msgspec.Raw)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ReplyError(
                BAD_REQUEST, "bad request: b64data holds no JSON; other payloads are not offered"
            ) from error
        return compact(request.b64data)
    raw = payload(request.data)
    if raw is None:
        raise ReplyError(BAD_REQUEST, "bad request: data is missing")
    return raw


async def _publish(desk: Desk, topic: str, raw: bytes, request: wire.Payload) -> wire.PublishResult:
    result = await desk.node.router.publish(
        topic,
        raw,
        tags=request.tags,
        idempotency_key=request.idempotency_key or "",
        version=request.version or 0,
        version_epoch=request.version_epoch or "",
        skip_history=bool(request.skip_history),
    )
    at = result.position
    return wire.PublishResult() if at is None else wire.PublishResult(at.offset, at.epoch)
