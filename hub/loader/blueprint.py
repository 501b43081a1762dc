"""What a configuration comes to: all that the application needs to build itself, checked and resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hub.egress.client import Egress
from hub.handlers import HandlerTable
from hub.manifest import Manifest
from hub.settings.model import Settings
from hub.webhooks.hooks import Webhooks


@dataclass(frozen=True, slots=True)
class LoadedPlugin:
    """A plugin that is switched on.

    `source` tells people where it came from (`topichub 0.1.0`, or its folder). `package` is the importable name under
    which its modules lie, `models` that of its module of tables. `settings` is an instance of its settings model, None
    when it has none. `routes` are Starlette routes.
    """

    name: str
    version: str
    description: str
    source: str
    manifest: Manifest
    folder: Path
    package: str
    settings: Any
    routes: tuple[Any, ...]
    models: str | None
    migrations: Path | None
    pages: Path | None


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A configuration that can be started.

    `plugins` come in the order in which they start, each after those that it requires. `sockets` maps plain WebSocket
    paths to topics in which `{connection}` and `{user}` are still to be filled. Relative paths in the settings start at
    `config_dir`.
    """

    settings: Settings
    table: HandlerTable
    plugins: tuple[LoadedPlugin, ...]
    sockets: Mapping[str, str]
    egress: Egress
    webhooks: Webhooks
    config_dir: Path

    @property
    def settings_models(self) -> dict[str, type[BaseModel] | None]:
        """The model of each plugin's settings, as `hub.settings.schema.json_schema` takes them."""
        return {
            plugin.name: type(plugin.settings) if plugin.manifest.settings else None
            for plugin in self.plugins
        }

    def plugin(self, name: str) -> LoadedPlugin | None:
        """The plugin of this name, when it is switched on."""
        return next((plugin for plugin in self.plugins if plugin.name == name), None)
