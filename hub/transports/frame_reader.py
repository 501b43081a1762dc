"""Reads WebSocket frames of the client's side (RFC 6455 §5), and gives whole messages.

It holds what has come of a frame and of a fragmented message, and nothing else: no event objects, no copies but the
unmasked payload. What a frame announces is checked before any of its payload is kept. Compressed messages (RFC 7692)
are read where that was agreed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from codecs import IncrementalDecoder, getincrementaldecoder
from typing import Final

from websockets.speedups import apply_mask

from hub.protocol.deflate import InflateError, InflatesTooLargeError, inflate

TEXT: Final = 1
BINARY: Final = 2
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10
_CONTINUATION: Final = 0
_FIN: Final = 0x80
_MASKED: Final = 0x80
_RESERVED: Final = 0x70
_COMPRESSED: Final = 0x40
"""The reserved bit that says so on the first frame of a message."""
_WHOLE_TEXT: Final = _FIN | TEXT
_MAX_CONTROL: Final = 125
SMALL_FRAGMENT: Final = 64
"""Bytes below which a fragment is small: no client gains anything by such."""
PROTOCOL_ERROR: Final = 1002
NO_STATUS: Final = 1005
INVALID_PAYLOAD: Final = 1007
TOO_BIG: Final = 1009
_CLOSE_CODES: Final = frozenset({*range(1000, 1004), *range(1007, 1015)})
_Utf8: Final = getincrementaldecoder("utf-8")


class FrameError(Exception):
    """The peer broke the protocol; `code` (RFC 6455 §7.4.1) and `reason` are to be told, and the connection ended."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason


class FrameReader(ABC):
    """Takes bytes in any pieces and calls a method for each message and control frame.

    A message longer than `message_bytes` is refused as soon as a frame announces it. Subclasses say what messages do;
    when one of their methods closes the connection they set `reading_done`, and what follows is passed over.
    """

    __slots__ = (
        "_body",
        "_head",
        "_kind",
        "_message",
        "_rest",
        "_utf8",
        "message_bytes",
        "reading_done",
        "window_bits",
    )

    def __init__(self, message_bytes: int) -> None:
        self.message_bytes = message_bytes
        self.reading_done = False
        self.window_bits = 0
        """How far back the peer can look, 2 ** so many bytes, where compressed messages were agreed on; else 0."""
        self._rest = b""
        """What has come of the next frame's header."""
        self._head: tuple[int, int, bytes] | None = None
        """First byte, length and mask of the frame whose payload has come in part."""
        self._body: bytearray | None = None
        """That part."""
        self._kind = 0
        """The kind of the fragmented message under way, with the bit of compressed ones; 0 between messages."""
        self._message: bytearray | None = None
        """What has come of a fragmented message."""
        self._utf8: IncrementalDecoder | None = None

    @abstractmethod
    def on_message(self, kind: int, payload: bytes) -> None:
        """A whole message: TEXT (its payload is valid UTF-8) or BINARY."""

    @abstractmethod
    def on_ping(self, payload: bytes) -> None:
        """A ping, to be answered with a pong of the same payload."""

    @abstractmethod
    def on_pong(self, payload: bytes) -> None:
        """A pong, asked for or not."""

    def on_fragment(self) -> None:
        """A small fragment that ends no message, by which a peer may keep the hub busy for next to nothing."""

    @abstractmethod
    def on_close(self, code: int, reason: str) -> None:
        """A close frame; `code` is 1005 when it names none. Nothing is read after it."""

    def feed(self, data: bytes) -> None:
        """Takes what has come. Raises FrameError; nothing must be fed after that."""
        at, size = 0, len(data)
        if self._body is not None:
            at = self._fill(data)
        elif self._rest:
            data, self._rest = self._rest + data, b""
            size = len(data)
        elif size > 6 and data[0] == _WHOLE_TEXT and not self._kind and self._take_alone(data, size):
            return
        while at < size and not self.reading_done:
            found = self._frame(data, at, size)
            if found < 0:
                if self._body is None:
                    self._rest = data[at:]
                return
            at = found

    def _take_alone(self, data: bytes, size: int) -> bool:
        """Takes a text in one frame that came alone, as nearly all do: in half the time. False when it is not one."""
        start, length = 6, data[1] - _MASKED
        if length > _MAX_CONTROL:
            start, length = 8, data[2] << 8 | data[3]
            if data[1] != _MASKED | 126 or length <= _MAX_CONTROL:
                return False
        if start + length != size or length > self.message_bytes or self.reading_done:
            return False
        payload = apply_mask(data[start:], data[start - 4 : start])
        if not payload.isascii():
            _check_utf8(payload)
        self.on_message(TEXT, payload)
        return True

    def _frame(self, data: bytes, at: int, size: int) -> int:
        """Reads the frame that begins here; returns where the next one does, -1 when this one has not come whole."""
        if size - at < 2:
            if size > at:
                self._check_first(data[at])
            return -1
        first, second = data[at], data[at + 1]
        length, start = second & 0x7F, at + 2
        self._check_first(first)
        if not second & _MASKED:
            raise FrameError(PROTOCOL_ERROR, "frames of clients must be masked")
        if length > _MAX_CONTROL:
            width = 2 if length == 126 else 8
            if size - start < width:
                self._check_length(first, length)
                return -1
            announced = int.from_bytes(data[start : start + width], "big")
            if announced < (126 if width == 2 else 65_536) or announced >> 63:
                raise FrameError(PROTOCOL_ERROR, "a length is not in its shortest form")
            length, start = announced, start + width
        self._check_length(first, length)
        if size - start < 4:
            return -1
        mask, start = data[start : start + 4], start + 4
        end = start + length
        if end > size:
            self._head, self._body = (first, length, mask), bytearray(data[start:])
            return -1
        self._take(first, apply_mask(data[start:end], mask) if length else b"")
        return end

    def _fill(self, data: bytes) -> int:
        """Adds to the payload that has come in part; returns where the next frame begins in the data."""
        assert self._head is not None and self._body is not None  # noqa: S101, PT018 - the caller's invariant
        first, length, mask = self._head
        wanted = length - len(self._body)
        self._body += data[:wanted]
        if len(data) >= wanted:
            body, self._head, self._body = bytes(self._body), None, None
            self._take(first, apply_mask(body, mask))
        return min(wanted, len(data))

    def _check_first(self, first: int) -> None:
        kind = first & 0x0F
        if first & _RESERVED and not (
            self.window_bits and first & _RESERVED == _COMPRESSED and kind in (TEXT, BINARY)
        ):
            raise FrameError(PROTOCOL_ERROR, "a reserved bit is set")
        if kind in (TEXT, BINARY):
            if self._kind:
                raise FrameError(PROTOCOL_ERROR, "a message begins within another")
        elif kind == _CONTINUATION:
            if not self._kind:
                raise FrameError(PROTOCOL_ERROR, "a continuation of nothing")
        elif kind not in (CLOSE, PING, PONG):
            raise FrameError(PROTOCOL_ERROR, "an unknown kind of frame")
        elif not first & _FIN:
            raise FrameError(PROTOCOL_ERROR, "a control frame is fragmented")

    def _check_length(self, first: int, length: int) -> None:
        if first & CLOSE:
            if length > _MAX_CONTROL:
                raise FrameError(PROTOCOL_ERROR, "a control frame is too long")
        elif length + (len(self._message) if self._message is not None else 0) > self.message_bytes:
            # What hardly can be compressed becomes a little larger by it.
            limit, more = self.message_bytes, len(self._message or b"")
            if not (first | self._kind) & _COMPRESSED or length + more > limit + limit // 16 + 64:
                raise FrameError(TOO_BIG, f"a message is larger than {limit} bytes")

    def _take(self, first: int, payload: bytes) -> None:
        kind = first & 0x0F
        if kind >= CLOSE:
            self._take_control(kind, payload)
        elif first & _FIN and kind:
            if first & _COMPRESSED:
                payload = self._inflated(payload)
            if kind == TEXT and not payload.isascii():
                _check_utf8(payload)
            self.on_message(kind, payload)
        else:
            self._take_fragment(first, kind, payload)

    def _inflated(self, payload: bytes) -> bytes:
        try:
            return inflate(payload, self.message_bytes)
        except InflatesTooLargeError as error:
            raise FrameError(TOO_BIG, str(error)) from None
        except InflateError as error:
            raise FrameError(INVALID_PAYLOAD, str(error)) from None

    def _take_fragment(self, first: int, kind: int, payload: bytes) -> None:
        if kind:
            self._kind, self._message = first & (_COMPRESSED | 0x0F), bytearray()
            self._utf8 = _Utf8() if self._kind == TEXT else None
        assert self._message is not None  # noqa: S101 - `_check_first` saw to it
        self._message += payload
        final = bool(first & _FIN)
        if self._utf8 is not None:
            try:
                self._utf8.decode(payload, final)
            except UnicodeDecodeError:
                raise FrameError(INVALID_PAYLOAD, "a text message is not UTF-8") from None
        if final:
            begun, message = self._kind, bytes(self._message)
            self._kind, self._message, self._utf8 = 0, None, None
            if begun & _COMPRESSED:
                self._take(_FIN | begun, message)
            else:
                self.on_message(begun, message)
        elif len(payload) < SMALL_FRAGMENT:
            self.on_fragment()

    def _take_control(self, kind: int, payload: bytes) -> None:
        if kind == PING:
            self.on_ping(payload)
        elif kind == PONG:
            self.on_pong(payload)
        else:
            code, reason = _closing(payload)
            self.reading_done = True
            self.on_close(code, reason)


def _closing(payload: bytes) -> tuple[int, str]:
    """Code and reason of a close frame. Raises FrameError."""
    if not payload:
        return NO_STATUS, ""
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not (code in _CLOSE_CODES or 3000 <= code < 5000):
        raise FrameError(PROTOCOL_ERROR, "a close frame has no valid code")
    try:
        return code, payload[2:].decode()
    except UnicodeDecodeError:
        raise FrameError(INVALID_PAYLOAD, "the reason of a close frame is not UTF-8") from None


def _check_utf8(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise FrameError(INVALID_PAYLOAD, "a text message is not UTF-8") from None
