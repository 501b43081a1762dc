"""How refusals look over plain HTTP, wherever no SDK is in between: the curl-first API and event streams.

One body for all: `{"error": {"code", "name", "message", "topic"}}`, under the HTTP status that fits; a payload that
breaks its topic's schema also has its `pointer`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Final

from hub.errors import (
    ALREADY_SUBSCRIBED,
    BAD_REQUEST,
    CONFLICT,
    EXPIRED,
    INTERNAL,
    LIMIT_EXCEEDED,
    METHOD_NOT_FOUND,
    NOT_AVAILABLE,
    OUTCOME_UNKNOWN,
    PERMISSION_DENIED,
    REPLY_CODES,
    SHUTDOWN,
    SOCKET_BAD_TOKEN,
    SOCKET_BAD_TOPIC,
    SOCKET_LIMIT,
    SOCKET_NOT_ALLOWED,
    TOKEN_EXPIRED,
    TOO_MANY_REQUESTS,
    UNAUTHORIZED,
    UNKNOWN_TOPIC,
    UNRECOVERABLE,
    BrokerError,
    Code,
    Disconnect,
    HubError,
    InvalidPayload,
    KeysUnavailable,
    ReplyError,
    StoreError,
    TooManyRequests,
    TopicError,
    broker_refusal,
)
from hub.protocol.json_codec import encode

_TEMPORARY: Final = frozenset({429, 503, 504})
RETRY_AFTER: Final = {"Retry-After": "1"}
NO_STORE: Final = {"Cache-Control": "no-store"}
_CODES: Final = {code.number: code for code in REPLY_CODES}
_STATUSES: Final = {
    INTERNAL.number: 500,
    UNAUTHORIZED.number: 401,
    UNKNOWN_TOPIC.number: 404,
    PERMISSION_DENIED.number: 403,
    METHOD_NOT_FOUND.number: 404,
    ALREADY_SUBSCRIBED.number: 409,
    LIMIT_EXCEEDED.number: 429,
    BAD_REQUEST.number: 400,
    NOT_AVAILABLE.number: 404,
    TOKEN_EXPIRED.number: 401,
    EXPIRED.number: 401,
    TOO_MANY_REQUESTS.number: 429,
    UNRECOVERABLE.number: 416,
    CONFLICT.number: 409,
    OUTCOME_UNKNOWN.number: 504,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refused request as HTTP; `topic` and `pointer` are left out where they are empty."""

    status: int
    code: int
    name: str
    message: str
    pointer: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in _TEMPORARY

    def body(self, topic: str = "") -> bytes:
        """The JSON to send."""
        told: dict[str, object] = {"code": self.code, "name": self.name, "message": self.message}
        if topic:
            told["topic"] = topic
        if self.pointer:
            told["pointer"] = self.pointer
        return encode({"error": told})


def refused(code: Code, status: int, message: str = "") -> Refusal:
    """A refusal that has a status of its own; without a message it is told by the code's sentence."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else RETRY_AFTER if status in _TEMPORARY else {}
    return Refusal(status, code.number, code.name, message or code.sentence, headers=dict(headers))


def refusal(error: HubError) -> Refusal:
    """What an error of the hub becomes."""
    if isinstance(error, InvalidPayload):
        return Refusal(422, error.code, "payload_invalid", error.message, error.pointer)
    if isinstance(error, TooManyRequests):
        return replace(_of_reply(error), headers={"Retry-After": str(retry_after(error))})
    if isinstance(error, ReplyError):
        return _of_reply(error)
    if isinstance(error, TopicError):
        return refused(BAD_REQUEST, 400, f"bad request: {error}")
    if isinstance(error, BrokerError):
        return _of_broker(error)
    if isinstance(error, StoreError):
        return refused(INTERNAL, 503, "the database does not answer; try again later")
    if isinstance(error, Disconnect):
        return _of_disconnect(error)
    return refused(INTERNAL, 500)


def retry_after(error: TooManyRequests) -> int:
    """Whole seconds until it may be tried again, at least 1."""
    return max(1, math.ceil(error.seconds))


def _of_broker(error: BrokerError) -> Refusal:
    told = broker_refusal(error)
    code = _CODES[told.code]
    return refused(code, 503 if code is INTERNAL else _STATUSES[code.number], told.message)


def _of_reply(error: ReplyError) -> Refusal:
    if isinstance(error, KeysUnavailable) or (
        error.code == INTERNAL.number and isinstance(error.__cause__, BrokerError)
    ):
        return refused(INTERNAL, 503, error.message)
    code = _CODES.get(error.code)
    if code is None:
        headers = dict(RETRY_AFTER) if error.temporary else {}
        return Refusal(_plugin_status(error.code), error.code, "refused", error.message, headers=headers)
    return refused(code, _STATUSES[code.number], "" if error.message == code.message else error.message)


def _plugin_status(code: int) -> int:
    """A plugin chooses its status by its number: 1404 is a 404, whatever is not from 1400 to 1499 a 422."""
    return code - 1_000 if 1_400 <= code < 1_500 else 422


def _of_disconnect(end: Disconnect) -> Refusal:
    """A plain session ends with a code of its socket; what was behind it says more."""
    if end.code == SOCKET_BAD_TOKEN.number:
        return refused(UNAUTHORIZED, 401, end.reason)
    if end.code == SHUTDOWN.number:
        return refused(INTERNAL, 503, "the node is stopping; connect again")
    cause = end.__cause__
    if end.code == SOCKET_LIMIT.number and isinstance(cause, Disconnect):
        return refused(TOO_MANY_REQUESTS, 429, "too many connections of this user")
    if isinstance(cause, BrokerError):
        # Nothing was to be stored, so nothing is unknown.
        return refused(INTERNAL, 503, "the broker is away; try again later")
    if isinstance(cause, ReplyError) and end.code == SOCKET_NOT_ALLOWED.number and cause.code >= 400:
        return Refusal(403, cause.code, "refused", cause.message)
    if isinstance(cause, HubError):
        return refusal(cause)
    if end.code == SOCKET_BAD_TOPIC.number:
        return refused(BAD_REQUEST, 400, f"bad request: {end.reason}")
    return refused(PERMISSION_DENIED, 403, end.reason)


def cors(origin: str | None, *, cookies: bool = False) -> dict[str, str]:
    """What lets a page of an origin that was found to be allowed read the answer; nothing without an origin.

    With `cookies` it may read that to a request with which it has sent its visitor's.
    """
    if origin is None:
        return {}
    found = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
    return {**found, "Access-Control-Allow-Credentials": "true"} if cookies else found


def preflight(origin: str | None, methods: str) -> dict[str, str]:
    """The headers of the answer to a browser's question before a request with headers of its own."""
    return {
        **cors(origin),
        "Allow": methods,
        "Access-Control-Allow-Methods": methods,
        "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, Last-Event-ID, X-API-Key",
        "Access-Control-Max-Age": "600",
    }
