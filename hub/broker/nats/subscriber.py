"""The topics that a node is subscribed to in NATS."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from hub.broker.envelope import EnvelopeError, decode_body
from hub.broker.inbox import Inbox
from hub.broker.nats.state import publications, unpack
from hub.broker.nats.subjects import Subjects
from hub.broker.nats.topics import Topics
from hub.errors import BrokerError
from hub.model import Publication
from hub.nats.link import Link

logger = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Want:
    """A topic that is to be subscribed, and the position of the last publication that came.

    `live` once NATS has confirmed: what comes before is not delivered, or it would stand in front of the gap.
    """

    topic: str
    offset: int = 0
    epoch: str = ""
    subscription: Subscription | None = None
    begun: bool = False
    live: bool = False


class Subscriber:
    """Puts what comes on the wanted topics into the inbox, and a Gap wherever something may be missing.

    The stream sends each message on after storing it, in the order of storing. Should one be missing between two all
    the same, as when the servers of a cluster lose sight of one another, its offsets show it.
    """

    def __init__(self, inbox: Inbox, topics: Topics, subjects: Subjects) -> None:
        self._inbox = inbox
        self._topics = topics
        self._subjects = subjects
        self._wants: dict[str, _Want] = {}
        self._link: Link | None = None

    async def subscribe(self, topic: str) -> None:
        """Returns when NATS has confirmed; at once when it is away; after 3 s without a word, all the same."""
        want = self._wants.get(topic)
        if want is None:
            want = self._wants[topic] = _Want(topic)
        link = self._link
        if link is None:
            return
        try:
            await self._begin(link, want)
            if await link.confirm():
                want.live = want.live or self._link is link
            elif not link.closed.is_set():
                logger.warning("NATS did not confirm the subscription of topic %r in time", topic)
                want.live = True
                self._inbox.gap(topic, "the subscription was not confirmed in time")
        except BrokerError as error:
            logger.warning("topic %r is subscribed when NATS is back: %s", topic, error)

    async def unsubscribe(self, topic: str) -> None:
        """Lets a topic go."""
        want = self._wants.pop(topic, None)
        if want is not None and want.subscription is not None and self._link is not None:
            await self._link.unsubscribe(want.subscription)

    async def resume(self, link: Link) -> None:
        """Subscribes to all that is wanted over a new connection, and tells a gap on each. Raises BrokerError."""
        link.on_slow = self._slow
        for want in list(self._wants.values()):
            await self._begin(link, want)
        if not await link.confirm():
            raise BrokerError("NATS did not confirm the subscriptions")
        self._link = link
        late = [
            want for want in self._wants.values() if not want.begun
        ]  # came while the others were confirmed
        for want in late:
            await self._begin(link, want)
        if late:
            await link.confirm()
        for want in self._wants.values():
            want.live = True
            self._inbox.gap(want.topic, "the connection to NATS was lost for a while")

    def lose(self) -> None:
        """The connection has ended."""
        self._link = None
        for want in self._wants.values():
            want.subscription, want.begun, want.live = None, False, False
            want.offset, want.epoch = 0, ""

    async def _begin(self, link: Link, want: _Want) -> None:
        if want.begun:
            return
        want.begun = True
        want.subscription = await link.subscribe(self._subjects.live(want.topic), partial(self._take, want))
        if self._wants.get(want.topic) is not want:
            await link.unsubscribe(want.subscription)

    def _slow(self, subject: str) -> None:
        for want in self._wants.values():
            if self._subjects.live(want.topic) == subject:
                self._inbox.gap(want.topic, "publications arrived faster than this node could take them")

    async def _take(self, want: _Want, message: Msg) -> None:
        if self._wants.get(want.topic) is not want or not want.live:
            return
        try:
            if message.data.startswith(b"\n"):
                self._inbox.put(want.topic, decode_body(want.topic, message.data[1:], None))
            else:
                self._take_stored(want, message)
        except (EnvelopeError, ValueError) as error:
            logger.warning("what came on topic %r is no publication: %s", want.topic, error)
            self._inbox.gap(want.topic, "a publication could not be read")

    def _take_stored(self, want: _Want, message: Msg) -> None:
        state, bodies = unpack(message.data)
        self._topics.learn(want.topic, int((message.headers or {}).get("Nats-Sequence", 0)), state, bodies)
        for publication in publications(want.topic, state, bodies):
            if not publication.offset or self._in_order(want, publication):
                self._inbox.put(want.topic, publication)

    def _in_order(self, want: _Want, publication: Publication) -> bool:
        """Whether it is to be delivered; tells a gap in front of one that does not follow."""
        same = publication.epoch == want.epoch
        if same and publication.offset <= want.offset:
            return False
        if want.epoch and publication.offset != (want.offset + 1 if same else 1):
            self._inbox.gap(want.topic, "a publication before this one did not come")
        want.offset, want.epoch = publication.offset, publication.epoch
        return True
