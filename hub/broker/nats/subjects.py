"""The names of a topic's subjects in NATS."""

from __future__ import annotations

from dataclasses import dataclass

from hub.nats.token import digest_of, token_of


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
        return f"{self.prefix}.i.{token_of(topic)}.{digest_of(key)}"
