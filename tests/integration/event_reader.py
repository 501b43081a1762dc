"""A client of event streams on a bare connection, which shows every line, and can stop reading or go away."""

from __future__ import annotations

import http.client
import json
import socket
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from hub.testing import LiveHub


@dataclass
class Block:
    """What stands between two empty lines: the fields that the hub uses, and comments."""

    id: str = ""
    event: str = ""
    data: str | None = None
    retry: str = ""
    comments: list[str] = field(default_factory=list)

    @property
    def json(self) -> Any:
        assert self.data is not None
        return json.loads(self.data)


class EventReader:
    """Opens a stream; `status`, `headers`, and, where it is refused, `body` are there at once."""

    def __init__(self, hub: LiveHub, topic: str, query: str = "", **headers: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", hub.port, timeout=10)
        self._connection.connect()
        path = f"/sse/{quote(topic, safe='')}" + (f"?{query}" if query else "")
        self._connection.request(
            "GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )
        self._response = self._connection.getresponse()
        self.status = self._response.status
        self.headers = self._response.headers
        self.body = self._response.read() if self.status != 200 else b""
        self.last_id = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def error(self) -> dict[str, Any]:
        """The refusal."""
        found: dict[str, Any] = json.loads(self.body)["error"]
        return found

    def block(self) -> Block | None:
        """The next block, None at the end of the stream."""
        block = Block()
        while True:
            line = self._response.readline().decode()
            if not line:
                return None
            if line == "\n":
                self.last_id = block.id or self.last_id
                return block
            name, _, value = line.removesuffix("\n").partition(":")
            value = value.removeprefix(" ")
            if not name:
                block.comments.append(value)
            elif name == "data":
                block.data = value if block.data is None else f"{block.data}\n{value}"
            else:
                assert name in {"id", "event", "retry"}, line
                setattr(block, name, value)

    def event(self) -> Block:
        """The next block that a browser would dispatch."""
        while (block := self.block()) is not None:
            if block.data is not None:
                return block
        raise AssertionError("the stream ended")

    def opened(self) -> Self:
        """Reads to where the stream says that it stands: from then on it gets what is published."""
        assert self.status == 200, self.body
        block = self.block()
        assert block is not None
        assert block.retry
        return self

    def stop_reading(self, buffer: int = 4_096) -> None:
        """Makes the kernel take little, so that a peer that does not read is felt soon."""
        assert self._connection.sock is not None
        self._connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)

    def close(self) -> None:
        """Goes away."""
        self._response.close()
        self._connection.close()
