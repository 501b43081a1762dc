"""Which function stands behind which command of the client protocol."""

from __future__ import annotations

from hub.session import asking, connecting, subscribing
from hub.session.client import Method

METHODS: dict[str, Method] = {
    "connect": connecting.connect,
    "refresh": connecting.refresh,
    "send": connecting.send,
    "subscribe": subscribing.subscribe,
    "unsubscribe": subscribing.unsubscribe,
    "sub_refresh": subscribing.sub_refresh,
    "publish": asking.publish,
    "presence": asking.presence,
    "presence_stats": asking.presence_stats,
    "history": asking.history,
    "rpc": asking.rpc,
}
