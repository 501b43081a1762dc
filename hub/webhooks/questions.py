"""What a webhook is asked: the JSON body of the request, one shape for every event."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from hub.model import Publication
from hub.plugin import Context

_encode = msgspec.json.Encoder().encode


def question(
    event: str, node: str, ctx: Context[Any], arguments: Sequence[Any], headers: Collection[str]
) -> bytes:
    """The body for a call of a handler with these arguments.

    `headers` are the names, in lower case, of those that a connect webhook is told of the client's own request.
    """
    asked: dict[str, Any] = {"event": event, "node": node, "client": ctx.client, "user": ctx.user}
    if ctx.identity.info is not None:
        asked["info"] = msgspec.Raw(ctx.identity.info)
    if ctx.topic:
        asked |= {"topic": ctx.topic, "params": dict(ctx.params)}
    if event == "publish":
        asked |= _of_publication(arguments[0])
    elif event == "rpc":
        asked |= {"method": ctx.method, "data": arguments[0]}
    elif event == "connect" and ctx.request is not None:
        request = ctx.request
        asked["request"] = {
            "path": request.path,
            "query": request.query,
            "headers": {name: text for name, text in request.headers.items() if name in headers},
            "cookies": request.cookies,
            "origin": request.origin,
            "address": request.address,
            "secure": request.secure,
        }
    return _encode(asked)


def _of_publication(publication: Publication) -> dict[str, Any]:
    told: dict[str, Any] = {"data": msgspec.Raw(publication.raw)}
    if publication.tags:
        told["tags"] = publication.tags
    if publication.key:
        told["key"] = publication.key
    return told
