"""Where presence lies in Redis."""

from __future__ import annotations


class Keys:
    """The keys of one hub, which all begin with its prefix.

    Those of a topic are in the same braces, so that a cluster keeps them in one place, and no other topic's are the
    same; so are those of the leases.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.leases = [self._key(kind, "leases") for kind in ("ph", "ps", "pt", "pp")]
        self.places = self.leases[3]

    def topic(self, topic: str) -> list[bytes]:
        """A topic's entries, users and members."""
        tag = topic.replace("%", "%25").replace("}", "%7D")
        return [self._key(kind, tag) for kind in ("pc", "pw", "pm")]

    def _key(self, kind: str, tag: str) -> bytes:
        return to_bytes(f"{self._prefix}:{kind}:{{{tag}}}")


def place(owner: bytes, topic: str) -> bytes:
    """What stands for a topic on which an owner may have clients."""
    return owner + b"\0" + to_bytes(topic)


def to_bytes(text: str) -> bytes:
    """Any text, half a surrogate pair included."""
    return text.encode("utf-8", "surrogatepass")


def to_text(found: bytes) -> str:
    """The reverse."""
    return found.decode("utf-8", "surrogatepass")
