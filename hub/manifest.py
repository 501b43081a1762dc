"""The model of `plugin.yaml`: what a plugin declares of itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hub.settings.topic import Declarations
from hub.settings.values import CallableName

NAME_PATTERN = r"^[a-z][a-z0-9_]{0,39}$"


class Manifest(Declarations):
    """A plugin's own file.

    Its `topics` have the very shape of the operator's. Names of callables are relative to the plugin: `handlers:reply`
    is the function `reply` of the module `handlers` beside the manifest.
    """

    name: str = Field(pattern=NAME_PATTERN, description="Equals the folder's or the entry point's name.")
    api: Literal[1] = Field(description="The version of the plugin API that it is written for.")
    version: str = Field("", description="The plugin's own version, for `hub plugins`.")
    description: str = Field("", description="One sentence for `hub plugins`.")
    settings: CallableName | None = Field(
        None, description="A pydantic model: what `settings` of hub.yaml may say."
    )
    routes: CallableName | None = Field(
        None, description="A list of Starlette routes, served under /api/<name>."
    )
    models: str | None = Field(None, description="The module with the plugin's SQLModel tables.")
    migrations: str | None = Field(None, description="The folder with the plugin's Alembic revisions.")
    pages: str | None = Field(None, description="The folder of files served under /plugins/<name>/.")
    requires: list[str] = Field(
        default_factory=list, description="Plugins that must be on, and start before it."
    )
