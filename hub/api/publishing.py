"""Publishing over the server API.

A broadcast is so many publishes: a key that may publish on a topic may broadcast to it.
"""

from __future__ import annotations

from hub.api.desk import Desk, Told, demand, in_slices
from hub.auth.api_keys import ApiKey
from hub.errors import BAD_REQUEST, ReplyError
from hub.handlers import TopicRule
from hub.model import Position
from hub.payloads import fault
from hub.protocol import server_api as wire
from hub.protocol.json_codec import compact, payload


async def publish(desk: Desk, key: ApiKey, request: wire.Publish) -> wire.PublishResult:
    """Publishes on one topic."""
    topic = request.channel or ""
    demand(key, topic, "publish")
    return await _publish(desk, topic, _payload(request), request)


def publish_now(desk: Desk, key: ApiKey, request: wire.Publish) -> wire.PublishResult | None:
    """As `publish`, where nothing has to be waited for; None, and nothing done, elsewhere."""
    topic = request.channel or ""
    rule = desk.publishable.get((key.name, topic))
    if rule is None:
        demand(key, topic, "publish")
    raw = _payload(request)
    if rule is None:
        rule = desk.node.rule(topic)[0]
        desk.remember(key, topic, rule)
    return _publish_now(desk, rule, topic, raw, request)


async def broadcast(desk: Desk, key: ApiKey, request: wire.Broadcast) -> dict[str, list[Told]]:
    """Publishes the same on several topics; each has an answer of its own."""
    if not request.channels:
        raise ReplyError(BAD_REQUEST, "bad request: channels is missing or empty")
    desk.node.meters.request(key.name, len(request.channels) - 1)
    raw = _payload(request)

    def now(topic: str) -> Told | None:
        if not desk.node.router.prompt:
            return None
        demand(key, topic, "broadcast", "publish")
        result = _publish_now(desk, desk.node.rule(topic)[0], topic, raw, request)
        return None if result is None else {"result": result}

    async def later(topic: str) -> Told:
        demand(key, topic, "broadcast", "publish")
        return {"result": await _publish(desk, topic, raw, request)}

    return {"responses": await in_slices(request.channels, now, later)}


def _payload(request: wire.Payload) -> bytes:
    """The JSON to publish, on one line."""
    if request.b64data is not None:
        if fault(request.b64data):
            raise ReplyError(
                BAD_REQUEST, "bad request: b64data holds no JSON; other payloads are not offered"
            )
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
    return _placed(result.position)


def _publish_now(
    desk: Desk, rule: TopicRule, topic: str, raw: bytes, request: wire.Payload
) -> wire.PublishResult | None:
    result = desk.node.router.publish_now(
        topic,
        rule,
        raw,
        tags=request.tags,
        idempotency_key=request.idempotency_key or "",
        version=request.version or 0,
        version_epoch=request.version_epoch or "",
        skip_history=bool(request.skip_history),
    )
    return None if result is None else _placed(result.position)


def _placed(at: Position | None) -> wire.PublishResult:
    return wire.PublishResult() if at is None else wire.PublishResult(at.offset, at.epoch)
