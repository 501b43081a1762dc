"""The Lua scripts that Redis runs for the hub, each as one act."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Final


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the name by which Redis knows it once it has seen it."""

    text: str
    sha: str


def _read(name: str) -> Script:
    folder = files(__package__) / "lua"
    text = (folder / "epoch.lua").read_text("utf-8") + (folder / f"{name}.lua").read_text("utf-8")
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest())


PUBLISH: Final = _read("publish")
HISTORY: Final = _read("history")
SCRIPTS: Final = (PUBLISH, HISTORY)
