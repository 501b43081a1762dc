"""The names of a topic's subjects in NATS."""

from __future__ import annotations

import re
import string
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

_PLAIN: Final = frozenset((string.ascii_letters + string.digits + "_-:@/+,=~!").encode())
_EMPTY: Final = "%"
_ESCAPED: Final = re.compile(rb"%([0-9A-F]{2})")


def token_of(name: str) -> str:
    """A name as one token of a subject: bytes other than plain ones stand as %XX. No two names share a token."""
    raw = name.encode("utf-8", "surrogatepass")
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in raw) or _EMPTY


def name_of(token: str) -> str:
    """The name whose token it is."""
    if token == _EMPTY:
        return ""
    raw = _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), token.encode())
    return raw.decode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class Subjects:
    """Maps topics to subjects under a prefix that is itself a token."""

    prefix: str

    @property
    def stream(self) -> str:
        """The stream that keeps everything."""
        return f"{self.prefix}-topics"

    @property
    def stored(self) -> list[str]:
        """All that the stream keeps: topics, and results of publishes."""
        return [f"{self.prefix}.h.*", f"{self.prefix}.i.*.*"]

    @property
    def forward(self) -> dict[str, str]:
        """What the stream sends on after storing it, and whither."""
        return {"src": f"{self.prefix}.h.*", "dest": f"{self.prefix}.d.{{{{wildcard(1)}}}}"}

    def kept(self, topic: str) -> str:
        """Where a topic's state and publications are stored."""
        return f"{self.prefix}.h.{token_of(topic)}"

    def live(self, topic: str) -> str:
        """Where a topic's publications travel."""
        return f"{self.prefix}.d.{token_of(topic)}"

    def result(self, topic: str, key: str) -> str:
        """Where the result of a publish is stored; the key may be of any length, so its hash stands for it."""
        digest = blake2b(key.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
        return f"{self.prefix}.i.{token_of(topic)}.{digest}"
