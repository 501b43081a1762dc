"""TCP proxies on loopback that stand between two programs and spoil what passes: cut it, tear it, hold it up."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

CHUNK = 65_536


class Proxy:
    """Forwards connections on `port` to `target`, a port of 127.0.0.1, until told otherwise.

    It runs in a thread of its own, so that it keeps its port and its state whichever event loop drives it.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._torn = False
        self._refusing = False
        self._deaf = False
        self._thread = threading.Thread(target=self._run, name=f"proxy to {target}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._loop.stop)
        self._thread.join(5)

    def cut(self, rng: random.Random, share: float = 1.0) -> None:
        """Resets that share of the connections, without any farewell."""
        self._do(lambda: self._cut(rng, share))

    def tear(self) -> None:
        """Lets only a part of the next chunk through, wherever one comes, and resets that connection: torn frames."""
        self._do(lambda: setattr(self, "_torn", True))

    def hold(self, *, refuse: bool = False) -> None:
        """Lets nothing through: connections stay and hang, or with `refuse` are reset, and new ones too."""
        self._do(lambda: self._hold(refuse))

    def deafen(self) -> None:
        """Lets through what is sent to the target, and swallows its answers until `release` or `cut`."""
        self._deaf = True

    def release(self) -> None:
        """Lets everything through again, what was held up first."""
        self._do(self._release)

    def _do(self, action: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(action)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._open.set()
        try:
            self._loop.run_until_complete(self._serve())
        except RuntimeError:
            pass  # stopped, as asked
        finally:
            self._cut(random.Random(0), 1.0)
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.run_until_complete(asyncio.sleep(0.01))
            self._listener.close()
            self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._accept, sock=self._listener)
        await server.serve_forever()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refusing:
            _reset(writer)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        pair = (writer, far_writer)
        self._pairs.add(pair)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the proxy ends, and asyncio would complain
                await asyncio.gather(
                    self._pump(reader, far_writer), self._pump(far_reader, writer, answers=True)
                )
        finally:
            self._pairs.discard(pair)
            for each in pair:
                _reset(each)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._open.wait()
                if answers and self._deaf:
                    continue
                if self._torn:
                    self._torn = False
                    writer.write(data[: len(data) // 2])
                    await asyncio.sleep(0.01)
                    self._reset_pair(writer)
                    return
                writer.write(data)
                await writer.drain()
        if not writer.is_closing():
            with contextlib.suppress(OSError, RuntimeError):
                writer.write_eof()

    def _reset_pair(self, writer: asyncio.StreamWriter) -> None:
        for pair in [pair for pair in self._pairs if writer in pair]:
            for each in pair:
                _reset(each)

    def _cut(self, rng: random.Random, share: float) -> None:
        self._deaf = False
        for pair in list(self._pairs):
            if rng.random() < share:
                for each in pair:
                    _reset(each)

    def _hold(self, refuse: bool) -> None:
        self._refusing = refuse
        self._open.clear()
        if refuse:
            self._cut(random.Random(0), 1.0)

    def _release(self) -> None:
        self._refusing = False
        self._deaf = False
        self._open.set()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Ends a connection as a broken network does: what is under way is gone."""
    raw: Any = writer.get_extra_info("socket")
    if raw is not None and not writer.is_closing():
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    writer.transport.abort()
