"""What a frame reader and the decompression of messages must do with any bytes at all."""

from __future__ import annotations

import zlib
from contextlib import suppress
from typing import Final

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

from hub.protocol.deflate import MIN_WINDOW_BITS, InflateError, InflatesTooLargeError, deflate, inflate
from hub.transports.frame_reader import TEXT, FrameError
from tests.unit.transports.recorder import Recorder, Seen

LIMIT: Final = 2_000
_MORE: Final = tuple(byte * (LIMIT + 300) for byte in (b"\x00", b"\x80", b"\xff"))


class Reading(Recorder):
    """What was read of a stream, and how it ended: the code and reason of the fault, 0 and "" without one."""

    def __init__(self, window_bits: int) -> None:
        super().__init__(LIMIT, window_bits)
        self.code = 0
        self.reason = ""

    def on_message(self, kind: int, payload: bytes) -> None:
        if kind == TEXT:
            payload.decode()
        super().on_message(kind, payload)

    @property
    def amid_a_message(self) -> bool:
        """Whether a message was under way at the end."""
        return self._kind != 0

    @property
    def held(self) -> int:
        """Bytes that it keeps."""
        return len(self._rest) + len(self._body or b"") + len(self._message or b"")


def frame_reader(data: bytes) -> None:
    """The first byte says how the rest is cut and whether compression was agreed on; the rest is the stream.

    However it is cut, the outcome is the same, and it is that of another implementation.
    """
    if not data:
        return
    step, window_bits, stream = (data[0] & 0x7F) + 1, 15 if data[0] & 0x80 else 0, data[1:]
    whole = _read(window_bits, [stream])
    pieces = _read(window_bits, _cut(stream, step))
    assert (whole.seen, whole.code) == (pieces.seen, pieces.code), "cutting the stream changes what is read"
    seen, expected = reference(stream, window_bits)
    # A text that cannot become valid is found earlier here, and the library takes lengths in a longer form.
    stricter = 1007 in (whole.code, expected) or "shortest form" in whole.reason
    common = min(len(whole.seen), len(seen)) if stricter else len(seen)
    assert whole.seen[:common] == seen[:common], "another implementation reads other messages"
    # A compressed message is looked into once it is whole here, and a close frame may come amid a message.
    if stricter or whole.amid_a_message:
        return
    if whole.code and expected:
        return  # of two faults in one frame either may come first
    if whole.code:
        # A frame is refused by the first of its bytes that says enough.
        assert any(reference(stream + more, window_bits)[1] for more in _MORE), "a good frame was refused"
    else:
        assert not expected, "another implementation refuses what is taken"
        assert whole.seen == seen, "another implementation reads other messages"


def _cut(stream: bytes, step: int) -> list[bytes]:
    return [stream[at : at + step] for at in range(0, len(stream), step)]


def _read(window_bits: int, pieces: list[bytes]) -> Reading:
    recorder = Reading(window_bits)
    try:
        for piece in pieces:
            recorder.feed(piece)
            assert recorder.held <= 2 * LIMIT + 256 + len(piece), "it keeps more than a message and a frame"
    except FrameError as error:
        recorder.code, recorder.reason = error.code, error.reason
    return recorder


def reference(stream: bytes, window_bits: int) -> tuple[Seen, int]:
    """What the websockets library makes of a stream, and the code with which it refuses it (0 when it does not)."""
    protocol = Protocol(Side.SERVER, state=State.OPEN, max_size=LIMIT)
    if window_bits:
        protocol.extensions = [PerMessageDeflate(True, True, 15, window_bits)]
    protocol.receive_data(stream)
    seen: Seen = []
    parts: list[bytes] = []
    kind = 0
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode is Opcode.CLOSE:
            seen.append(_close(bytes(event.data)))
        elif event.opcode in (Opcode.PING, Opcode.PONG):
            seen.append((event.opcode.name.lower(), bytes(event.data)))
        else:
            kind = event.opcode or kind
            parts.append(bytes(event.data))
            if event.fin:
                payload, parts = b"".join(parts), []
                if kind == TEXT and not _is_text(payload):
                    return seen, 1007
                seen.append((int(kind), payload))
    return seen, _code(protocol.parser_exc)


def _code(error: Exception | None) -> int:
    if isinstance(error, PayloadTooBig):
        return 1009
    if isinstance(error, UnicodeDecodeError):
        return 1007
    return 1002 if isinstance(error, ProtocolError) else 0


def _close(payload: bytes) -> tuple[object, ...]:
    return ("close", int.from_bytes(payload[:2], "big") if payload else 1005, payload[2:].decode())


def _is_text(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def inflating(data: bytes) -> None:
    """The first byte says how much is allowed and how far back may be looked; the rest is compressed, and a message."""
    if not data:
        return
    limit, bits, body = (data[0] & 0x0F) * 64, max(MIN_WINDOW_BITS, data[0] >> 4), data[1:]
    message: bytes | None = None
    with suppress(InflateError):
        message = inflate(body, limit)
        assert len(message) <= limit, "more was produced than allowed"
    _same_as_zlib(body, limit, message)
    small = deflate(body, bits)
    assert inflate(small, len(body)) == body, "what was compressed is read as something else"
    if body:
        try:
            inflate(small, len(body) - 1)
        except InflatesTooLargeError:
            return
        raise AssertionError("a message that is one byte too large was taken")


def _same_as_zlib(body: bytes, limit: int, message: bytes | None) -> None:
    if len(body) > 4_096:
        return  # the reference has no bound
    stream = zlib.decompressobj(-15)
    try:
        whole = stream.decompress(body + b"\x00\x00\xff\xff")
    except zlib.error:
        # It may have become too large before it became wrong.
        assert message is None, "what is not compressed was read"
        return
    if message is not None:
        assert message == whole, "zlib by itself reads something else"
    else:
        assert len(whole) > limit or stream.eof, "what is compressed was refused"
