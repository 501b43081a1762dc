"""A plugin's folder as a package of its own, whatever else is called the same.

The folder `plugins/greeter` is imported as `hub_plugin_greeter`, its `handlers.py` as `hub_plugin_greeter.handlers`.
Inside, three ways lead to the `texts.py` beside it, and all to the same module: `from . import texts`,
`import texts` and `from greeter import texts`. The last two mean the plugin's own module only within the plugin: two
plugins may both have a `texts.py`. Modules of the standard library come before the plugin's.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

_PREFIX: Final = "hub_plugin_"


def package_for(name: str, folder: Path) -> str:
    """The name under which the plugin in this folder can be imported from now on; the same at every call."""
    if _FINDER not in sys.meta_path:
        # First, for the usual finder would find the submodules too, and load them without their own `import`.
        sys.meta_path.insert(0, _FINDER)
    return _FINDER.admit(name, folder.resolve())


class _FolderFinder(MetaPathFinder):
    """Finds the packages of folder plugins and the modules in them."""

    def __init__(self) -> None:
        self._folders: dict[str, Path] = {}

    def admit(self, name: str, folder: Path) -> str:
        package = f"{_PREFIX}{name}"
        if self._folders.get(package, folder) != folder:
            package = f"{package}_{sha256(str(folder).encode()).hexdigest()[:8]}"
        self._folders[package] = folder
        return package

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, below = fullname.partition(".")
        folder = self._folders.get(package)
        if folder is None:
            return None
        if not below:
            return _package_spec(package, folder)
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _ModuleLoader(fullname, spec.loader.path, package, folder)
        return spec


class _ModuleLoader(SourceFileLoader):
    """Runs a plugin's module with an `import` that knows the modules beside it."""

    def __init__(self, fullname: str, path: str, package: str, folder: Path) -> None:
        super().__init__(fullname, path)
        self._import = _importer(package, folder)

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": self._import}
        super().exec_module(module)


def _package_spec(package: str, folder: Path) -> ModuleSpec | None:
    start = folder / "__init__.py"
    if start.is_file():
        loader = _ModuleLoader(package, str(start), package, folder)
        return spec_from_file_location(
            package, start, loader=loader, submodule_search_locations=[str(folder)]
        )
    spec = ModuleSpec(package, None, is_package=True)
    spec.submodule_search_locations = [str(folder)]
    return spec


def _importer(package: str, folder: Path) -> Callable[..., ModuleType]:
    def import_(
        name: str,
        globals: Mapping[str, Any] | None = None,  # noqa: A002 - callers of __import__ use these names
        locals: Mapping[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        own = _own_name(name, package, folder) if level == 0 else None
        if own is None:
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(own, globals, locals, fromlist or (), 0)
        depth = own.count(".") - name.count(".") + 1
        return found if fromlist else sys.modules[".".join(own.split(".")[:depth])]

    return import_


def _own_name(name: str, package: str, folder: Path) -> str | None:
    """The full name of the plugin's own module that an absolute import means, None when it means another."""
    top, _, below = name.partition(".")
    if top in sys.stdlib_module_names or top == "hub":
        return None
    if (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file():
        return f"{package}.{name}"
    if top == folder.name and find_spec(top) is None:
        return f"{package}.{below}" if below else package
    return None


_FINDER: Final = _FolderFinder()
