"""The Lua scripts of presence: those about one topic, and those about leases."""

from __future__ import annotations

from typing import Final

from hub.redis.script import Script, read_script


def _read(*names: str) -> Script:
    return read_script(__package__, *names)


CHANGE: Final = _read("members", "change")
TAKE: Final = _read("members", "take")
STATS: Final = _read("members", "stats")
RENEW: Final = _read("leases", "renew")
NOTE: Final = _read("leases", "note")
CLAIM: Final = _read("leases", "claim")
