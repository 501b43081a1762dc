"""What `hub dev` watches, so that it starts anew when the configuration, a plugin or a handler changes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from hub.loader.blueprint import Blueprint

SOURCES: Final = frozenset({".py", ".yaml", ".yml", ".json"})
"""Files of these kinds count; pages are read anew at each request anyway."""
_QUIET_MS: Final = 50
_AT_LATEST_MS: Final = 400
_MOST_FOLDERS: Final = 200


def folders_to_watch(blueprint: Blueprint, config: Path | None) -> tuple[str, ...]:
    """The folders of the configuration, of each plugin and of the operator's own modules, not of what is installed."""
    home = blueprint.config_dir.resolve()
    own = {Path(found).parent for found in _own_modules({home, Path.cwd()})}
    plugins = {folder for plugin in blueprint.plugins for folder in _tree(plugin.folder.resolve())}
    return tuple(sorted(map(str, own | plugins | ({home} if config else set()))))


async def next_change(folders: Collection[str]) -> str:
    """Waits until a source in one of the folders has changed and nothing more changes, and returns its path.

    Raises OSError when the system watches nothing more.
    """
    from watchfiles import awatch  # noqa: PLC0415 - only who develops needs it

    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    watched = [folder for folder in folders if os.path.isdir(folder)]  # noqa: PTH112, ASYNC240 - a moment, and nothing waits
    if not watched:
        raise OSError("there is nothing to watch")
    changes = awatch(
        *watched,
        watch_filter=lambda _, path: Path(path).suffix in SOURCES,
        recursive=False,
        step=_QUIET_MS,
        debounce=_AT_LATEST_MS,
    )
    async for found in changes:
        return min(path for _, path in found)
    raise OSError("the system watches no files any more")


def _own_modules(roots: Collection[Path]) -> Iterator[str]:
    """Files of modules that are neither installed nor the hub's."""
    installed = tuple(f"{Path(prefix).resolve()}{os.sep}" for prefix in {sys.prefix, sys.base_prefix})
    inside = tuple(f"{root}{os.sep}" for root in roots)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name.partition(".")[0] not in {"hub", "__main__"}:
            path = str(Path(file).resolve())
            if path.startswith(inside) and not path.startswith(installed):
                yield path


def _tree(folder: Path) -> list[Path]:
    """A plugin's folder and those in it, without hidden ones."""
    found = [folder]
    for place, below, _ in os.walk(folder):
        below[:] = [name for name in below if not name.startswith((".", "__")) and name != "node_modules"]
        found += [Path(place, name) for name in below]
    return found[:_MOST_FOLDERS]
