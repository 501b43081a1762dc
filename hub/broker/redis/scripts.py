"""The Lua scripts that Redis runs for the broker."""

from __future__ import annotations

from typing import Final

from hub.redis.script import Script, read_script

_PACKAGE: Final = "hub.broker.redis"
PUBLISH: Final[Script] = read_script(_PACKAGE, "epoch", "publish", with_run=True, durable=True)
HISTORY: Final[Script] = read_script(_PACKAGE, "epoch", "history", with_run=True)
SCRIPTS: Final = (PUBLISH, HISTORY)
