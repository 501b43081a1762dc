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
from hub.serving.control import Control
from hub.serving.inherit import Inheritance
from hub.serving.listen import Ports, listen, port_of, url_host
from hub.serving.process import NodeProcess, raise_file_limit, run_loop
from hub.serving.workers import Workers
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
    if blueprint.settings.server.workers == 1:
        return run_loop(_serve(blueprint, ports, migrate=migrate))
    return asyncio.run(_serve_many(blueprint, ports, arguments, migrate=migrate))


def work(blueprint: Blueprint, given: Inheritance) -> int:
    """A worker's part: serves the sockets that its parent has opened, and stops when the parent is gone."""

    async def main() -> int:
        hub, ports = Hub(blueprint), given.ports()
        if given.control is None:
            return await NodeProcess(hub, ports).run(settle_collector)
        control = await Control.open(given.control, hub)
        node = NodeProcess(hub, ports)
        control.watch(node.stop)

        def ready() -> None:
            settle_collector()
            control.ready()

        try:
            return await node.run(ready)
        finally:
            await control.close()

    return run_loop(main())


async def _serve(blueprint: Blueprint, ports: Ports, *, migrate: bool) -> int:
    told = _announcement(blueprint, ports)

    def ready() -> None:
        settle_collector()
        _log.info(told)

    return await NodeProcess(Hub(blueprint, migrate=migrate), ports).run(ready)


async def _serve_many(blueprint: Blueprint, ports: Ports, arguments: Sequence[str], *, migrate: bool) -> int:
    told = _announcement(blueprint, ports)
    await _prepare_database(blueprint, migrate=migrate)
    workers = Workers(arguments, ports, blueprint.settings.server.workers)
    return await workers.run(lambda: _log.info(told))


async def _prepare_database(blueprint: Blueprint, *, migrate: bool) -> None:
    """Once for all workers, before any of them starts."""
    database = Database(blueprint.settings.database.url)
    migrator = Migrator(database, owners(blueprint))
    try:
        await (migrator.upgrade() if migrate else migrator.open())
    finally:
        await database.close()


def _ports(blueprint: Blueprint) -> Ports:
    """The sockets, which all workers share."""
    server = blueprint.settings.server
    public, internal = listen(server.host, server.port, "--port"), server.internal
    return Ports(public, listen(internal.host, internal.port, INTERNAL_PORT) if internal else [])


def _announcement(blueprint: Blueprint, ports: Ports) -> str:
    server = blueprint.settings.server
    told = [f"hub {__version__} serves http://{url_host(server.host)}:{port_of(ports.public)}"]
    if server.internal:
        told.append(f"internal http://{url_host(server.internal.host)}:{port_of(ports.internal)}")
    if server.workers > 1:
        told.append(f"{server.workers} workers")
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
