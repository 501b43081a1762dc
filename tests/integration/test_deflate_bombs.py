"""What compressed messages of clients may take of a hub's memory: little, whatever they would become."""

from __future__ import annotations

import re
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from hub.protocol.deflate import deflate
from tests.services.hub import HubProcess
from tests.services.raw_socket import RawSocket, command, frame, handshake

MIB = 1024 * 1024
PATH = "/connection/websocket"
OFFER = "permessage-deflate; client_max_window_bits"
CONFIG = """\
version: 1
server: {port: 0, compression: true}
auth: {anonymous: true}
limits: {connections_per_ip: null}
topics: {"open:{x}": {allow: {subscribe: anyone, publish: anyone}}}
"""
_packer = zlib.compressobj(9, wbits=-15)
BOMB = _packer.compress(bytes(60 * MIB)) + _packer.flush(zlib.Z_SYNC_FLUSH)[:-4]
"""As large as a frame may be, and a thousand times that when it is unpacked."""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    folder = tmp_path_factory.mktemp("hub")
    (folder / "hub.yaml").write_text(CONFIG)
    with HubProcess("serve", "--config", "hub.yaml", cwd=folder) as process:
        url = process.url()
        for _ in range(5):
            # What the first clients bring into memory is no growth.
            with RawSocket(url) as socket:
                opened(socket)
                socket.send(compressed(b"{}", whole=True))
                socket.frame()
        yield process


def opened(socket: RawSocket) -> None:
    socket.send(handshake(socket.host, PATH, Sec_WebSocket_Extensions=OFFER))
    assert b"permessage-deflate" in socket.until(b"\r\n\r\n")


def compressed(data: bytes, *, whole: bool = False, fin: bool = True) -> bytes:
    """A frame with the bit of compressed ones; `whole` says that the data is yet to be compressed."""
    found = bytearray(frame(1, deflate(data, 12) if whole else data, fin=fin))
    found[0] |= 0x40
    return bytes(found)


def memory(hub: HubProcess, name: str) -> int:
    """VmRSS, what it holds, or VmHWM, the most that it ever held, in bytes."""
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{hub.process.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def bombs() -> dict[str, bytes]:
    half = len(BOMB) // 2
    return {
        "in one frame": compressed(BOMB),
        "in two": compressed(BOMB[:half], fin=False) + frame(0, BOMB[half:]),
        "in many": compressed(BOMB[:2_000], fin=False)
        + b"".join(frame(0, BOMB[at : at + 2_000], fin=False) for at in range(2_000, len(BOMB), 2_000))
        + frame(0, b""),
        "within a bomb": compressed(BOMB, whole=True),
    }


@pytest.mark.parametrize("how", bombs())
def test_a_bomb_ends_its_connection_and_takes_no_more_memory_than_a_message(
    hub: HubProcess, how: str
) -> None:
    assert 50_000 < len(BOMB) <= 65_536
    bomb, before = bombs()[how], memory(hub, "VmHWM")
    for _ in range(20):
        with RawSocket(hub.url()) as socket:
            opened(socket)
            socket.send(bomb)
            kind, payload = socket.frame()
            # What is inside is read as a text, and is none.
            code = 1007 if how == "within a bomb" else 1009
            assert (kind, int.from_bytes(payload[:2], "big")) == (8, code)
    assert memory(hub, "VmHWM") - before < 8 * MIB
    assert "Traceback" not in hub.said


def test_idle_connections_keep_nothing_for_compression(hub: HubProcess) -> None:
    before, count = memory(hub, "VmRSS"), 500
    text = b'{"id":2,"subscribe":{"channel":"open:a"}}' + b" " * 3_000
    with ExitStack() as stack:
        for _ in range(count):
            socket = stack.enter_context(RawSocket(hub.url()))
            opened(socket)
            socket.send(command({"id": 1, "connect": {}}) + compressed(text, whole=True))
            socket.until(b'"subscribe"')
        grown = memory(hub, "VmRSS") - before
    # A context for each direction takes some 300 KiB with the windows that libraries ask for.
    assert grown < count * 8 * 1024, f"{grown / count / 1024:.0f} KiB each"


def test_what_connections_hold_of_messages_under_way_is_what_they_have_sent(hub: HubProcess) -> None:
    before, count = memory(hub, "VmRSS"), 90
    with ExitStack() as stack:
        sockets = [stack.enter_context(RawSocket(hub.url())) for _ in range(count)]
        for socket in sockets:
            opened(socket)
            socket.send(command({"id": 1, "connect": {}}))
            socket.until(b'"connect"')
            socket.send(compressed(BOMB)[:-1])
        time.sleep(1)
        grown = memory(hub, "VmRSS") - before
    # A message's bytes, and the room that is left for more when they are put together.
    assert grown < count * 2 * 65_536 + 4 * MIB, f"{grown / count / 1024:.0f} KiB each"


def test_messages_that_become_as_large_as_may_be_are_taken(hub: HubProcess) -> None:
    text = b'{"id":1,"connect":{"data":"%s"}}' % (b"x" * 65_000)
    with RawSocket(hub.url()) as socket:
        opened(socket)
        socket.send(compressed(text, whole=True))
        assert b'"connect"' in socket.frame()[1]
