"""What the broker makes in the database: made once, by whichever node comes first, and checked on each connection."""

from __future__ import annotations

import logging
from typing import Final

from hub.broker.epochs import new_epoch
from hub.broker.postgres.names import Names
from hub.errors import BrokerError
from hub.postgres import Link, Server

logger = logging.getLogger(__name__)
VERSION: Final = 1
"""As tables.sql enters it."""
_LOOK: Final = """
SELECT current_schema() AS home, quote_ident(current_schema()) AS quoted, to_regclass('@schema@') IS NOT NULL AS made,
  current_setting('synchronous_commit') AS durable
"""
_RUN: Final = """
SELECT left(pg_walfile_name(pg_current_wal_lsn()), 8) || ':' || oid AS run
FROM pg_database WHERE datname = current_database()
"""


class Schema:
    """Opens connections on which the broker's tables and functions are known to be there."""

    def __init__(self, server: Server, names: Names, *, timeout: float, connect_timeout: float) -> None:
        self.server = server
        self.names = names
        self.run = ""
        """Of the server whose offsets are in force: another after a failover, since a replica may lack the latest."""
        self._timeout = timeout
        self._connect_timeout = connect_timeout

    async def connect(self) -> Link:
        """A connection ready for use. Raises BrokerError, not `unknown`: nothing of the caller's was done."""
        return await self.server.prepared(
            self._prepare, answer_within=self._timeout, connect_within=self._connect_timeout
        )

    async def alive(self, link: Link) -> str:
        """The mark that is lost together with the publications that pass without history."""
        await link.fetch(
            self.names.fill("INSERT INTO @alive@ (id) VALUES ($1) ON CONFLICT DO NOTHING"), new_epoch()
        )
        return str((await link.row(self.names.fill("SELECT id FROM @alive@")))["id"])

    async def _prepare(self, link: Link) -> None:
        seen = await link.row(self.names.fill(_LOOK))
        if seen["home"] is None:
            raise BrokerError("the PostgreSQL user's search_path names no schema that exists")
        if not seen["made"]:
            await self._install(link, seen["quoted"])
        found = await link.row(self.names.fill("SELECT max(version) AS version FROM @schema@"))
        if found["version"] != VERSION:
            raise BrokerError(
                f"the broker's tables in PostgreSQL have version {found['version']}, this hub knows {VERSION}"
            )
        if seen["durable"] == "off":
            await link.fetch("SELECT set_config('synchronous_commit', 'on', false)")
        self.run = str((await link.row(_RUN))["run"])

    async def _install(self, link: Link, home: str) -> None:
        """Makes everything in one transaction, one node at a time; whoever waited finds it made."""
        # The lock is the session's: only a statement that begins after it was had is sure to see what others made.
        await link.fetch(self.names.fill("SELECT pg_advisory_lock(@install_lock@)"))
        if not (await link.row(self.names.fill(_LOOK)))["made"]:
            await link.script(self.names.read("tables", "publish", "trim", "outbox", in_schema=home))
            logger.info("made the broker's tables in PostgreSQL at %s", self.server.name)
        await link.fetch(self.names.fill("SELECT pg_advisory_unlock(@install_lock@)"))
