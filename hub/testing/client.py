"""A client of the protocol for tests, talking to a session without any socket between."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from typing import Any

from hub.credentials import ClientRequest, Credentials
from hub.errors import ReplyError
from hub.node import Node
from hub.outbox import Unit
from hub.protocol.wires import JSON_TEXT
from hub.session.client import ClientSession
from hub.session.methods import METHODS

TIMEOUT = 5.0
"""Seconds that any expectation waits."""
_SHOWN = 20


class PushTimeoutError(AssertionError):
    """What was expected did not come; the text shows the last frames both ways."""


class _Wire:
    """The far end of a session's transport, in memory."""

    socket = None

    def __init__(self, client: HubClient) -> None:
        self._client = client

    def write(self, unit: Unit) -> None:
        """Takes a frame."""
        for text in unit if isinstance(unit, tuple) else (unit,):
            self._client.take(text)

    def buffered(self) -> int:
        """Nothing ever waits here, unless the test says that the client does not read."""
        return self._client.unread

    def close(self, code: int, reason: str) -> None:
        """Takes the close."""
        self._client.take_close(code, reason)

    def abort(self) -> None:
        """Takes a cut."""
        self._client.take_close(1006, "")

    def ping(self) -> bool:
        """The far end is always alive."""
        return True

    def pause_reading(self, paused: bool) -> None:
        """Frames are handed over directly; there is nothing to pause."""


class HubClient:
    """One client. Commands wait for their reply and return its result; pushes are kept until they are expected.

    `closed` is the (code, reason) of the end, None while connected. Pings are answered unless `pong` is False.
    """

    def __init__(self, node: Node, *, token: str = "", request: ClientRequest | None = None) -> None:
        """`token` and `request` are what the connection began with; the request is for connect handlers."""
        self.closed: tuple[int, str] | None = None
        self.pong = True
        self.unread = 0
        """Bytes that the client is said not to have read."""
        self.connection: dict[str, Any] = {}
        self._frames: deque[str] = deque(maxlen=_SHOWN)
        self._replies: dict[int, dict[str, Any]] = {}
        self._pushes: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        self._ids = 0
        brought = Credentials(token, request=request)
        self.session = ClientSession(node, _Wire(self), JSON_TEXT, "test", METHODS, brought=brought)

    # What the session writes

    def take(self, text: bytes) -> None:
        """Takes a frame of the hub's."""
        for line in text.decode().split("\n"):
            self._frames.append(f"< {line}")
            message = json.loads(line)
            if not message:
                if self.pong:
                    asyncio.get_running_loop().call_soon(self.session.receive, b"{}")
            elif "id" in message:
                self._replies[message["id"]] = message
            else:
                self._pushes.append(message["push"])
        self._changed.set()

    def take_close(self, code: int, reason: str) -> None:
        """Takes the hub's close."""
        self._frames.append(f"< CLOSE {code} {reason}")
        self.closed = (code, reason)
        self._changed.set()

    # What the test does

    def send_text(self, text: str) -> None:
        """Sends a raw frame."""
        self._frames.append(f"> {text}")
        self.session.receive(text.encode())

    async def command(self, method: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Sends one command and returns its result; raises ReplyError for a refusal."""
        self._ids += 1
        self.send_text(json.dumps({"id": self._ids, method: request}))
        return await self.expect_reply(self._ids, method)

    async def expect_reply(self, command_id: int, method: str) -> dict[str, Any]:
        """The result of a command sent before; raises ReplyError for a refusal."""
        await self._until(lambda: command_id in self._replies, f"a reply to command {command_id}")
        reply = self._replies.pop(command_id)
        if "error" in reply:
            error = reply["error"]
            raise ReplyError(error["code"], error["message"], temporary=error.get("temporary", False))
        result: dict[str, Any] = reply[method]
        return result

    async def connect(self, **request: Any) -> dict[str, Any]:
        """The connect command; its result is kept in `connection`."""
        self.connection = await self.command("connect", request)
        return self.connection

    async def subscribe(self, topic: str, **request: Any) -> dict[str, Any]:
        """Subscribes; further fields are those of the wire, such as recover=True, offset=3, epoch="…"."""
        return await self.command("subscribe", {"channel": topic, **request})

    async def unsubscribe(self, topic: str) -> None:
        """Unsubscribes."""
        await self.command("unsubscribe", {"channel": topic})

    async def publish(self, topic: str, data: Any) -> None:
        """Publishes."""
        await self.command("publish", {"channel": topic, "data": data})

    async def presence(self, topic: str) -> dict[str, Any]:
        """Who is subscribed, by client id."""
        found: dict[str, Any] = (await self.command("presence", {"channel": topic}))["presence"]
        return found

    async def history(self, topic: str, **request: Any) -> dict[str, Any]:
        """Kept publications; limit=-1 unless it is given."""
        return await self.command("history", {"channel": topic, "limit": -1, **request})

    async def rpc(self, method: str, data: Any = None) -> Any:
        """Calls an RPC and returns its data."""
        return (await self.command("rpc", {"method": method, "data": data})).get("data")

    async def expect_push(self, topic: str, kind: str) -> dict[str, Any]:
        """The next push of a kind (pub, join, leave, subscribe, unsubscribe …) on a topic, wherever it stands."""

        def found() -> int | None:
            matches = (
                index
                for index, push in enumerate(self._pushes)
                if push.get("channel", "") == topic and kind in push
            )
            return next(matches, None)

        await self._until(lambda: found() is not None, f"a {kind} push on {topic!r}")
        index = found()
        body: dict[str, Any] = self._pushes.pop(index or 0)[kind]
        return body

    async def expect_publication(self, topic: str) -> Any:
        """The payload of the next publication on a topic."""
        return (await self.expect_push(topic, "pub"))["data"]

    async def expect_close(self) -> tuple[int, str]:
        """The code and reason with which the hub ends the session."""
        await self._until(lambda: self.closed is not None, "the end of the session")
        assert self.closed is not None  # noqa: S101 - this is a test kit
        return self.closed

    async def expect_nothing(self, topic: str, *, within: float = 0.05) -> None:
        """Fails when anything arrives on a topic within some seconds."""
        await asyncio.sleep(within)
        found = [push for push in self._pushes if push.get("channel") == topic]
        if found:
            raise AssertionError(f"expected nothing on {topic!r}, but got {found}")

    async def close(self) -> None:
        """Goes away, as a lost connection does, and waits until the hub has forgotten the client."""
        self.session.lost()
        await self.session.node.tasks.settle(0.05)

    def catch_up(self) -> None:
        """The client has read all that it was said not to have read."""
        self.unread = 0
        self.session.outbox.drained()

    async def _until(self, condition: Any, what: str) -> None:
        try:
            async with asyncio.timeout(TIMEOUT):
                while not condition():
                    if self.closed is not None and what != "the end of the session":
                        raise PushTimeoutError(
                            f"the session ended with {self.closed} instead of {what}{self._shown()}"
                        )
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise PushTimeoutError(f"{what} did not come within {TIMEOUT:g} s{self._shown()}") from None

    def _shown(self) -> str:
        return "; the last frames were:\n" + "\n".join(self._frames)
