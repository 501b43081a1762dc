"""What this node knows of topics in NATS, and how it learns more."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import msgspec

from hub.broker.envelope import EnvelopeError
from hub.broker.epochs import new_epoch
from hub.broker.nats.plan import Remembered
from hub.broker.nats.state import TopicState, unpack
from hub.broker.nats.subjects import Subjects
from hub.errors import BrokerError
from hub.nats.jetstream import JetStream, Stored

MAX_KNOWN: Final = 20_000
_decoder = msgspec.json.Decoder(Remembered)


@dataclass(slots=True)
class Known:
    """A topic's last message as far as known: its sequence (0: none), its state, its bodies where they were read.

    `renewed` states are not written yet.
    """

    sequence: int
    state: TopicState | None
    bodies: bytes = b""
    stale: bool = False


class Topics:
    """The states of the topics used last. A state that is behind what was known makes a new epoch.

    That happens when NATS lost what it had acknowledged, as it may when its machine fails: offsets given out once must
    not be given to other publications under the same epoch.
    """

    def __init__(self, jetstream: JetStream, subjects: Subjects) -> None:
        self._jetstream = jetstream
        self._subjects = subjects
        self._known: OrderedDict[str, Known] = OrderedDict()

    def known(self, topic: str) -> Known | None:
        """What is known and was not put in doubt; it may be outdated all the same."""
        known = self._known.get(topic)
        return known if known is not None and not known.stale else None

    def learn(self, topic: str, sequence: int, state: TopicState | None, bodies: bytes = b"") -> None:
        """Takes a message as the topic's last one, unless a later one is known."""
        known = self._known.get(topic)
        if known is not None and state is not None and _went_back(known.state, state):
            return
        if known is None or known.stale or sequence >= known.sequence:
            self._known[topic] = Known(sequence, state, bodies)
            self._known.move_to_end(topic)
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)

    def doubt(self, topic: str) -> None:
        """What is known of the topic is not to be relied on."""
        known = self._known.get(topic)
        if known is not None:
            known.stale = True

    def doubt_all(self) -> None:
        """Nothing that is known is to be relied on: the server may be another one."""
        for known in self._known.values():
            known.stale = True

    async def load(self, topic: str) -> Known:
        """The topic's last message as NATS has it now. Raises BrokerError."""
        before = self._known.get(topic)
        found = _known_of(topic, await self._jetstream.last(self._subjects.kept(topic)))
        if before is not None and found.state is not None and _went_back(before.state, found.state):
            lost = found.state
            renewed = msgspec.structs.replace(lost, epoch=new_epoch(), floor=lost.top, marks=[], entries=[])
            return Known(found.sequence, renewed, stale=True)
        if before is not None and found.sequence < before.sequence:
            self.doubt(topic)
        self.learn(topic, found.sequence, found.state, found.bodies)
        return found

    async def remembered(self, topic: str, key: str) -> tuple[int, Remembered | None]:
        """The result remembered for a key, and the sequence of its message (0: there is none). Raises BrokerError."""
        stored = await self._jetstream.last(self._subjects.result(topic, key))
        if stored is None:
            return 0, None
        try:
            return stored.sequence, _decoder.decode(stored.data)
        except msgspec.MsgspecError as error:
            raise BrokerError(f"NATS keeps what is no result of a publish: {error}") from None


def _known_of(topic: str, stored: Stored | None) -> Known:
    if stored is None:
        return Known(0, None)
    try:
        return Known(stored.sequence, *unpack(stored.data))
    except EnvelopeError as error:
        raise BrokerError(f"the state of topic {topic!r} cannot be read: {error}") from None


def _went_back(before: TopicState | None, now: TopicState) -> bool:
    return before is not None and before.epoch == now.epoch and before.top > now.top
