"""How a client is written down in Redis."""

from __future__ import annotations

from typing import Final

import msgspec

from hub.model import ClientInfo
from hub.presence.redis.keys import to_bytes, to_text

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(tuple[bytes | None, bytes | None])
_BARE: Final = _encoder.encode((None, None))


def pack(owner: bytes, info: ClientInfo) -> bytes:
    """Owner and user with their lengths in front, for the scripts; then the rest as JSON."""
    user = to_bytes(info.user)
    rest = _encoder.encode((info.conn_info, info.chan_info))
    return b"%d:%s%d:%s%s" % (len(owner), owner, len(user), user, rest)


def unpack(client: bytes, entry: bytes) -> ClientInfo:
    """The client of an entry."""
    size, _, rest = entry.partition(b":")
    size, _, rest = rest[int(size) :].partition(b":")
    end = int(size)
    user, rest = to_text(rest[:end]), rest[end:]
    if rest == _BARE:
        return ClientInfo(user, to_text(client))
    return ClientInfo(user, to_text(client), *_decoder.decode(rest))


def unpack_all(pairs: list[bytes]) -> list[ClientInfo]:
    """The clients of a list in which ids and entries take turns."""
    return [unpack(client, entry) for client, entry in zip(pairs[::2], pairs[1::2], strict=True)]
