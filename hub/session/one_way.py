"""A session of the one-way client protocol: a connect request comes up, and from then on pushes go down alone."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from hub import metrics
from hub.credentials import NOTHING, Credentials
from hub.errors import (
    ACCESS_DENIED,
    CONNECTION_EXPIRED,
    PERMISSION_DENIED,
    SERVER_ERROR,
    SLOW,
    TOKEN_EXPIRED,
    TOO_MANY_COMMANDS,
    Code,
    Disconnect,
    HubError,
)
from hub.node import Node
from hub.outbox import Transport, Wire
from hub.protocol.commands import ConnectRequest
from hub.protocol.json_codec import PING, bare_push, decode_connect
from hub.session.base import Rest
from hub.session.client import ClientSession, as_reply_error
from hub.session.connecting import connect

_CONNECTS: Final = metrics.COMMANDS.part("connect")
_ENDS: Final[dict[int, Code]] = {
    TOKEN_EXPIRED.number: CONNECTION_EXPIRED,
    PERMISSION_DENIED.number: ACCESS_DENIED,
    # These two come from plugins alone.
    110: CONNECTION_EXPIRED,
    111: TOO_MANY_COMMANDS,
}
"""How a session ends whose connect request is refused with an error; with 3004 on all others."""


class OneWaySession(ClientSession):
    """One client that only listens.

    Its first frame is the connect request, and what comes behind that is passed over. There are no replies, so all that
    is wrong is told by the end of the session, and by a push that says the same before it.
    """

    __slots__ = ()

    one_way: ClassVar[bool] = True

    def __init__(
        self,
        node: Node,
        transport: Transport,
        wire: Wire,
        transport_name: str,
        *,
        brought: Credentials = NOTHING,
    ) -> None:
        """`brought` came with the handshake; its token or ticket is used when the connect request has none."""
        super().__init__(node, transport, wire, transport_name, {"connect": connect}, brought=brought)

    def _put_behind(self, frame: bytes) -> None:
        """What comes while the client is being admitted is passed over as well."""
        self.control()

    def _begin(self, frame: bytes) -> Rest | None:
        if self.state != "new":
            self.control()
            return None
        return self.node.tasks.started(self._connect(decode_connect(frame)))

    async def _connect(self, request: ConnectRequest) -> None:
        _CONNECTS.inc()
        try:
            await self.methods["connect"](self, request, self._greet)
        except Disconnect:
            raise
        except HubError as error:
            refusal = as_reply_error(error, publishing=False)
            raise Disconnect(_ENDS.get(refusal.code, SERVER_ERROR)) from error

    def _greet(self, result: Any) -> None:
        self.tell("connect", result)

    def tell(self, kind: str, body: Any, topic: str = "") -> None:
        """Has a push of this kind written to the client."""
        self.outbox.push(bare_push(topic, kind, body))

    def _ping(self, now: float) -> None:
        """Shows that the hub is there; whether the client is, only the transport can find out."""
        if self._ping_at is None or now < self._ping_at:
            return
        self._ping_at = now + self.node.limits.ping
        if self.outbox.transport.ping():
            self.outbox.push(PING)
        else:
            self.lost()

    def end(self, code: int, reason: str) -> None:
        """Ends the session by the hub's will; clients who are not too slow are told so by a push too."""
        if not self.closed and code != SLOW.number:
            self.tell("disconnect", {"code": code, "reason": reason})
        super().end(code, reason)
