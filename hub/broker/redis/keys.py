"""The names of a topic's keys and channel in Redis."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Names:
    """Maps topics to names so that no two topics, however written, share one.

    All keys of a topic hold it in the same braces, so that a cluster keeps them in one place. Channels are common to
    all databases of a server, so theirs hold the database's number.
    """

    prefix: str
    db: int

    def meta(self, topic: str) -> bytes:
        """The key of the topic's position and version."""
        return self._name("m", topic)

    def stream(self, topic: str) -> bytes:
        """The key of the topic's kept publications."""
        return self._name("s", topic)

    def result(self, topic: str, idempotency_key: str) -> bytes:
        """The key of what became of a publish."""
        return self._name("i", topic) + b":" + idempotency_key.encode("utf-8", "surrogatepass")

    def channel(self, topic: str) -> bytes:
        """The channel on which the topic's publications travel."""
        return self._name(f"p{self.db}", topic)

    def _name(self, kind: str, topic: str) -> bytes:
        tag = topic.replace("%", "%25").replace("}", "%7D")
        return f"{self.prefix}:{kind}:{{{tag}}}".encode("utf-8", "surrogatepass")
