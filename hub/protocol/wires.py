"""How publications look to each kind of client: one shared object per kind, by which the router groups subscribers."""

from __future__ import annotations

from functools import cache

from hub.model import Publication
from hub.protocol.deflate import WINDOW_BITS, shared_text_frame
from hub.protocol.frames import text_frame
from hub.protocol.json_codec import bare_publication, publication_push


class JsonFrames:
    """The client protocol on a socket written directly: replies joined by newlines in one WebSocket frame."""

    separator = b""

    def publication(self, topic: str, publication: Publication) -> bytes:
        """A push."""
        return publication_push(topic, publication)

    def alone(self, topic: str, publication: Publication) -> bytes:
        """A push in a frame of its own."""
        return text_frame(publication_push(topic, publication))

    def join(self, pieces: list[bytes]) -> bytes:
        """One frame."""
        return text_frame(pieces[0] if len(pieces) == 1 else b"\n".join(pieces))

    def share(self, pieces: list[bytes]) -> bytes:
        """The same."""
        return self.join(pieces)


class CompressedJsonFrames(JsonFrames):
    """The client protocol where compression was agreed: what is shared is compressed, one session's own is not."""

    def __init__(self, window_bits: int) -> None:
        """The peers look back 2 ** `window_bits` bytes."""
        self._window_bits = window_bits

    def alone(self, topic: str, publication: Publication) -> bytes:
        """A push in a frame of its own."""
        return shared_text_frame(publication_push(topic, publication), self._window_bits)

    def share(self, pieces: list[bytes]) -> bytes:
        """One frame."""
        return shared_text_frame(pieces[0] if len(pieces) == 1 else b"\n".join(pieces), self._window_bits)


class JsonText(JsonFrames):
    """The client protocol through an ASGI server, which makes the frames itself."""

    separator = b"\n"

    def alone(self, topic: str, publication: Publication) -> bytes:
        """The text of a frame of its own."""
        return publication_push(topic, publication)

    def join(self, pieces: list[bytes]) -> bytes:
        """The text of one frame."""
        return b"\n".join(pieces)


class PlainText:
    """A plain socket through an ASGI server: the payload of a publication is the text of a frame."""

    separator = b""

    def publication(self, topic: str, publication: Publication) -> bytes | None:
        """The payload as text; None for joins and leaves, of which plain sockets know nothing."""
        return publication.text.encode() if publication.kind == "pub" else None

    def alone(self, topic: str, publication: Publication) -> tuple[bytes, ...] | None:
        """The same as the text of one frame."""
        piece = self.publication(topic, publication)
        return None if piece is None else (piece,)

    def join(self, pieces: list[bytes]) -> tuple[bytes, ...]:
        """The texts of several frames."""
        return tuple(pieces)

    def share(self, pieces: list[bytes]) -> tuple[bytes, ...]:
        """The same."""
        return tuple(pieces)


class PlainFrames:
    """A plain socket written directly."""

    separator = b""

    def publication(self, topic: str, publication: Publication) -> bytes | None:
        """The payload as text; None for joins and leaves."""
        return publication.text.encode() if publication.kind == "pub" else None

    def alone(self, topic: str, publication: Publication) -> bytes | None:
        """The same in a frame."""
        return text_frame(publication.text.encode()) if publication.kind == "pub" else None

    def join(self, pieces: list[bytes]) -> bytes:
        """Several frames behind one another."""
        return b"".join(map(text_frame, pieces))

    def share(self, pieces: list[bytes]) -> bytes:
        """The same."""
        return self.join(pieces)


class CompressedPlainFrames(PlainFrames):
    """A plain socket where compression was agreed."""

    def __init__(self, window_bits: int) -> None:
        """The peers look back 2 ** `window_bits` bytes."""
        self._window_bits = window_bits

    def alone(self, topic: str, publication: Publication) -> bytes | None:
        """One frame."""
        piece = self.publication(topic, publication)
        return None if piece is None else shared_text_frame(piece, self._window_bits)

    def share(self, pieces: list[bytes]) -> bytes:
        """Several frames behind one another, each compressed by itself."""
        return b"".join(shared_text_frame(piece, self._window_bits) for piece in pieces)


class OneWayText(PlainText):
    """The one-way client protocol through an ASGI server: each push is the text of a frame."""

    def publication(self, topic: str, publication: Publication) -> bytes:
        """A push without its wrapper."""
        return bare_publication(topic, publication)


class OneWayFrames(PlainFrames):
    """The one-way client protocol on a socket written directly: each push in a frame of its own."""

    def publication(self, topic: str, publication: Publication) -> bytes:
        """A push without its wrapper."""
        return bare_publication(topic, publication)

    def alone(self, topic: str, publication: Publication) -> bytes:
        """The same in a frame."""
        return text_frame(bare_publication(topic, publication))


class CompressedOneWayFrames(CompressedPlainFrames):
    """The one-way client protocol where compression was agreed."""

    def publication(self, topic: str, publication: Publication) -> bytes:
        """A push without its wrapper."""
        return bare_publication(topic, publication)


class EventStream:
    """Server-sent events: `id` carries the position, so that a browser's Last-Event-ID can bring it back."""

    separator = b""

    def publication(self, topic: str, publication: Publication) -> bytes | None:
        """One event; None for joins and leaves."""
        if publication.kind != "pub":
            return None
        text = publication.text.replace("\r\n", "\n").replace("\r", "\n").encode()
        data = b"\n".join(b"data: " + line for line in text.split(b"\n"))
        if not publication.offset:
            return b"%s\n\n" % data
        return b"id: %d:%s\n%s\n\n" % (publication.offset, publication.epoch.encode(), data)

    alone = publication

    def join(self, pieces: list[bytes]) -> bytes:
        """Several events behind one another."""
        return b"".join(pieces)

    def share(self, pieces: list[bytes]) -> bytes:
        """The same."""
        return b"".join(pieces)


JSON_FRAMES = JsonFrames()
JSON_TEXT = JsonText()
PLAIN_FRAMES = PlainFrames()
PLAIN_TEXT = PlainText()
ONE_WAY_FRAMES = OneWayFrames()
ONE_WAY_TEXT = OneWayText()
EVENT_STREAM = EventStream()


def json_frames(window_bits: int) -> JsonFrames:
    """The client protocol for a socket on which so large a window was agreed, 0 for no compression."""
    return _compressed_json(min(window_bits, WINDOW_BITS)) if window_bits else JSON_FRAMES


def plain_frames(window_bits: int) -> PlainFrames:
    """The same for plain sockets."""
    return _compressed_plain(min(window_bits, WINDOW_BITS)) if window_bits else PLAIN_FRAMES


def one_way_frames(window_bits: int) -> PlainFrames:
    """The same for one-way clients."""
    return _compressed_one_way(min(window_bits, WINDOW_BITS)) if window_bits else ONE_WAY_FRAMES


# Four of each at most: peers whose windows are larger than the hub's share one.
_compressed_json = cache(CompressedJsonFrames)
_compressed_plain = cache(CompressedPlainFrames)
_compressed_one_way = cache(CompressedOneWayFrames)
