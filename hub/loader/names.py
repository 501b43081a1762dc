"""From `module:function` to the object, or to which half of the name is wrong and why."""

from __future__ import annotations

import importlib
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from hub.errors import HubError
from hub.settings.problem import ConfigCode, Fault, did_you_mean

_LONGEST_SAID: Final = 300


class UnresolvedNameError(HubError):
    """A name that leads to nothing; `fault` says which half is wrong."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        super().__init__(fault.message)


class BrokenModuleError(UnresolvedNameError):
    """A module that is there and cannot be imported, which is the same mistake for every name in it."""


@dataclass(frozen=True, slots=True)
class Names:
    """Where names are looked up: in a plugin's package, or with package None on Python's path as the operator's are."""

    package: str | None
    folder: Path

    def find(self, name: str) -> Any:
        """The object called `module:attribute`; raises UnresolvedNameError."""
        module_name, _, attribute = name.partition(":")
        found: Any = self.module(module_name)
        label = f"the module `{module_name}`"
        for part in attribute.split("."):
            try:
                found = getattr(found, part)
            except AttributeError:
                raise UnresolvedNameError(_no_attribute(found, label, part)) from None
            label = f"`{part}`"
        return found

    def module(self, name: str) -> ModuleType:
        """The module, imported; raises UnresolvedNameError when there is none, or when it fails.

        A dotted name that a plugin's package lacks is looked for on Python's path as well, so that a manifest may name
        a function of a library, or its own package in full.
        """
        if self.package is not None:
            full = f"{self.package}.{name}"
            try:
                return self._import(full, name)
            except _NoModuleError:
                if "." not in name:
                    raise UnresolvedNameError(self._no_module(name, name)) from None
        try:
            return self._import(name, name)
        except _NoModuleError as error:
            raise UnresolvedNameError(self._no_module(name, error.missing)) from None

    def _import(self, full: str, name: str) -> ModuleType:
        try:
            return importlib.import_module(full)
        except ModuleNotFoundError as error:
            if error.name and (full == error.name or full.startswith(f"{error.name}.")):
                raise _NoModuleError(error.name) from None
            raise BrokenModuleError(self._failing(name, error)) from error
        except (Exception, SystemExit) as error:
            raise BrokenModuleError(self._failing(name, error)) from error

    def _no_module(self, name: str, missing: str) -> Fault:
        if self.package is not None:
            siblings = sorted({path.stem for path in self.folder.glob("*.py")} - {"__init__"})
            listed = f"Its modules: {', '.join(siblings)}." if siblings else f"{self.folder} holds no module."
            message = f"the plugin has no module `{name}`"
            return Fault(ConfigCode.CANNOT_IMPORT, message, f"{did_you_mean(name, siblings)}{listed}")
        inside = f" in the package `{missing.rpartition('.')[0]}`" if "." in missing else ""
        message = f"there is no module `{missing.rpartition('.')[2]}`{inside}"
        looked = dict.fromkeys(f"in {folder}" for folder in (self.folder.resolve(), Path.cwd()))
        remedy = f"Looked {', '.join(looked)} and among the installed packages."
        return Fault(ConfigCode.CANNOT_IMPORT, message, remedy)

    def _failing(self, name: str, error: BaseException) -> Fault:
        said = " ".join(traceback.format_exception_only(error)[-1].split())
        message = f"the module `{name}` fails at {self._where(error)}: {said[:_LONGEST_SAID]}"
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        remedy = f"Install what provides `{missing}`, or mend the import." if missing else "Mend the module."
        return Fault(ConfigCode.CANNOT_IMPORT, message, remedy)

    def _where(self, error: BaseException) -> str:
        """The line to look at: the last one of the plugin's or operator's own, else the last of all."""
        if isinstance(error, SyntaxError) and error.filename:
            return f"{error.filename}:{error.lineno}"
        frames = [
            frame
            for frame in traceback.extract_tb(error.__traceback__)
            if not frame.filename.startswith("<frozen")
        ]
        home = self.folder.resolve()
        own = [frame for frame in frames[1:] if Path(frame.filename).resolve().is_relative_to(home)]
        frame = (own or frames)[-1]
        return f"{frame.filename}:{frame.lineno}"


class _NoModuleError(Exception):
    """`missing` is the part of a dotted name that does not exist."""

    def __init__(self, missing: str) -> None:
        self.missing = missing
        super().__init__(missing)


def open_path(folders: list[Path]) -> None:
    """Lets modules in these folders be imported, after all installed ones."""
    for folder in folders:
        text = str(folder.resolve())
        if text not in sys.path:
            sys.path.append(text)


def _no_attribute(holder: Any, label: str, name: str) -> Fault:
    public = [known for known in dir(holder) if not known.startswith("_")]
    return Fault(ConfigCode.CANNOT_IMPORT, f"{label} has no `{name}`", did_you_mean(name, public).strip())
