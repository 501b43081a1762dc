"""What a webhook is asked: the JSON body of the request, one shape for every event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from hub.credentials import ClientRequest
from hub.model import Publication
from hub.plugin import Context

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Shown:
    """What connect webhooks are shown of a client's own request, by name; names of headers in lower case."""

    headers: frozenset[str] = frozenset()
    cookies: frozenset[str] = frozenset()

    def of(self, request: ClientRequest) -> dict[str, Any]:
        """The part of a request that may be shown."""
        return {
            "path": request.path,
            "query": request.query,
            "headers": _chosen(request.headers, self.headers),
            "cookies": _chosen(request.cookies, self.cookies),
            "origin": request.origin,
            "address": request.address,
            "secure": request.secure,
        }


def question(event: str, node: str, ctx: Context[Any], arguments: Sequence[Any], shown: Shown) -> bytes:
    """The body for a call of a handler with these arguments."""
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
        asked["request"] = shown.of(ctx.request)
    return _encode(asked)


def _of_publication(publication: Publication) -> dict[str, Any]:
    told: dict[str, Any] = {"data": msgspec.Raw(publication.raw)}
    if publication.tags:
        told["tags"] = publication.tags
    if publication.key:
        told["key"] = publication.key
    return told


def _chosen(values: Mapping[str, str], names: frozenset[str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name in names}
