"""`hub dev` at work: one life of a hub after the other, the next one whenever a source has changed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from hub.app import Hub
from hub.loader.blueprint import Blueprint
from hub.loader.compose import compose
from hub.loader.dev import load_dev
from hub.serving.inherit import Succession, command
from hub.serving.listen import Ports, listen, port_of
from hub.serving.process import NodeProcess, run_loop
from hub.serving.reload import folders_to_watch, next_change
from hub.serving.run import INTERNAL_PORT

GRACE: Final = 1
"""Seconds that a request under way may take when the hub stops or starts anew."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line asks for."""

    config: Path | None
    host: str | None = None
    port: int | None = None

    def arguments(self) -> list[str]:
        """The command line again, for a process that takes over."""
        named = {"--config": self.config, "--host": self.host, "--port": self.port}
        return [part for name, value in named.items() if value is not None for part in (name, str(value))]


class Serving(NamedTuple):
    """What a life of the hub serves, and where: port 0 has become a real one. `internal` is 0 without a second port."""

    config: Path | None
    blueprint: Blueprint
    port: int
    internal: int
    first: bool


def compose_dev(wishes: Wishes) -> Blueprint:
    """The blueprint of a hub in development; raises ConfigError with all problems."""
    blueprint = compose(load_dev(wishes.config, os.environ), "dev")
    server = blueprint.settings.server
    changed = {"host": wishes.host or server.host, "workers": 1, "drain": 0.0}
    changed["port"] = server.port if wishes.port is None else wishes.port
    settings = blueprint.settings.model_copy(update={"server": server.model_copy(update=changed)})
    return replace(blueprint, settings=settings)


class DevHub:
    """One life of a hub in development, which ends with the process or in the next one.

    `ready` is called once connections are accepted; `talk` is told what happens to the sources.
    """

    def __init__(
        self,
        wishes: Wishes,
        succession: Succession,
        ready: Callable[[Serving], None],
        talk: Callable[[str], None],
    ) -> None:
        self._wishes = wishes
        self._succession = succession
        self._ready = ready
        self._talk = talk
        self._again = False

    def run(self, *, reload: bool) -> int:
        """Serves until it is told to stop, or with `reload` until a source has changed; returns the exit status.

        Raises HubError when the hub cannot start.
        """
        status = run_loop(self._serve(compose_dev(self._wishes), reload=reload))
        if self._again:
            self._succession.pass_on(["dev", *self._wishes.arguments()])
        return status

    def wait_for_mending(self) -> None:
        """Waits for the next change of a source, and then begins the next life."""
        self._talk("The hub waits for the next change. Ctrl-C ends it.")
        changed = asyncio.run(next_change(self._succession.watch))
        self._talk(f"{_shown(changed)} has changed.")
        self._succession.pass_on(["dev", *self._wishes.arguments()])

    async def _serve(self, blueprint: Blueprint, *, reload: bool) -> int:
        server = blueprint.settings.server
        first = not self._succession.sockets
        public = self._succession.listen(server.host, server.port)
        second = server.internal
        ports = Ports(public, listen(second.host, second.port, INTERNAL_PORT) if second else [])
        serving = Serving(
            self._wishes.config, blueprint, port_of(public), port_of(ports.internal) if second else 0, first
        )
        node = NodeProcess(Hub(blueprint, migrate=True), ports, dev_page=True, grace=GRACE)
        if not reload:
            return await node.run(lambda: self._ready(serving))
        self._succession.watch = folders_to_watch(blueprint, self._wishes.config)
        watching = asyncio.create_task(self._watch(node), name="watch sources")
        try:
            return await node.run(lambda: self._ready(serving))
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching

    async def _watch(self, node: NodeProcess) -> None:
        """Stops the node once a source has changed and what it would start with is good."""
        while True:
            changed = await next_change(self._succession.watch)
            self._talk(f"{_shown(changed)} has changed.")
            if await self._is_good():
                break
            self._talk("The running hub stays as it was.")
        self._again = True
        node.stop()

    async def _is_good(self) -> bool:
        """Lets another process check the sources, since this one has imported the old ones; it tells what is wrong."""
        config = [] if self._wishes.config is None else ["--config", str(self._wishes.config)]
        line = command(["check", "--dev", *config])
        check = await asyncio.create_subprocess_exec(
            *line, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        return await check.wait() == 0


def _shown(path: str) -> str:
    """The path as somebody in this folder would write it."""
    with contextlib.suppress(ValueError):
        return str(Path(path).relative_to(Path.cwd()))
    return path
