"""`hub serve` at work: one process, or one that keeps several."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from hub import __version__
from hub.app import Hub, owners
from hub.loader.blueprint import Blueprint
from hub.serving.collector import settle_collector
from hub.serving.inherit import Inheritance
from hub.serving.listen import Ports, listen, port_of, url_host
from hub.serving.process import NodeProcess, raise_file_limit, run_loop
from hub.serving.workers import Control, Workers
from hub.store.engine import Database
from hub.store.migrator import Migrator

FILES_WANTED: Final = 65_536
INTERNAL_PORT: Final = "server.internal.port"
_log = logging.getLogger("hub.serving")


def serve(blueprint: Blueprint, arguments: Sequence[str], *, migrate: bool) -> int:
    """Serves until a signal ends it, and returns the exit status; `arguments` is the command line of a worker.

    `migrate` brings the database up to date first, else it has to be. Raises HubError when the hub cannot start.
    """
    _raise_file_limit()
    ports = _ports(blueprint)
    if len(ports) == 1:
        return run_loop(_serve(blueprint, ports[0], migrate=migrate))
    return asyncio.run(_serve_many(blueprint, ports, arguments, migrate=migrate))


def work(blueprint: Blueprint, given: Inheritance) -> int:
    """A worker's part: serves the sockets that its parent has opened, and stops when the parent is gone."""

    async def main() -> int:
        node = NodeProcess(Hub(blueprint), given.ports())
        if given.control is None:
            return await node.run(settle_collector)
        control = Control(given.control, lost=node.stop)

        def ready() -> None:
            settle_collector()
            control.ready()

        try:
            return await node.run(ready)
        finally:
            control.close()

    return run_loop(main())


async def _serve(blueprint: Blueprint, ports: Ports, *, migrate: bool) -> int:
    told = _announcement(blueprint, [ports])

    def ready() -> None:
        settle_collector()
        _log.info(told)

    return await NodeProcess(Hub(blueprint, migrate=migrate), ports).run(ready)


async def _serve_many(
    blueprint: Blueprint, ports: Sequence[Ports], arguments: Sequence[str], *, migrate: bool
) -> int:
    told = _announcement(blueprint, ports)
    await _prepare_database(blueprint, migrate=migrate)
    workers = Workers(arguments, ports[0].public, [each.internal for each in ports])
    return await workers.run(lambda: _log.info(told))


async def _prepare_database(blueprint: Blueprint, *, migrate: bool) -> None:
    """Once for all workers, before any of them starts."""
    database = Database(blueprint.settings.database.url)
    migrator = Migrator(database, owners(blueprint))
    try:
        await (migrator.upgrade() if migrate else migrator.open())
    finally:
        await database.close()


def _ports(blueprint: Blueprint) -> list[Ports]:
    """The sockets of each worker. They share the public port; each has an internal one of its own."""
    server = blueprint.settings.server
    public = listen(server.host, server.port, "--port")
    found = []
    for worker in range(server.workers):
        internal = server.internal
        port = internal.port + worker if internal and internal.port else 0
        found.append(Ports(public, listen(internal.host, port, INTERNAL_PORT) if internal else []))
    return found


def _announcement(blueprint: Blueprint, ports: Sequence[Ports]) -> str:
    server = blueprint.settings.server
    told = [f"hub {__version__} serves http://{url_host(server.host)}:{port_of(ports[0].public)}"]
    if server.internal:
        internal = ", ".join(str(port_of(each.internal)) for each in ports)
        told.append(f"internal http://{url_host(server.internal.host)}:{internal}")
    if len(ports) > 1:
        told.append(f"{len(ports)} workers")
    told.append(f"plugins: {', '.join(plugin.name for plugin in blueprint.plugins) or 'none'}")
    return "; ".join(told)


def _raise_file_limit() -> None:
    files = raise_file_limit()
    if files < FILES_WANTED:
        _log.warning(
            "this process may open only %d files, and each connection takes one; allow it %d (ulimit -n, LimitNOFILE=)",
            files,
            FILES_WANTED,
        )
