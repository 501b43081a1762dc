"""Which extension of WebSocket a connection has: compression of messages (permessage-deflate, RFC 7692), or none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from hub.protocol.deflate import MIN_WINDOW_BITS

MAX_WINDOW_BITS: Final = 15
_NAME: Final = b"permessage-deflate"
_BITS: Final = {b"%d" % bits: bits for bits in range(8, MAX_WINDOW_BITS + 1)}
_FLAGS: Final = frozenset({b"server_no_context_takeover", b"client_no_context_takeover"})
_CLIENT_BITS: Final = b"client_max_window_bits"
_SERVER_BITS: Final = b"server_max_window_bits"


class Agreement(NamedTuple):
    """What the hub answers to an offer, and how far back what it sends may look: 2 ** `window_bits` bytes."""

    answer: bytes
    window_bits: int


def agree(headers: Iterable[tuple[bytes, bytes]]) -> Agreement | None:
    """The first offer of compression that can be met; None without one.

    The answer forbids both sides to refer to earlier messages, so that neither has to keep anything of them. Offers
    with parameters that are unknown, repeated or out of bounds are passed over (RFC 7692 §7.1).
    """
    for name, value in headers:
        if name == b"sec-websocket-extensions":
            for offer in value.split(b","):
                found = _meet(offer)
                if found is not None:
                    return found
    return None


def _meet(offer: bytes) -> Agreement | None:
    name, *parameters = (part.strip() for part in offer.split(b";"))
    if name.lower() != _NAME:
        return None
    window_bits, answer = MAX_WINDOW_BITS, _NAME + b"; server_no_context_takeover; client_no_context_takeover"
    seen: set[bytes] = set()
    for parameter in parameters:
        key, has_value, value = parameter.partition(b"=")
        key, value = key.strip(), _unquoted(value.strip())
        if key in seen or not _valid(key, value if has_value else None):
            return None
        seen.add(key)
        if key == _SERVER_BITS:
            window_bits = _BITS[value]
            answer += b"; server_max_window_bits=" + value
    return Agreement(answer, window_bits) if window_bits >= MIN_WINDOW_BITS else None


def _valid(key: bytes, value: bytes | None) -> bool:
    if key in _FLAGS:
        return value is None
    if key == _CLIENT_BITS:
        return value is None or value in _BITS
    return key == _SERVER_BITS and value in _BITS


def _unquoted(value: bytes) -> bytes:
    return value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b'"' else value
