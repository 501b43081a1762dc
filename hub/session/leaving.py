"""How topics learn that a client has left: from presence, and by a leave that is told at once or held back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

from hub.attendance import Attendance
from hub.errors import SOCKET_BAD_TOKEN, SOCKET_NOT_ALLOWED, BrokerError
from hub.presence.base import Presence
from hub.session.held import Held

_log = logging.getLogger("hub.session")


def for_good(code: int) -> bool:
    """Whether a client that is disconnected with this code is not to come back, by the protocol or as it is."""
    return 3500 <= code < 4000 or code >= 4500 or code in (SOCKET_BAD_TOKEN.number, SOCKET_NOT_ALLOWED.number)


def hold_leave(attendance: Attendance, held: Held) -> None:
    """Holds the leave of a subscription back for as long as its topic gives the user to return."""
    options = held.rule.options
    if options.join_leave and options.leave_grace and held.joined:
        topic = held.subscription.topic
        held.leave = attendance.hold(topic, held.info, held.names, seconds=options.leave_grace)


async def tell_leaves(presence: Presence, attendance: Attendance, parted: Mapping[str, Held]) -> None:
    """Takes a client out of presence, and tells its leaves, on all topics at once; what fails is logged."""
    if len(parted) > 1:
        await asyncio.gather(
            *(_tell_leave(presence, attendance, topic, held) for topic, held in parted.items())
        )
    else:
        for topic, held in parted.items():
            await _tell_leave(presence, attendance, topic, held)


async def _tell_leave(presence: Presence, attendance: Attendance, topic: str, held: Held) -> None:
    options, untold = held.rule.options, True
    try:
        if options.presence:
            untold = await presence.part(topic, held.info)
    except BrokerError as error:
        _log.warning("presence of %s on %r ends with its lease: %s", held.info.client, topic, error)
    if options.join_leave and held.joined:
        tell = attendance.left if untold else attendance.swept
        tell(topic, held.info, held.names, held.leave)
