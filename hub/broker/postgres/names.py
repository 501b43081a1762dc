"""The names of the broker's tables, functions, channels and locks in a database, by the hub's prefix."""

from __future__ import annotations

import re
from hashlib import blake2b
from importlib.resources import files
from typing import Final

from hub.errors import HubError

_PREFIX: Final = re.compile(r"[A-Za-z0-9_.\-]{1,40}")  # PostgreSQL cuts names at 63 bytes without an error
_TABLES: Final = ("topic", "publication", "passing", "result", "stale", "alive", "outbox", "schema")
_OTHERS: Final = ("seq", "streams", "lock", "publish", "trim", "ring")
_LOCKS: Final = ("install_lock", "trim_lock", "outbox_lock", "ring_lock")


class Names:
    """Fills the names into SQL. Raises HubError for a prefix that could not be part of them."""

    def __init__(self, prefix: str) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise HubError(
                f"the broker's prefix {prefix!r} must be 1 to 40 letters, digits, '_', '.' and '-' on PostgreSQL"
            )
        self.channel = f"{prefix}_broker"
        self.outbox_channel = f"{prefix}_broker_outbox"
        self._known = {each: f'"{prefix}_broker_{each}"' for each in (*_TABLES, *_OTHERS)}
        self._known |= {each: str(_number(f"{prefix} {each}")) for each in _LOCKS}
        self._known["app_publish"] = f'"{prefix}_publish"'
        self._known["outbox_channel"] = f"'{self.outbox_channel}'"

    def fill(self, text: str, **others: str) -> str:
        """The text with a name in place of each word between @."""
        known = {**self._known, **others}
        return re.sub(r"@(\w+)@", lambda found: known[found[1]], text)

    def read(self, *names: str, **others: str) -> str:
        """The SQL of files in this package, filled."""
        folder = files(__package__) / "sql"
        return "".join(self.fill((folder / f"{name}.sql").read_text("utf-8"), **others) for name in names)


def _number(text: str) -> int:
    """A lock's number: 63 bits of the text's hash."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1
