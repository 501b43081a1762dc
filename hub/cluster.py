"""The nodes that one broker links: who they are, and how one talks to another or to all.

Each node says every few seconds that it is there; one that has not been heard for three times as long counts as gone.
Letters go through the broker's control channel, at most once: whoever needs an answer asks, and is told when none came.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec

from hub import metrics
from hub.errors import BrokerError, HubError
from hub.tasks import Tasks

_log = logging.getLogger("hub.cluster")
BEAT: Final = 2.0
"""Seconds between the signs of life of a node."""
GONE: Final = 3 * BEAT
"""Seconds without a sign of life after which a node counts as gone."""
ANSWER_SECONDS: Final = 2.0
MAX_ASKED: Final = 10_000
"""Questions that may wait for an answer; more are refused."""
_UNKNOWN: Final = "this node knows no "
"""Begins the failure that tells of an unknown method, in every version."""
MAX_AT_WORK: Final = 10_000
"""Letters of others that may be worked on at the same time; more are refused, or dropped where nobody waits."""

Method = Callable[[bytes], Awaitable[bytes]]
"""Answers a letter's body. What it raises is told to the one who asked as a failure."""


class NodeAway(HubError):
    """The node that was asked is not known, did not answer in time, or could not."""


class MethodUnknown(NodeAway):
    """The node that was asked is of a version that does not know what it was asked for."""


class Letter(msgspec.Struct, frozen=True, omit_defaults=True):
    """What goes between nodes; `to` is empty for all, `number` pairs an answer with its question."""

    kind: Literal["beat", "bye", "tell", "ask", "answer", "failure"]
    sender: str
    to: str = ""
    number: int = 0
    method: str = ""
    body: bytes = b""


class Cluster:
    """One node's view of all. `send` puts bytes on the control channel of every node, this one included.

    `methods` are what this node does when told or asked, by name; set them before `start`.
    """

    def __init__(
        self,
        node: str,
        send: Callable[[bytes], Awaitable[None]],
        tasks: Tasks,
        monotonic: Callable[[], float],
    ) -> None:
        self.node = node
        self.methods: dict[str, Method] = {}
        self._send = send
        self._tasks = tasks
        self._monotonic = monotonic
        self._heard: dict[str, float] = {}
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[bytes]] = {}
        self._at_work = 0

    def start(self, upkeep: Tasks) -> None:
        """Begins to say that the node is there, for as long as the owner of the upkeep runs."""
        upkeep.spawn(self._beat(), "cluster beat")

    async def leave(self) -> None:
        """Tells the others that the node goes, as far as they can be reached."""
        try:
            await self._post(Letter("bye", self.node))
        except BrokerError as error:
            _log.info("the other nodes could not be told of the end: %s", error)

    def nodes(self) -> list[str]:
        """The ids of all nodes that were heard lately; this one always, and first."""
        oldest = self._monotonic() - GONE
        self._heard = {node: heard for node, heard in self._heard.items() if heard >= oldest}
        return [self.node, *sorted(self._heard)]

    async def tell(self, method: str, body: bytes) -> None:
        """Has every node do something, this one included; nobody answers. Raises BrokerError."""
        await self._post(Letter("tell", self.node, method=method, body=body))

    async def ask(self, node: str, method: str, body: bytes, *, seconds: float = ANSWER_SECONDS) -> bytes:
        """Has one node do something and returns its answer. Raises NodeAway, of it MethodUnknown, and BrokerError."""
        if node == self.node:
            return await self._do(method, body)
        if node not in self.nodes():
            raise NodeAway(f"node {node!r} is not here")
        if len(self._asked) >= MAX_ASKED:
            raise NodeAway("too many questions to other nodes are open")
        number = next(self._numbers)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            await self._post(Letter("ask", self.node, node, number, method, body))
            async with asyncio.timeout(seconds):
                return await answer
        except TimeoutError:
            raise NodeAway(f"node {node!r} did not answer within {seconds:g} s") from None
        finally:
            del self._asked[number]

    async def ask_all(self, method: str, body: bytes) -> dict[str, bytes]:
        """Asks every node and returns the answers of those that gave one in time. Raises BrokerError."""
        nodes = self.nodes()
        answers = await asyncio.gather(
            *(self.ask(node, method, body) for node in nodes), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, NodeAway):
                raise answer
        return {
            node: answer for node, answer in zip(nodes, answers, strict=True) if isinstance(answer, bytes)
        }

    def receive(self, message: bytes) -> None:
        """Takes what came over the control channel; what cannot be read is of a later version, and passed over."""
        try:
            letter = msgspec.json.decode(message, type=Letter)
        except msgspec.MsgspecError:
            return
        if letter.sender != self.node:
            self._hear(letter)
        if letter.to not in ("", self.node):
            return
        if letter.kind in ("tell", "ask"):
            self._tasks.spawn(self._answer(letter), f"{letter.method} for a node")
        elif letter.kind in ("answer", "failure"):
            self._take_answer(letter)

    def _hear(self, letter: Letter) -> None:
        if letter.kind == "bye":
            self._heard.pop(letter.sender, None)
            return
        known = letter.sender in self._heard
        self._heard[letter.sender] = self._monotonic()
        if not known:
            # A newcomer should not have to wait for the next beat to know of this node.
            self._tasks.spawn(self._say(Letter("beat", self.node, letter.sender)), "greeting of a node")

    async def _answer(self, letter: Letter) -> None:
        self._at_work += 1
        try:
            if self._at_work > MAX_AT_WORK:
                metrics.DROPPED.labels("letters").inc()
                raise NodeAway("too much is asked of this node at once")
            kind, body = "answer", await self._do(letter.method, letter.body)
        except Exception as error:  # noqa: BLE001 - whatever it is, the one who asked is told
            _log.warning("could not do %r for node %s: %s", letter.method, letter.sender, error)
            kind, body = "failure", str(error).encode()
        finally:
            self._at_work -= 1
        if letter.kind == "ask":
            answer = Letter(
                "answer" if kind == "answer" else "failure", self.node, letter.sender, letter.number
            )
            await self._say(msgspec.structs.replace(answer, body=body))

    async def _do(self, method: str, body: bytes) -> bytes:
        found = self.methods.get(method)
        if found is None:
            raise MethodUnknown(f"{_UNKNOWN}{method!r}")
        return await found(body)

    def _take_answer(self, letter: Letter) -> None:
        waiting = self._asked.get(letter.number)
        if waiting is None or waiting.done():
            return
        if letter.kind == "answer":
            waiting.set_result(letter.body)
        else:
            reason = letter.body.decode()
            kind = MethodUnknown if reason.startswith(_UNKNOWN) else NodeAway
            waiting.set_exception(kind(f"node {letter.sender!r} could not: {reason}"))

    async def _beat(self) -> None:
        while True:
            await self._say(Letter("beat", self.node))
            await asyncio.sleep(BEAT)

    async def _say(self, letter: Letter) -> None:
        """Sends what may be lost: the next one comes, or the other side stops waiting."""
        try:
            await self._post(letter)
        except BrokerError as error:
            _log.debug("a %s was not sent: %s", letter.kind, error)

    async def _post(self, letter: Letter) -> None:
        await self._send(msgspec.json.encode(letter))
