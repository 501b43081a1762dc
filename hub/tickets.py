"""One-time tickets: what a page shows in a URL in the place of its token, good once and for half a minute.

A ticket names the node that made it, which keeps whom it stands for; any other node asks that one. So nothing has to
be shared but the broker's control channel, and a ticket dies with its node. Of the secret in it the node keeps a hash,
and a hash is what goes between nodes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import uuid
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from hub.cluster import Cluster, NodeAway
from hub.errors import LIMIT_EXCEEDED, BrokerError, InvalidToken, ReplyError, repeatable
from hub.model import Identity

TICKET_SECONDS: Final = 30
"""How long a ticket is good."""
MAX_TICKETS: Final = 10_000
"""Tickets of a node that nobody has used yet; more are refused."""
MAX_USER_TICKETS: Final = 32
"""Of these, a user's; one more, and the user's oldest is good no longer."""
MAX_TICKET_BYTES: Final = 33_554_432
"""What identities behind tickets may take of a node's memory together."""
REDEEM: Final = "ticket"
"""The method by which a node asks another for what it keeps."""
_ENCODER: Final = msgspec.json.Encoder(enc_hook=dict)
"""An identity's empty mappings are read-only views, which msgspec does not know."""
_DECODER: Final = msgspec.json.Decoder(Identity)
_NODE_BYTES: Final = 16
_SECRET_BYTES: Final = 20
_LENGTH: Final = (_NODE_BYTES + _SECRET_BYTES) * 4 // 3


class Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """Asks a node for what stands behind a ticket of its own, presented by a page of an origin ("" by no page)."""

    digest: bytes
    origin: str = ""


class _Kept(NamedTuple):
    until: float
    user: str
    origin: str
    identity: bytes


class Tickets:
    """Those of one node."""

    def __init__(self, cluster: Cluster, monotonic: Callable[[], float], *, most: int = MAX_TICKETS) -> None:
        """`most` may be kept at a time, apart from what else bounds them."""
        self._cluster = cluster
        self._monotonic = monotonic
        self._most = most
        self._kept: OrderedDict[bytes, _Kept] = OrderedDict()
        """By hash of the secret, the oldest first."""
        self._users: dict[str, OrderedDict[bytes, None]] = {}
        self._bytes = 0
        cluster.methods[REDEEM] = self._answer

    def __len__(self) -> int:
        return len(self._kept)

    def issue(self, identity: Identity, origin: str = "") -> str:
        """A ticket for an identity, for pages of the origin alone where there is one.

        Raises ReplyError 106 (temporary) when the node keeps as many as it may.
        """
        self._forget_old()
        encoded = _ENCODER.encode(identity)
        if len(self._kept) >= self._most or self._bytes + len(encoded) > MAX_TICKET_BYTES:
            raise ReplyError(
                LIMIT_EXCEEDED, "too many tickets are waiting to be used; try again later", temporary=True
            )
        secret = secrets.token_bytes(_SECRET_BYTES)
        self._keep(_digest(secret), _Kept(self._monotonic() + TICKET_SECONDS, identity.user, origin, encoded))
        return base64.urlsafe_b64encode(uuid.UUID(self._cluster.node).bytes + secret).decode()

    async def redeem(self, ticket: str, origin: str = "") -> Identity:
        """Whom a ticket stands for, who from then on has none; raises InvalidToken.

        That is so of tickets that are used, too old, forged or another origin's, and of a node's that does not answer.
        """
        node, secret = _read(ticket)
        question = Question(_digest(secret), origin)
        if node == self._cluster.node:
            found = self._take(question)
        else:
            try:
                with repeatable():
                    found = await self._cluster.ask(node, REDEEM, msgspec.json.encode(question))
            except (NodeAway, BrokerError) as error:
                raise InvalidToken("the node that made the ticket does not answer") from error
        if not found:
            raise InvalidToken("no such ticket")
        return _DECODER.decode(found)

    async def _answer(self, body: bytes) -> bytes:
        return self._take(msgspec.json.decode(body, type=Question))

    def _take(self, question: Question) -> bytes:
        """The identity, encoded, which is then kept no longer; nothing for a ticket that is no good."""
        self._forget_old()
        kept = self._kept.get(question.digest)
        if kept is None:
            return b""
        self._drop(question.digest)
        return b"" if kept.origin and kept.origin != question.origin else kept.identity

    def _keep(self, digest: bytes, kept: _Kept) -> None:
        mine = self._users.setdefault(kept.user, OrderedDict())
        if len(mine) >= MAX_USER_TICKETS:
            self._drop(next(iter(mine)))
        mine[digest] = None
        self._kept[digest] = kept
        self._bytes += len(kept.identity)

    def _drop(self, digest: bytes) -> None:
        kept = self._kept.pop(digest)
        self._bytes -= len(kept.identity)
        mine = self._users[kept.user]
        del mine[digest]
        if not mine:
            del self._users[kept.user]

    def _forget_old(self) -> None:
        now = self._monotonic()
        while self._kept:
            digest, kept = next(iter(self._kept.items()))
            if kept.until > now:
                return
            self._drop(digest)


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def _read(ticket: str) -> tuple[str, bytes]:
    """The node that a ticket names, and its secret. Raises InvalidToken."""
    if len(ticket) != _LENGTH or not ticket.isascii():
        raise InvalidToken("it has not the form of a ticket")
    try:
        whole = base64.b64decode(ticket, altchars=b"-_", validate=True)
    except binascii.Error as error:
        raise InvalidToken("it has not the form of a ticket") from error
    return str(uuid.UUID(bytes=whole[:_NODE_BYTES])), whole[_NODE_BYTES:]
