"""What `settings` of the dashboards plugin may say in hub.yaml."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from hub.plugin import FromFile
from hub_dashboards.panels import Dashboard, DashboardFile, Name, Panel

_DEFAULT: Final = {
    "system": Dashboard(
        title="This node",
        panels={
            "cpu": Panel(source="system", metric="cpu"),
            "memory": Panel(source="system", metric="memory"),
            "disk": Panel(source="system", metric="disk"),
            "net_in": Panel(source="system", metric="net_in"),
            "net_out": Panel(source="system", metric="net_out"),
            "clients": Panel(source="hub", metric="clients"),
            "subscriptions": Panel(source="hub", metric="subscriptions"),
            "publications": Panel(source="hub", metric="publications_rate"),
            "requests": Panel(source="hub", metric="requests"),
            "uptime": Panel(source="hub", metric="uptime"),
        },
    )
}


class DashboardsSettings(BaseModel):
    """`dashboards: {}` shows one dashboard, `system`; whoever writes their own gets those alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    config: Annotated[DashboardFile, FromFile()] | None = Field(
        None, description="A YAML file of dashboards; a relative path starts at the folder of hub.yaml."
    )
    dashboards: dict[Name, Dashboard] = Field(
        default_factory=dict, description="Dashboards by name, in place of a file or besides it."
    )

    @model_validator(mode="after")
    def _named_once(self) -> DashboardsSettings:
        both = sorted(self.dashboards.keys() & self.config.dashboards.keys()) if self.config else []
        if both:
            raise ValueError(f"the file has a dashboard of this name too: {', '.join(both)}")
        return self

    @property
    def shown(self) -> Mapping[str, Dashboard]:
        """Every dashboard by name: those of the file first."""
        return {**(self.config.dashboards if self.config else {}), **self.dashboards} or _DEFAULT
