"""The one way from a loaded configuration to what can be started, for `hub check`, `hub serve` and `hub dev` alike."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hub.loader.blueprint import Blueprint, LoadedPlugin
from hub.loader.declarant import Declarant
from hub.loader.enabled import Candidate, enabled_plugins
from hub.loader.names import Names, open_path
from hub.loader.package import package_for
from hub.loader.parts import plugin_folder, plugin_models, plugin_routes, plugin_settings
from hub.loader.sockets import socket_topics
from hub.loader.table import handler_table
from hub.loader.webhooks import make_egress, make_webhooks
from hub.settings.case import Mode
from hub.settings.load import Loaded
from hub.settings.problem import ConfigError
from hub.settings.report import Report
from hub.settings.rules import check_rules
from hub.settings.verdict import Verdict
from hub.webhooks.hooks import Webhooks


def compose(loaded: Loaded, mode: Mode) -> Blueprint:
    """Checks everything that can be checked without starting, and resolves every name.

    Imports the modules of the plugins that are on and of the operator's handlers; for the latter, the configuration's
    folder and the working directory are appended to Python's path. `check` refuses exactly what `serve` refuses; `dev`
    accepts weak secrets. Raises ConfigError with all problems of all files.
    """
    report = Report(loaded.problems)
    if not loaded.document.complete:
        raise ConfigError(report.problems)
    check_rules(loaded.verdict, mode, report)
    egress = make_egress(loaded.remains.webhooks)
    webhooks = make_webhooks(loaded.remains.webhooks, egress)
    candidates = enabled_plugins(loaded.remains, loaded.verdict, loaded.folder, report)
    known = None if loaded.verdict.settled(("webhooks",)) else webhooks
    plugins = [_Assembly(candidate, loaded, known, report) for candidate in candidates]
    operator = _operator(loaded, known, report)
    table = handler_table(
        [plugin.declarant for plugin in plugins], operator, all_declared=_all_declared(candidates, loaded)
    )
    sockets = socket_topics(loaded.remains.sockets, operator, table.topics)
    report.check()
    ready = tuple(plugin.loaded() for plugin in plugins)
    return Blueprint(loaded.remains, table.handlers, ready, sockets, egress, webhooks, loaded.folder)


def _operator(loaded: Loaded, webhooks: Webhooks | None, report: Report) -> Declarant:
    open_path([loaded.folder, Path.cwd()])
    names = Names(None, loaded.folder)
    log = logging.getLogger("hub.operator")
    return Declarant("", loaded.verdict, loaded.remains, names, loaded.folder, log, report, webhooks)


def _all_declared(candidates: Sequence[Candidate], loaded: Loaded) -> bool:
    """Whether no topic is missing because of a mistake, so that a topic without a pattern is a mistake by itself."""
    enabled = [name for name, given in loaded.remains.plugins.items() if given.enabled]
    verdicts: list[Verdict[Any]] = [loaded.verdict, *(candidate.verdict for candidate in candidates)]
    whole = not any(verdict.settled(("topics",)) for verdict in verdicts)
    return whole and len(candidates) == len(enabled) and not loaded.verdict.settled(("plugins",))


class _Assembly:
    """One plugin while it is put together."""

    def __init__(
        self, candidate: Candidate, loaded: Loaded, webhooks: Webhooks | None, report: Report
    ) -> None:
        self._candidate = candidate
        source, manifest = candidate.source, candidate.manifest
        self._package = source.package or package_for(source.name, source.folder)
        self.declarant = Declarant(
            source.name,
            candidate.verdict,
            manifest,
            Names(self._package, source.folder),
            source.folder,
            logging.getLogger(f"hub.plugin.{source.name}"),
            report,
            webhooks,
        )
        given = loaded.remains.plugins[source.name].settings
        self._settings = plugin_settings(
            manifest, self.declarant, given, loaded.verdict, loaded.folder, report
        )
        self.declarant.settings = self._settings
        self._routes = plugin_routes(manifest, self.declarant)
        self._models = plugin_models(manifest, self.declarant, self._package)
        self._migrations = plugin_folder(manifest.migrations, "migrations", self.declarant)
        self._pages = plugin_folder(manifest.pages, "pages", self.declarant)

    def loaded(self) -> LoadedPlugin:
        """The plugin as the application gets it."""
        source, manifest = self._candidate.source, self._candidate.manifest
        return LoadedPlugin(
            name=source.name,
            version=manifest.version or source.version,
            description=manifest.description,
            source=source.origin,
            manifest=manifest,
            folder=source.folder,
            package=self._package,
            settings=self._settings,
            routes=self._routes,
            models=self._models,
            migrations=self._migrations,
            pages=self._pages,
        )
