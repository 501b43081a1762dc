"""What a plugin brings besides handlers: its settings, routes, tables, migrations and pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from hub.loader.declarant import Declarant
from hub.loader.files import SettingsFiles
from hub.manifest import Manifest
from hub.settings import shape
from hub.settings.problem import ConfigCode, Fault
from hub.settings.report import Report
from hub.settings.verdict import Verdict, judge


def plugin_settings(
    manifest: Manifest,
    plugin: Declarant,
    given: dict[str, Any],
    operator: Verdict[Any],
    folder: Path,
    report: Report,
) -> Any:
    """The plugin's settings object; None when it has no model, or after reporting what is wrong.

    Validators of the model find the folder of the operator's file as `folder` in their context; files that the settings
    name (`hub.plugin.FromFile`) are read from there.
    """
    loc = ("plugins", plugin.owner, "settings")
    if manifest.settings is None:
        for key in given:
            message = "unknown setting"
            fault = Fault(
                ConfigCode.UNKNOWN_SETTING, message, f"The plugin {plugin.owner} takes no settings."
            )
            report.add(operator, (*loc, key), fault, at_key=True)
        return None
    model = settings_model(manifest, plugin)
    if model is None or operator.settled(loc):
        return None
    files = SettingsFiles(folder)
    verdict = judge(model, operator.document, loc, folder=folder, read_file=files.read)
    problems = (*verdict.problems, *files.problems)
    report.include(problems)
    return None if problems else verdict.value


def settings_model(manifest: Manifest, plugin: Declarant) -> type[BaseModel] | None:
    """The class that `settings` of a manifest names; None when it names none, or after reporting why it cannot be."""
    if manifest.settings is None:
        return None
    model = plugin.find(manifest.settings, ("settings",))
    if model is None or shape.is_model(model):
        return model
    message = f"`{manifest.settings}` is no pydantic model"
    remedy = "Write `class Settings(BaseModel):` with a field for each setting."
    plugin.say(("settings",), Fault(ConfigCode.WRONG_SIGNATURE, message, remedy))
    return None


def plugin_routes(manifest: Manifest, plugin: Declarant) -> tuple[Any, ...]:
    """The routes that a manifest names; empty when it names none, or after reporting why they cannot be used."""
    if manifest.routes is None:
        return ()
    routes = plugin.find(manifest.routes, ("routes",))
    if routes is None:
        return ()
    fits = isinstance(routes, (list, tuple)) and all(_is_route(route) for route in routes)
    if fits:
        return tuple(routes)
    message = f"`{manifest.routes}` is no list of routes"
    remedy = "Write `routes = [Route(...), ...]` with Route, WebSocketRoute or Mount of starlette.routing."
    plugin.say(("routes",), Fault(ConfigCode.WRONG_SIGNATURE, message, remedy))
    return ()


def plugin_models(manifest: Manifest, plugin: Declarant, package: str) -> str | None:
    """The importable name of a plugin's module of tables, once it could be imported."""
    if manifest.models is None or not plugin.has_module(manifest.models, ("models",)):
        return None
    return f"{package}.{manifest.models}"


def plugin_folder(given: str | None, key: str, plugin: Declarant) -> Path | None:
    """A folder inside the plugin's own that a manifest names; None when it names none, or after reporting it."""
    if given is None:
        return None
    home = plugin.folder.resolve()
    folder = (home / given).resolve()
    if folder.is_dir() and folder.is_relative_to(home):
        return plugin.folder / given
    what = "lies outside the plugin" if not folder.is_relative_to(home) else "is no folder in the plugin"
    plugin.say(
        (key,), Fault(ConfigCode.WRONG_MANIFEST, f"`{given}` {what}", f"It is looked for in {plugin.folder}.")
    )
    return None


def _is_route(route: Any) -> bool:
    """Starlette is not imported for the sake of checking: a plugin with routes has done that already."""
    return all(callable(getattr(route, name, None)) for name in ("matches", "handle", "url_path_for"))
