"""Where plugins lie: a folder that the operator names, or an installed package with an entry point.

Nothing of a plugin is imported here; of an entry point `acme.hub_polls` only the package `acme` around it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Final, TypeAlias

from hub.manifest import NAME_PATTERN
from hub.settings.problem import ConfigCode, Fault, did_you_mean
from hub.settings.reserved import PLUGIN_NAMES

GROUP: Final = "hub.plugins"
MANIFEST: Final = "plugin.yaml"

Installed: TypeAlias = Mapping[str, tuple[EntryPoint, ...]]


@dataclass(frozen=True, slots=True)
class Source:
    """A plugin's place: `folder` holds its plugin.yaml; `package` is its importable name when it is installed."""

    name: str
    folder: Path
    package: str | None
    origin: str
    version: str

    @property
    def manifest(self) -> Path:
        """The plugin's own file."""
        return self.folder / MANIFEST


def installed() -> Installed:
    """Entry points of all installed plugins by name, the same one listed once; a name offered twice has several."""
    found: dict[str, dict[tuple[str, str], EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, {})[(point.value, _distribution(point))] = point
    return {name: tuple(points.values()) for name, points in sorted(found.items())}


def misnamed(name: str) -> Fault | None:
    """Why no plugin can have this name; None when one can."""
    if not re.fullmatch(NAME_PATTERN, name):
        message = "a plugin's name is made of lower-case letters, digits and _, and begins with a letter"
        return Fault(ConfigCode.PLUGIN_NOT_FOUND, message, "Write it as its manifest does.")
    if name in PLUGIN_NAMES:
        message = f"/api/{name} is the hub's own, so no plugin can have this name"
        return Fault(
            ConfigCode.RESERVED_NAME,
            message,
            "Rename the plugin: its folder or entry point, and its manifest.",
        )
    return None


def in_folder(name: str, use: str, config_dir: Path) -> Source | Fault:
    """The plugin in a folder; a relative path starts at the configuration's folder."""
    folder = config_dir / use
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.is_file() else "does not exist"
        remedy = f"Looked for {folder}: relative paths start at the folder of the configuration."
        return Fault(ConfigCode.PLUGIN_NOT_FOUND, f"{use} {what}", remedy)
    if not (folder / MANIFEST).is_file():
        message = f"the folder {use} has no {MANIFEST}"
        return Fault(
            ConfigCode.PLUGIN_NOT_FOUND, message, "Name the folder that holds the plugin's manifest."
        )
    if folder.resolve().name != name:
        message = f"the folder is called `{folder.resolve().name}`, the plugin `{name}`"
        return Fault(
            ConfigCode.PLUGIN_NOT_FOUND, message, "Call both alike; the manifest's name is the same too."
        )
    return Source(name, folder, None, str(folder), "")


def in_packages(name: str, known: Installed, config_dir: Path) -> Source | Fault:
    """The installed plugin of this name."""
    points = known.get(name, ())
    if not points:
        return _unknown(name, known, config_dir)
    if len(points) > 1:
        offering = " and ".join(sorted(f"{_distribution(point)} ({point.value})" for point in points))
        message = f"two installed packages offer it: {offering}"
        return Fault(ConfigCode.CONFLICTING_SETTINGS, message, "Uninstall one, or name a folder with `use:`.")
    point = points[0]
    origin = f"{_distribution(point)} {point.dist.version}" if point.dist else point.value
    folder = _package_folder(point.module)
    if folder is None:
        message = f"its entry point in {origin} names the package `{point.module}`, which cannot be found"
        return Fault(ConfigCode.PLUGIN_NOT_FOUND, message, "Install that package again.")
    if not (folder / MANIFEST).is_file():
        message = f"the package `{point.module}` of {origin} holds no {MANIFEST}"
        return Fault(
            ConfigCode.PLUGIN_NOT_FOUND, message, "Its build must include the manifest as package data."
        )
    return Source(name, folder, point.module, origin, point.dist.version if point.dist else "")


def _unknown(name: str, known: Installed, config_dir: Path) -> Fault:
    beside = next(
        (path for path in (f"./plugins/{name}", f"./{name}") if (config_dir / path / MANIFEST).is_file()),
        None,
    )
    listed = f"Known plugins: {', '.join(known)}." if known else "No plugin is installed."
    folder = f"Write `use: {beside}` for the one in that folder. " if beside else ""
    looked = f"Looked among installed packages (entry points {GROUP}); a folder is named with `use:`."
    return Fault(
        ConfigCode.PLUGIN_NOT_FOUND,
        f"no plugin called `{name}` is installed",
        f"{folder}{did_you_mean(name, known)}{listed} {looked}",
    )


def _package_folder(module: str) -> Path | None:
    try:
        spec = find_spec(module)
    except Exception:  # noqa: BLE001 - whatever a package around it raises, the plugin cannot be found
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    folders = [Path(location) for location in spec.submodule_search_locations]
    return next((folder for folder in folders if (folder / MANIFEST).is_file()), folders[0])


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unknown package"
