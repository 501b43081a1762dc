"""The part of the JetStream API that the hub uses, on one stream."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from nats.aio.msg import Msg

from hub.errors import BrokerError
from hub.nats.link import Headers, Link

_NOT_FOUND: Final = (404, 10037, 10059)
_WRONG_SEQUENCE: Final = (10071, 10164)
_CROWDED: Final = (10176, 10210)
_CHUNK: Final = 500
"""Messages read by one request; each of its answers comes by itself."""
LAST: Final = "Nats-Expected-Last-Subject-Sequence"


class Conflict(Exception):  # no error: another node was faster
    """A message was not stored because its subject has another last message than expected."""


class Crowded(BrokerError):
    """Messages were not stored because NATS has too many batches under way."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A message of the stream; `stamp` is the time at which it was stored, as NATS writes it."""

    subject: str
    sequence: int
    data: bytes
    stamp: str = ""

    @property
    def time(self) -> int:
        """Milliseconds since 1970 by the clock of NATS at which it was stored."""
        return int(_seconds(self.stamp) * 1000)


@dataclass(frozen=True, slots=True)
class Write:
    """A message to be stored if the last one of its subject has the sequence `last` (0: there is none).

    It is deleted after `ttl` seconds, 1 or more; None keeps it.
    """

    subject: str
    data: bytes
    ttl: int | None
    last: int | None = None

    @property
    def headers(self) -> Headers:
        """What tells the stream so."""
        headers = {"Nats-TTL": f"{max(1, self.ttl)}s"} if self.ttl is not None else {}
        if self.last is not None:
            headers[LAST] = str(self.last)
        return headers


class JetStream:
    """One stream over one connection at a time; without `link` everything raises BrokerError.

    `storage` and `replicas` are those with which it is made; one that exists keeps its own.
    """

    def __init__(
        self, name: str, subjects: Sequence[str], settings: dict[str, Any], *, storage: str, replicas: int
    ) -> None:
        self.link: Link | None = None
        self._stream = name
        self._settings = {"subjects": list(subjects), **settings}
        self._made = {"storage": storage, "num_replicas": replicas}
        self._ahead = 0.0
        self.created = 0
        """Milliseconds since 1970, by the clock of NATS, when the stream was made."""

    @property
    def now(self) -> int:
        """Milliseconds since 1970 by the clock of NATS, as far as it is known."""
        return int((time.time() + self._ahead) * 1000)

    async def prepare(self, link: Link) -> None:
        """Finds the stream, makes it or brings it up to what the hub needs, and sets the clock. Raises BrokerError."""
        began = time.time()
        info = await self._call(link, f"STREAM.INFO.{self._stream}")
        self._ahead = _seconds(info.get("ts")) - (began + time.time()) / 2 if info.get("ts") else 0.0
        needed = {
            "name": self._stream,
            "allow_direct": True,
            "allow_msg_ttl": True,
            "allow_atomic": True,
            "discard": "old",
            "retention": "limits",
            **self._settings,
        }
        config = info.get("config")
        if config is None:
            config = await self._settle(link, "CREATE", {**needed, **self._made})
        elif any(config.get(name) != value for name, value in needed.items()):
            config = await self._settle(link, "UPDATE", {**config, **needed})
        else:
            self.created = _created(info)
        if not (config.get("allow_atomic") and config.get("allow_msg_ttl")):
            raise BrokerError("NATS 2.12 or later is needed, with the stream at its API level")

    async def write(self, writes: Sequence[Write]) -> int:
        """Stores messages, all or none, in this order; returns the sequence of the last one.

        Raises Conflict when what one of them expects does not hold, Crowded, and BrokerError.
        """
        link = self._connected()
        batch: Headers = {}
        if len(writes) > 1:
            batch = {"Nats-Batch-Id": secrets.token_hex(16)}
        for number, write in enumerate(writes[:-1], 1):
            await link.send(
                write.subject, write.data, {**write.headers, **batch, "Nats-Batch-Sequence": str(number)}
            )
        if batch:
            batch |= {"Nats-Batch-Sequence": str(len(writes)), "Nats-Batch-Commit": "1"}
        last = writes[-1]
        answer = _decode(await link.ask(last.subject, last.data, {**last.headers, **batch}))
        error = answer.get("error")
        if error is None:
            return int(answer["seq"])
        if error.get("err_code") in _WRONG_SEQUENCE:
            raise Conflict(error.get("description"))
        if error.get("err_code") in _CROWDED:
            raise Crowded(f"NATS has too many batches under way: {error.get('description')}")
        raise BrokerError(f"NATS did not store a publication: {error.get('description')}")

    async def last(self, subject: str) -> Stored | None:
        """The last message of a subject, as the stream's leader knows it. Raises BrokerError."""
        wanted = {"last_by_subj": subject}
        answer = await self._call(self._connected(), f"STREAM.MSG.GET.{self._stream}", wanted)
        message = answer.get("message")
        if message is None:
            return None
        data = base64.b64decode(message.get("data", ""))
        return Stored(subject, message["seq"], data, message.get("time", ""))

    async def read(self, subject: str, start: int, stop: int) -> list[Stored]:
        """All messages of a subject from one sequence to another, both included; may lag behind the leader."""
        found: list[Stored] = []
        while start <= stop:
            wanted = {"next_by_subj": subject, "seq": start, "batch": _CHUNK}
            request = msgspec.json.encode(wanted)
            messages = await self._connected().collect(f"$JS.API.DIRECT.GET.{self._stream}", request)
            found += [_stored(message) for message in messages]
            if not messages or (messages[-1].headers or {}).get("Nats-Num-Pending", "0") == "0":
                break
            start = found[-1].sequence + 1
        return [each for each in found if each.sequence <= stop]

    async def lasts(self, filters: Sequence[str]) -> list[Stored]:
        """The last message of each subject that one of the filters fits, all of one moment; may lag behind the leader.

        At most 1024 filters. Raises TooMany when more than 1024 subjects fit, and BrokerError.
        """
        request = msgspec.json.encode({"multi_last": filters})
        messages = await self._connected().collect(f"$JS.API.DIRECT.GET.{self._stream}", request)
        return [_stored(message) for message in messages]

    async def time(self) -> int:
        """Milliseconds since 1970 by the clock of NATS, asked now. Raises BrokerError."""
        info = await self._call(self._connected(), f"STREAM.INFO.{self._stream}")
        return int(_seconds(info.get("ts")) * 1000) if info.get("ts") else self.now

    async def purge(self, subject: str, before: int) -> None:
        """Deletes the messages of a subject whose sequence is below `before`. Raises BrokerError."""
        wanted = {"filter": subject, "seq": before}
        await self._call(self._connected(), f"STREAM.PURGE.{self._stream}", wanted)

    def _connected(self) -> Link:
        if self.link is None:
            raise BrokerError("the node is not connected to its broker")
        return self.link

    async def _settle(self, link: Link, verb: str, config: dict[str, Any]) -> dict[str, Any]:
        answer = await self._call(link, f"STREAM.{verb}.{self._stream}", config)
        found = answer.get("config")
        if not isinstance(found, dict):
            raise BrokerError(f"NATS does not give the stream {self._stream}: {answer.get('error')}")
        self.created = _created(answer)
        return found

    async def _call(self, link: Link, call: str, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
        """The answer to a call of the API, an empty one when what it asks for is not there."""
        request = msgspec.json.encode(wanted) if wanted is not None else b""
        answer = _decode(await link.ask(f"$JS.API.{call}", request))
        error = answer.get("error")
        if error is not None and error.get("err_code") not in _NOT_FOUND:
            raise BrokerError(f"NATS refused {call}: {error.get('description')}")
        return answer


def _stored(message: Msg) -> Stored:
    headers = message.headers or {}
    stamp = headers.get("Nats-Time-Stamp", "")
    return Stored(headers["Nats-Subject"], int(headers["Nats-Sequence"]), message.data, stamp)


def _decode(answer: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(answer, type=dict[str, Any])
    except msgspec.MsgspecError as error:
        raise BrokerError(f"NATS answered what cannot be read: {error}", unknown=True) from None


def _created(info: dict[str, Any]) -> int:
    return int(_seconds(info["created"]) * 1000)


def _seconds(stamp: Any) -> float:
    """Seconds since 1970 of a time as NATS writes it, with nine digits behind the point and a Z."""
    whole, _, rest = str(stamp).rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{rest or 0}")
