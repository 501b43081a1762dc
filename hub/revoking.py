"""Revoking, on this node and on all others: stored first, then in force here, then told to the rest.

What is stored lasts; what is told is in force elsewhere within a moment. Whoever did not hear it (its connection to the
broker was away, or it was not running) finds it in the database, or is given it by another node: a node asks one when
it starts, when a new one appears, when its broker comes back, and every half minute.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from typing import Final

import msgspec
from msgspec import structs

from hub.auth.revocations import Key, Revocations, lifted, place
from hub.cluster import Cluster, MethodUnknown, NodeAway
from hub.errors import (
    INTERNAL,
    LIMIT_EXCEEDED,
    OUTCOME_UNKNOWN,
    BrokerError,
    HubError,
    ReplyError,
    StoreError,
    repeatable,
)
from hub.model import Revocation
from hub.store.revocations import RevocationTable
from hub.tasks import Tasks

_log = logging.getLogger("hub.revoking")
ROUND_SECONDS: Final = 1.0
"""Between two looks at what is yet to be told or stored, and at who is there."""
REREAD_SECONDS: Final = 30.0
"""Between two readings of the database, and two comparisons with another node."""
FIRST_SECONDS: Final = 0.3
"""How long a node that starts waits to hear of another."""
_STEP: Final = 0.02
_TOLD_AT_ONCE: Final = 100
"""Entries in one letter to all."""

_TELL: Final = "revocations"
_ASK: Final = "revocations known"


class Question(msgspec.Struct, frozen=True):
    """What a node asks another: all that it knows behind a place, unless both know the same."""

    digest: str
    after: tuple[int, Key] | None = None


class Revoking:
    """The revocations of this node, and how they come here and go from here.

    `enforce` is called with what has become true here; whoever has sessions sets it. `linked` says whether there may
    be other nodes, `mended` how often the connection to the broker was mended. `token_life` is for how many seconds a
    token's id is remembered when nobody says (None: for ever), `leeway` what the verifier adds to a token's end.
    """

    def __init__(
        self,
        revocations: Revocations,
        table: RevocationTable,
        cluster: Cluster,
        *,
        clock: Callable[[], float],
        linked: bool,
        mended: Callable[[], int],
        token_life: float | None = None,
        leeway: float = 0.0,
    ) -> None:
        self.revocations = revocations
        self.enforce: Callable[[list[Revocation]], None] = _nothing
        self._table = table
        self._cluster = cluster
        self._clock = clock
        self._linked = linked
        self._mended = mended
        self._token_life = token_life
        self._leeway = leeway
        self._upkeep = Tasks()
        self._untold: dict[Key, Revocation] = {}
        self._unstored: dict[Key, Revocation] = {}
        self._asked: set[str] = set()
        """Nodes that were asked for all that they know."""
        self._unaware: set[str] = set()
        """Nodes of a version before revocations, as there are while one version takes the place of another."""
        self._warned = ""
        cluster.methods[_TELL] = self._hear
        cluster.methods[_ASK] = self._answer

    async def start(self) -> None:
        """Reads the database, and asks another node if one is heard of soon. Raises StoreError."""
        await self._read()
        if self._linked:
            await self._hear_of_another()
            await self._ask_newcomers()
        self._upkeep.spawn(self._keep_up(), "upkeep of revocations")

    async def stop(self) -> None:
        """Ends the upkeep."""
        await self._upkeep.cancel()

    # What is ordered

    async def revoke(self, entry: Revocation) -> Revocation:
        """Makes an entry hold on every node; where there is one already, the stricter of both holds.

        `changed` is set here. Raises ReplyError: 106 where there are as many as there may be, 100 where the database
        is away, and nothing is revoked; 300 where it is revoked here and the other nodes will know later.
        """
        old = self.revocations.find(entry.key)
        if old is None and self.revocations.full(entry.kind):
            raise ReplyError(
                LIMIT_EXCEEDED,
                "limit exceeded: as many revocations are remembered as may be; raise limits.revocations",
            )
        now = int(self._clock() * 1_000)
        changed = now if old is None else max(now, old.changed + 1)
        # Joined before it is stored: what a node reads when it starts has to be as strict as what holds.
        entry = self.revocations.joined(structs.replace(entry, changed=changed, until=self._end(entry)))
        await self._put_in_force(entry)
        _log.info("revoked: %s", _named(entry))
        return entry

    async def lift(self, key: Key) -> bool:
        """Lifts an entry on every node; false where there is none in force. Raises ReplyError as `revoke` does."""
        old = self.revocations.in_force(key)
        if old is None:
            return False
        await self._put_in_force(lifted(old, self._clock()))
        _log.info("no longer revoked: %s", _named(old))
        return True

    def _end(self, entry: Revocation) -> float | None:
        if entry.kind != "token":
            return entry.until
        if entry.until is not None:
            return entry.until + self._leeway
        return None if self._token_life is None else self._clock() + self._token_life + self._leeway

    async def _put_in_force(self, entry: Revocation) -> None:
        try:
            await self._table.store([entry])
        except StoreError as error:
            _log.error("nothing was revoked or lifted: %s", error)
            if error.unknown:
                raise ReplyError(
                    OUTCOME_UNKNOWN, "outcome unknown: the database did not answer; do it again"
                ) from error
            raise ReplyError(
                INTERNAL, "the database is away; nothing was changed, try again later"
            ) from error
        self._take([entry])
        try:
            await self._tell([entry])
        except BrokerError as error:
            self._untold[entry.key] = entry
            raise ReplyError(
                OUTCOME_UNKNOWN,
                "outcome unknown: it is stored and holds on this node; the others are told when the broker is back",
            ) from error
        if unaware := self._unaware.intersection(self._cluster.nodes()):
            named = ", ".join(sorted(unaware))
            _log.warning(
                "what was revoked or lifted just now is unknown to nodes of an earlier version: %s", named
            )

    async def _tell(self, entries: list[Revocation]) -> None:
        for start in range(0, len(entries), _TOLD_AT_ONCE):
            with repeatable():
                part = entries[start : start + _TOLD_AT_ONCE]
                await self._cluster.tell(_TELL, msgspec.json.encode(part))

    # What is heard

    def _take(self, entries: Iterable[Revocation]) -> list[Revocation]:
        fresh = self.revocations.merge(entries)
        if fresh:
            self.enforce(fresh)
        return fresh

    async def _hear(self, body: bytes) -> bytes:
        await self._take_in(msgspec.json.decode(body, type=list[Revocation]))
        return b""

    async def _take_in(self, entries: list[Revocation]) -> None:
        """In force at once; and stored, since the database of the node that tells may be another."""
        fresh = self._take(entries)
        if fresh:
            self._unstored.update((each.key, each) for each in fresh)
            await self._store()

    async def _store(self) -> None:
        waiting = dict(self._unstored)
        try:
            await self._table.store(waiting.values())
        except StoreError as error:
            self._warn(f"revocations of other nodes are stored later: {error}")
            return
        _settle(self._unstored, waiting)

    async def _answer(self, body: bytes) -> bytes:
        question = msgspec.json.decode(body, type=Question)
        same = question.digest == self.revocations.digest()
        return msgspec.json.encode([] if same else self.revocations.page(question.after))

    # What is asked

    async def _keep_up(self) -> None:
        mended, waited = self._mended(), 0.0
        while True:
            await asyncio.sleep(ROUND_SECONDS * random.uniform(0.9, 1.1))  # noqa: S311 - a spread, no secret
            waited += ROUND_SECONDS
            try:
                if self._mended() != mended:
                    mended, waited = self._mended(), REREAD_SECONDS
                    self._asked.clear()
                await self._catch_up(reread=waited >= REREAD_SECONDS)
                waited = 0.0 if waited >= REREAD_SECONDS else waited
                if not (self._untold or self._unstored):
                    self._warned = ""
            except Exception as error:  # noqa: BLE001 - whatever it is, the next round comes
                self._warn(
                    f"revocations may be late: {error}", None if isinstance(error, HubError) else error
                )

    def _warn(self, text: str, error: Exception | None = None) -> None:
        """Says it once, however many rounds it lasts."""
        if text != self._warned:
            self._warned = text
            _log.warning("%s", text, exc_info=error)

    async def _catch_up(self, *, reread: bool) -> None:
        if self._untold:
            telling = dict(self._untold)
            await self._tell(list(telling.values()))
            _settle(self._untold, telling)
        if self._unstored:
            await self._store()
        if self._linked:
            await self._ask_newcomers()
        if reread:
            await self.reread()

    async def reread(self) -> None:
        """Takes what the database and one other node know. Raises StoreError and BrokerError."""
        self.revocations.purge()
        others = [node for node in self._cluster.nodes()[1:] if node not in self._unaware]
        if others and self._linked:
            await self._ask(random.choice(others))  # noqa: S311 - any will do
        await self._read()

    async def _read(self) -> None:
        async for part in self._table.read(self._clock()):
            self._take(part)

    async def _hear_of_another(self) -> None:
        for _ in range(int(FIRST_SECONDS / _STEP)):
            if len(self._cluster.nodes()) > 1:
                return
            await asyncio.sleep(_STEP)

    async def _ask_newcomers(self) -> None:
        """Asks each node that is new here; who does not answer is asked again in the next round."""
        others = set(self._cluster.nodes()[1:])
        self._asked &= others
        self._unaware &= others
        for node in sorted(others - self._asked):
            if await self._ask(node):
                self._asked.add(node)

    async def _ask(self, node: str) -> bool:
        digest, after = self.revocations.digest(), None
        try:
            while True:
                body = msgspec.json.encode(Question(digest, after))
                page = msgspec.json.decode(await self._cluster.ask(node, _ASK, body), type=list[Revocation])
                if not page:
                    return True
                await self._take_in(page)
                after = place(page[-1])
        except MethodUnknown:
            # It is not asked again: what it does not know is in its log each time.
            self._unaware.add(node)
            _log.warning(
                "what is revoked does not hold on node %s, whose version knows of no revocations", node
            )
            return True
        except (NodeAway, BrokerError) as error:
            _log.debug("node %s did not say what is revoked: %s", node, error)
            return False


def _settle(open_: dict[Key, Revocation], done: dict[Key, Revocation]) -> None:
    """Takes out what is done, unless another has taken its place meanwhile."""
    for key, each in done.items():
        if open_.get(key) is each:
            del open_[key]


def _named(entry: Revocation) -> str:
    """What an entry is about, for the log; ids and names hold no control characters."""
    what = {"token": "token id", "before": "older tokens of", "topic": f"topic {entry.topic} for"}
    return f"{what.get(entry.kind, entry.kind)} {entry.subject or 'everybody'}"


def _nothing(_: list[Revocation]) -> None:
    """What is enforced where there are no sessions."""
