"""What presence makes in the database: made once, by whichever node comes first, and looked for on each connection."""

from __future__ import annotations

import logging
import re
from hashlib import blake2b
from importlib.resources import files
from typing import Final

from hub.errors import BrokerError, HubError
from hub.postgres import Link, Server

logger = logging.getLogger(__name__)
VERSION: Final = 1
"""As tables.sql enters it."""
_PREFIX: Final = re.compile(r"[A-Za-z0-9_.\-]{1,40}")  # PostgreSQL cuts names at 63 bytes without an error
_NAMES: Final = ("owner", "entry", "member", "topic", "schema", "count", "change", "renew", "sweep")
# Nothing waits for a disk: what is kept does not survive a crash anyway. Every statement looks for keys, which these
# joins would do by reading whole tables as long as there are no statistics.
_LOOK: Final = """
SELECT to_regclass('@schema@') IS NOT NULL AS made, current_schema() AS home,
  set_config('synchronous_commit', 'off', false), set_config('enable_hashjoin', 'off', false),
  set_config('enable_mergejoin', 'off', false)
"""
_MAKE: Final = ("tables", "changes", "leases")


class Schema:
    """Names with the prefix, and connections on which the tables and functions are known to be there.

    Raises HubError for a prefix that cannot be part of a name.
    """

    def __init__(self, server: Server, prefix: str) -> None:
        if not _PREFIX.fullmatch(prefix):
            raise HubError(
                f"the prefix {prefix!r} must be 1 to 40 letters, digits, '_', '.' and '-' on PostgreSQL"
            )
        self._server = server
        self._known = {each: f'"{prefix}_presence_{each}"' for each in _NAMES}
        self._known["entry_by_owner"] = f"{prefix}_presence_by_owner"
        self._lock = (
            int.from_bytes(blake2b(f"{prefix} presence".encode(), digest_size=8).digest(), "big") >> 1
        )

    def fill(self, text: str) -> str:
        """The text with a name in place of each word between @."""
        return re.sub(r"@(\w+)@", lambda found: self._known[found[1]], text)

    async def connect(self, *, answer_within: float, connect_within: float) -> Link:
        """A connection ready for use. Raises BrokerError, not `unknown`: nothing of the caller's was done."""
        return await self._server.prepared(
            self._prepare, answer_within=answer_within, connect_within=connect_within
        )

    async def _prepare(self, link: Link) -> None:
        seen = await link.row(self.fill(_LOOK))
        if seen["home"] is None:
            raise BrokerError("the PostgreSQL user's search_path names no schema that exists")
        version = await self._version(link) if seen["made"] else None
        if version is None:
            await self._make(link)
            version = await self._version(link)
        if version != VERSION:
            raise BrokerError(
                f"the tables of presence in PostgreSQL have version {version}, this hub knows {VERSION}"
            )

    async def _version(self, link: Link) -> int | None:
        """None when the tables were emptied by hand."""
        found: int | None = (await link.row(self.fill("SELECT max(version) AS version FROM @schema@")))[
            "version"
        ]
        return found

    async def _make(self, link: Link) -> None:
        """Makes everything in one transaction, one node at a time; whoever waited finds it made."""
        # The lock is the session's: only a statement that begins after it was had is sure to see what others made.
        await link.fetch("SELECT pg_advisory_lock($1)", self._lock)
        folder = files(__package__) / "sql"
        texts = [(folder / f"{name}.sql").read_text("utf-8") for name in _MAKE]
        await link.script(self.fill("".join(texts)))  # makes what is not there
        logger.info("made the tables of presence in PostgreSQL at %s", self._server.name)
        await link.fetch("SELECT pg_advisory_unlock($1)", self._lock)
