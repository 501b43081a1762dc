"""What the page of `hub dev` asks the hub: a token for whoever the visitor wants to be, and what there is to show.

Such tokens are given to this machine only. Any page may have its own name resolved to 127.0.0.1 and then ask as if it
were one of ours (DNS rebinding); what it cannot do is send another `Host` than its own name.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from hub.api.body import BodyRefused, read_body
from hub.api.explaining import answered
from hub.auth.origin import origin_allowed
from hub.auth.tokens import sign
from hub.errors import BAD_REQUEST, NOT_AVAILABLE, PERMISSION_DENIED, HubError, ReplyError, TopicError
from hub.inquiry import Answer
from hub.model import ANONYMOUS
from hub.node import Node
from hub.protocol.http import NO_STORE, Refusal, refusal, refused
from hub.protocol.json_codec import encode
from hub.protocol.server_api import Explain
from hub.topics import check_topic

TOKEN_SECONDS: Final = 3_600
TOPIC: Final = "lobby"
"""The topic that the page offers for first steps."""
_LONGEST: Final = 100
_MOST_ROLES: Final = 10
_MOST_BYTES: Final = 65_536
_OWN: Final = frozenset({"same-origin", "none"})
_HEADERS: Final = {
    **NO_STORE,
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Signer:
    """What tokens are signed with; `claims` stand in each of them, such as an issuer that the hub asks for."""

    secret: str
    algorithm: str
    claims: Mapping[str, str]


class DevDesk:
    """Answers the page. `signer` is None where the hub has no secret of its own; `host` is where it listens."""

    def __init__(self, node: Node, *, signer: Signer | None, plugins: Iterable[str], host: str) -> None:
        self._node = node
        self._signer = signer
        self._plugins = sorted(plugins)
        self._host = host.lower()

    def token(self, request: Request) -> Mapping[str, Any]:
        """A token: ?user=ann, and ?role=notifier as often as wanted. Raises ReplyError."""
        signer = self._signer
        if signer is None:
            raise ReplyError(NOT_AVAILABLE, "this hub signs no tokens: it has a public key and no secret")
        user, roles = request.query_params.get("user", ""), request.query_params.getlist("role")
        _check(user, roles)
        now = int(self._node.clock())
        claims = {"sub": user, "iat": now, "exp": now + TOKEN_SECONDS, "roles": roles, **signer.claims}
        return {"token": sign(claims, signer.secret, signer.algorithm), "user": user}

    def about(self, _: Request) -> Mapping[str, Any]:
        """Which plugins are on, and what somebody without a token may do on the topic for first steps."""
        may = [action for action in ("subscribe", "publish", "history") if self._anybody_may(action)]
        return {"version": self._node.version, "plugins": self._plugins, "topic": TOPIC, "anybody_may": may}

    async def explain(self, request: Request) -> Answer:
        """Whether somebody may do something; the body is that of the server API's `explain`. Raises HubError."""
        try:
            body = await read_body(request.scope, request.receive, _MOST_BYTES)
            asked = msgspec.json.decode(body, type=Explain)
        except (BodyRefused, ClientDisconnect, msgspec.MsgspecError, RecursionError) as error:
            raise ReplyError(BAD_REQUEST) from error
        return await answered(self._node, asked)

    def answering(
        self, what: Callable[[Request], Mapping[str, Any] | Awaitable[Answer]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """An endpoint that gives the answer to pages of this hub on this machine, and a refusal to all others."""

        async def answer(request: Request) -> Response:
            foreign = self._foreign(request.headers, request.url.scheme)
            if foreign:
                return _refuse(refused(PERMISSION_DENIED, 403, foreign))
            try:
                found = what(request)
                told = found if isinstance(found, Mapping) else await found
                return Response(encode(told), 200, _HEADERS, "application/json")
            except HubError as error:
                return _refuse(refusal(error))

        return answer

    def _anybody_may(self, action: str) -> bool:
        if not self._node.anonymous:
            return False
        try:
            self._node.demand(ANONYMOUS, action, TOPIC)
        except HubError:
            return False
        return True

    def _foreign(self, headers: Headers, scheme: str) -> str:
        """Why the request does not come from a page of this hub on this machine; "" when it does."""
        host = headers.get("host", "")
        if not self._is_ours(host):
            return "the page works on this machine only: open it as localhost, or name its host with --host"
        if not origin_allowed(headers.get("origin"), host, scheme, ()):
            return "only the hub's own page may ask this"
        if headers.get("sec-fetch-site", "none") not in _OWN:
            return "only the hub's own page may ask this"
        return ""

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name == "localhost" or name.endswith(".localhost") or name == self._host:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False


def _check(user: str, roles: Sequence[str]) -> None:
    if not all(0 < len(name) <= _LONGEST for name in (user, *roles)) or len(roles) > _MOST_ROLES:
        raise ReplyError(
            BAD_REQUEST,
            f"bad request: ?user= is a name of 1 to {_LONGEST} characters, and so are up to {_MOST_ROLES} ?role=",
        )
    try:
        check_topic(f"user:{user}")  # who can stand in no topic would have none of their own
    except TopicError as error:
        raise ReplyError(BAD_REQUEST, f"bad request: this cannot be a user: {error}") from error


def _refuse(told: Refusal) -> Response:
    return Response(told.body(), told.status, {**_HEADERS, **told.headers}, "application/json")


def dev_routes(desk: DevDesk) -> list[BaseRoute]:
    """The endpoints of the page."""
    return [
        Route("/dev/token", desk.answering(desk.token), methods=["GET"]),
        Route("/dev/about", desk.answering(desk.about), methods=["GET"]),
        Route("/dev/explain", desk.answering(desk.explain), methods=["POST"]),
    ]
