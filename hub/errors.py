"""Every error of the hub, and every number that may reach a client.

The tree::

    HubError
    ├── ReplyError        a numbered answer to one command (100-399 the hub's, 400-1999 plugins')
    │   ├── InvalidPayload    107 for a payload that breaks its topic's schema
    │   ├── TooManyRequests   111, with the time after which it may be tried again
    │   └── KeysUnavailable   100 for a token while the keys that might verify it cannot be had
    ├── Disconnect        a numbered end of a session (3000-3999 the hub's, 4000-4999 plugins')
    ├── Unsubscribe       a numbered end of one subscription (2000-2999)
    ├── TopicError        a topic name or pattern that the grammar refuses
    ├── InvalidToken      a token that cannot be verified, or is for another topic, user or client
    │   └── UnknownKey        a token whose key a look at the published ones may find
    ├── ExpiredToken      a genuine token whose time has passed
    ├── UnusableKey       a secret, public key or API key that the configuration gives and that cannot serve
    ├── LeaseLost         a lease ended while work ran under it, or might have
    ├── FetchError        another server could not be asked over HTTP, or may not be
    ├── BrokerError       the broker cannot be reached, or did not answer in time
    └── StoreError        the database cannot be used: wrong URL, unreachable, not migrated

Numbers are those of the client protocol, so that its SDKs react as their users expect: below 3500 (and 4000-4499)
they reconnect, from 3500 (and 4500-4999) they stop; an unsubscribe from 2500 makes them subscribe again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TypeAlias

FetchFault: TypeAlias = Literal["refused", "unreachable", "timeout", "too_large", "broken"]
"""What kept a request to another server from an answer: the rules, the network, the clock, its size, its form."""


@dataclass(frozen=True, slots=True)
class Code:
    """A number on the wire with its name, its short wire text and the sentence of the reference page."""

    number: int
    name: str
    message: str
    sentence: str
    temporary: bool = False


INTERNAL = Code(
    100,
    "internal",
    "internal server error",
    "The hub or its broker failed; nothing was published, and the same command may work later.",
    True,
)
UNAUTHORIZED = Code(
    101, "unauthorized", "unauthorized", "The command needs a token or an API key that was not given."
)
UNKNOWN_TOPIC = Code(
    102,
    "unknown_topic",
    "unknown channel",
    "No pattern in the configuration matches the topic's name. Backends and plugins are told so, clients get 103.",
)
PERMISSION_DENIED = Code(
    103,
    "permission_denied",
    "permission denied",
    "The topic's `allow` rules do not admit this identity, or there is no such topic: `hub explain` says which.",
)
METHOD_NOT_FOUND = Code(104, "method_not_found", "method not found", "The API has no method of this name.")
ALREADY_SUBSCRIBED = Code(
    105,
    "already_subscribed",
    "already subscribed",
    "This session holds, or is just making, that subscription.",
)
LIMIT_EXCEEDED = Code(
    106,
    "limit_exceeded",
    "limit exceeded",
    "The session holds as many subscriptions as allowed, or the node as many unused tickets or revocations.",
)
BAD_REQUEST = Code(
    107, "bad_request", "bad request", "A field is missing, of a wrong type, or out of its bounds."
)
NOT_AVAILABLE = Code(
    108, "not_available", "not available", "The feature is switched off for this topic or method."
)
TOKEN_EXPIRED = Code(
    109, "token_expired", "token expired", "The token's `exp` has passed; bring a fresh one."
)
EXPIRED = Code(110, "expired", "expired", "The identity expired without a token being involved.")
TOO_MANY_REQUESTS = Code(
    111,
    "too_many_requests",
    "too many requests",
    "A rate of section `limits` was reached; slow down.",
    True,
)
UNRECOVERABLE = Code(
    112,
    "unrecoverable_position",
    "unrecoverable position",
    "History no longer reaches back to that position.",
)
CONFLICT = Code(113, "conflict", "conflict", "Another call of the same kind is under way.", True)
OUTCOME_UNKNOWN = Code(
    300,
    "outcome_unknown",
    "outcome unknown",
    "The broker did not answer: what was published may have been stored. Try again with the same idempotency key.",
    True,
)

REPLY_CODES = (
    INTERNAL,
    UNAUTHORIZED,
    UNKNOWN_TOPIC,
    PERMISSION_DENIED,
    METHOD_NOT_FOUND,
    ALREADY_SUBSCRIBED,
    LIMIT_EXCEEDED,
    BAD_REQUEST,
    NOT_AVAILABLE,
    TOKEN_EXPIRED,
    EXPIRED,
    TOO_MANY_REQUESTS,
    UNRECOVERABLE,
    CONFLICT,
    OUTCOME_UNKNOWN,
)

SHUTDOWN = Code(3001, "shutdown", "shutdown", "The node stops; connect again and reach another.")
SERVER_ERROR = Code(3004, "server_error", "internal server error", "The session met a fault in the hub.")
CONNECTION_EXPIRED = Code(
    3005, "connection_expired", "connection expired", "The token ran out and was not refreshed."
)
SUBSCRIPTION_EXPIRED = Code(
    3006,
    "subscription_expired",
    "subscription expired",
    "A server-side subscription ran out and was not refreshed.",
)
SLOW = Code(3008, "slow", "slow", "More bytes waited for this client than its limit allows.")
WRITE_ERROR = Code(3009, "write_error", "write error", "The client's connection took no more bytes.")
INSUFFICIENT_STATE = Code(
    3010,
    "insufficient_state",
    "insufficient state",
    "Publications were missed; connect again and recover them.",
)
FORCE_RECONNECT = Code(
    3011, "force_reconnect", "force reconnect", "The server asks the client to connect anew."
)
NO_PONG = Code(3012, "no_pong", "no pong", "The client did not answer a ping in time.")
TOO_MANY_COMMANDS = Code(
    3013,
    "too_many_requests",
    "too many requests",
    "The client kept on over `limits.commands`; gather what it sends, or raise it.",
)
STATE_INVALIDATED = Code(
    3014, "state_invalidated", "state invalidated", "Forget token and positions, then connect again."
)
INVALID_TOKEN = Code(3500, "invalid_token", "invalid token", "The token cannot be verified, or was revoked.")
BAD_FRAME = Code(
    3501, "bad_request", "bad request", "The frame, or the order of commands, breaks the protocol."
)
STALE = Code(3502, "stale", "stale", "No connect command came in time.")
FORCE_DISCONNECT = Code(
    3503, "force_disconnect", "force disconnect", "The server ended the session on purpose."
)
CONNECTION_LIMIT = Code(3504, "connection_limit", "connection limit", "No more connections are admitted.")
TOPIC_LIMIT = Code(
    3505, "topic_limit", "channel limit", "The token asks for more subscriptions than allowed."
)
INAPPROPRIATE_PROTOCOL = Code(
    3506,
    "inappropriate_protocol",
    "inappropriate protocol",
    "The payload cannot be said in the client's encoding.",
)
ACCESS_DENIED = Code(3507, "permission_denied", "permission denied", "The identity may not connect.")
METHOD_OFF = Code(3508, "not_available", "not available", "No handler takes what the client sent.")
TOO_MANY_ERRORS = Code(
    3509, "too_many_errors", "too many errors", "The client kept sending commands that fail."
)

DISCONNECT_CODES = (
    SHUTDOWN,
    SERVER_ERROR,
    CONNECTION_EXPIRED,
    SUBSCRIPTION_EXPIRED,
    SLOW,
    WRITE_ERROR,
    INSUFFICIENT_STATE,
    FORCE_RECONNECT,
    NO_PONG,
    TOO_MANY_COMMANDS,
    STATE_INVALIDATED,
    INVALID_TOKEN,
    BAD_FRAME,
    STALE,
    FORCE_DISCONNECT,
    CONNECTION_LIMIT,
    TOPIC_LIMIT,
    INAPPROPRIATE_PROTOCOL,
    ACCESS_DENIED,
    METHOD_OFF,
    TOO_MANY_ERRORS,
)

UNSUBSCRIBED = Code(
    2000,
    "server_unsubscribe",
    "server unsubscribe",
    "The server took the subscription away, or its right was revoked.",
)
UNSUBSCRIBE_INSUFFICIENT = Code(
    2500,
    "insufficient_state",
    "insufficient state",
    "Publications were missed; subscribe again and recover them.",
)
UNSUBSCRIBE_EXPIRED = Code(
    2501,
    "subscription_expired",
    "subscription expired",
    "The subscription's token ran out and was not refreshed.",
)
UNSUBSCRIBE_INVALIDATED = Code(
    2502, "state_invalidated", "state invalidated", "Forget token and position, then subscribe again."
)

UNSUBSCRIBE_CODES = (UNSUBSCRIBED, UNSUBSCRIBE_INSUFFICIENT, UNSUBSCRIBE_EXPIRED, UNSUBSCRIBE_INVALIDATED)

SOCKET_BAD_TOKEN = Code(
    4001, "socket_bad_token", "invalid token", "The plain socket's token is missing, bad, expired or revoked."
)
SOCKET_NOT_ALLOWED = Code(
    4003, "socket_not_allowed", "permission denied", "The topic does not admit this identity."
)
SOCKET_BAD_TOPIC = Code(
    4004, "socket_bad_topic", "no topic's name", "The name in the path breaks the grammar of topics."
)
SOCKET_TOO_SLOW = Code(
    4008, "socket_too_slow", "slow", "More bytes waited for this socket than its limit allows."
)
SOCKET_LIMIT = Code(
    4009,
    "socket_limit",
    "limit exceeded",
    "A limit was reached, or the client kept on over `limits.commands`.",
)

SOCKET_CODES = (SOCKET_BAD_TOKEN, SOCKET_NOT_ALLOWED, SOCKET_BAD_TOPIC, SOCKET_TOO_SLOW, SOCKET_LIMIT)


class HubError(Exception):
    """The root of all errors that the hub raises on purpose."""


class ReplyError(HubError):
    """Refuses one command with a number; the session goes on.

    Plugins use 400-1999 with a text of their own. `temporary` tells SDKs that the same command may succeed later.
    """

    def __init__(self, code: Code | int, message: str = "", *, temporary: bool | None = None) -> None:
        known = code if isinstance(code, Code) else None
        self.code: int = known.number if known else int(code)  # type: ignore[arg-type]
        self.message: str = message or (known.message if known else "error")
        self.temporary: bool = (known.temporary if known else False) if temporary is None else temporary
        super().__init__(f"{self.code} {self.message}")


class InvalidPayload(ReplyError):
    """Refuses a payload that breaks its topic's schema; `pointer` is the JSON pointer of the place, "" for all."""

    def __init__(self, message: str, pointer: str = "") -> None:
        self.pointer = pointer
        super().__init__(BAD_REQUEST, message)


class KeysUnavailable(ReplyError):
    """Refuses a token for now: nobody can say what it is worth until the published keys have been fetched.

    It is 100 and temporary, so that SDKs keep the token and come back, where an invalid token makes them stop for good.
    """

    def __init__(self) -> None:
        super().__init__(INTERNAL, "the token cannot be verified at the moment; try again later")


class TooManyRequests(ReplyError):
    """Refuses what came too fast (111); `seconds` is how long until it may be tried again."""

    def __init__(self, seconds: float, message: str = "") -> None:
        self.seconds = seconds
        super().__init__(TOO_MANY_REQUESTS, message)


class Disconnect(HubError):
    """Ends a session with a number and a reason of at most 123 bytes of UTF-8.

    Plugins use 4000-4499 (the client reconnects) and 4500-4999 (it stops).
    """

    def __init__(self, code: Code | int, reason: str = "") -> None:
        known = code if isinstance(code, Code) else None
        self.code: int = known.number if known else int(code)  # type: ignore[arg-type]
        self.reason: str = close_reason(reason or (known.message if known else ""))
        super().__init__(f"{self.code} {self.reason}")


class Unsubscribe(HubError):
    """Ends one subscription with a number: below 2500 for good, from 2500 the client subscribes again."""

    def __init__(self, code: Code | int, reason: str = "") -> None:
        known = code if isinstance(code, Code) else None
        self.code: int = known.number if known else int(code)  # type: ignore[arg-type]
        self.reason: str = reason or (known.message if known else "")
        super().__init__(f"{self.code} {self.reason}")


class TopicError(HubError, ValueError):
    """A topic name or pattern that the grammar refuses; the text says which rule and where."""


class InvalidToken(HubError):
    """A token that proves nothing; the text says why, for the log, and never repeats the token.

    `mismatch` is true for a genuine subscription token that is for another topic, user or client: the session then
    ends with 3500, while one that cannot be verified at all refuses the subscription alone.
    """

    def __init__(self, reason: str, *, mismatch: bool = False) -> None:
        self.mismatch = mismatch
        super().__init__(reason)


class UnknownKey(InvalidToken):
    """A token that names a key which is not known here; it may have been published since the last look."""


class ExpiredToken(HubError):
    """A genuine token whose time has passed; the client may come back with a fresh one (109)."""


class UnusableKey(HubError, ValueError):
    """A secret, public key or API key that cannot serve; the text says why and what would do."""


class BrokerError(HubError):
    """The broker cannot be reached or did not answer in time.

    `unknown` is true when the request may have been carried out all the same: a publish that timed out is then
    neither done nor failed, and only a retry with the same idempotency key is safe. `lasting` is true when the broker
    refuses the request for what it is, so that no retry helps.
    """

    def __init__(self, message: str, *, unknown: bool = False, lasting: bool = False) -> None:
        self.unknown = unknown
        self.lasting = lasting
        super().__init__(message)


class LeaseLost(HubError):
    """A lease ended under the work that needed it, which was cancelled: another node may do it now."""


class FetchError(HubError):
    """Another server could not be asked over HTTP, may not be, or did not answer as it must.

    `kind` says which; the text says why, and never repeats the URL, which may hold a secret.
    """

    def __init__(self, kind: FetchFault, message: str) -> None:
        self.kind: FetchFault = kind
        super().__init__(message)


class StoreError(HubError):
    """The database cannot be used as it is: its URL is wrong, it does not answer, it is not migrated.

    The text names the database without its password, what is wrong, and the remedy where there is one. `unknown` is
    true when what was to be stored may have been stored all the same.
    """

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        self.unknown = unknown
        super().__init__(message)


@contextmanager
def repeatable() -> Iterator[None]:
    """Within it is done what may be done again without harm, so that a BrokerError leaves nothing unknown."""
    try:
        yield
    except BrokerError as error:
        if not error.unknown:
            raise
        raise BrokerError(str(error)) from error


def broker_refusal(error: BrokerError) -> ReplyError:
    """What whoever asked is told when the broker failed; what the broker itself said stays in the log.

    300 for what may have been stored; otherwise nothing was: 100 to try again, 107 where that would not help.
    """
    if error.unknown:
        return ReplyError(
            OUTCOME_UNKNOWN, "outcome unknown: it may have been stored; retry with the same idempotency key"
        )
    if error.lasting:
        return ReplyError(BAD_REQUEST, f"bad request: {error}")
    return ReplyError(INTERNAL, "the broker is away; nothing was stored, try again later")


def close_reason(text: str) -> str:
    """Cuts a reason to the 123 bytes a close frame may carry, on a character's border.

    A reason that reads as JSON would be parsed by some SDKs, which then may not reconnect, so it gets a word in front.
    """
    stripped = text.strip()
    if stripped and (stripped[0] in '{["-0123456789' or stripped in {"true", "false", "null"}):
        text = f"reason: {text}"
    return text.encode("utf-8", "replace")[:123].decode("utf-8", "ignore")
