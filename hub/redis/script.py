"""Lua scripts that Redis runs for the hub, each as one act."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Final

_RUN: Final = (files("hub.redis") / "lua/run.lua").read_text("utf-8")


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the name by which Redis knows it once it has seen it.

    One `with_run` gets, in front of its arguments, what names the server's run and its data (see `lua/run.lua`): where
    that is not what it was, the server may lack what it was told last. What a `durable` one has written is waited for
    until as many replicas have it as the URL says.
    """

    text: str
    sha: str
    with_run: bool = False
    durable: bool = False


def read_script(package: str, *names: str, with_run: bool = False, durable: bool = False) -> Script:
    """One script of the files `lua/<name>.lua` of a package, joined in this order."""
    folder = files(package) / "lua"
    text = _RUN if with_run else ""
    text += "".join((folder / f"{name}.lua").read_text("utf-8") for name in names)
    return Script(text, sha1(text.encode(), usedforsecurity=False).hexdigest(), with_run, durable)
