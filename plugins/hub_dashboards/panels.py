"""What a dashboard is made of, as operators write it: panels, each with one figure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from hub.plugin import check_topic
from hub_dashboards.metrics import METRICS, NAMES, Kind

_STRICT: Final = ConfigDict(extra="forbid", frozen=True)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_Named = TypeVar("_Named", bound=Mapping[str, Any])


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(
            "a name is made of 1 to 64 letters, digits, _ and -, and begins with a letter or digit"
        )
    return name


def _some(found: _Named) -> _Named:
    if not found:
        raise ValueError("there must be at least one")
    return found


Name: TypeAlias = Annotated[str, AfterValidator(_name)]


class Panel(BaseModel):
    """One figure. Whatever is left out is the metric's own."""

    model_config = _STRICT

    source: Literal["system", "hub", "topic"] = Field(
        description="Where the figure comes from: the machine, this hub, or a topic."
    )
    metric: str = Field(description="Which figure of the source.", json_schema_extra={"enum": [*NAMES]})
    topic: str | None = Field(None, description="The topic, where the source is topic.")
    field: str | None = Field(
        None,
        description="Where in the payload the value stands, such as queue.depth; unset: the payload is the value.",
    )
    title: str = Field("", description="What stands above it; unset: the metric's title.")
    kind: Kind | None = Field(None, description="How it is drawn; unset: as suits the metric.")
    unit: str | None = Field(None, description="What stands behind the figure; unset: the metric's unit.")
    max: float | None = Field(None, gt=0, description="The end of the scale; a gauge needs one.")

    @field_validator("metric")
    @classmethod
    def _known(cls, metric: str, info: ValidationInfo) -> str:
        source = info.data.get("source")
        known = METRICS.get(source or "", {})
        if source and metric not in known:
            close = difflib.get_close_matches(metric[:100], known, n=1)
            hint = f"did you mean `{close[0]}`? " if close else ""
            raise ValueError(f"no metric of the source {source}; {hint}Metrics: {', '.join(known)}")
        return metric

    @field_validator("topic")
    @classmethod
    def _possible(cls, topic: str | None) -> str | None:
        return topic if topic is None else check_topic(topic)

    @model_validator(mode="after")
    def _fits(self) -> Panel:
        if self.source == "topic" and self.topic is None:
            raise ValueError("a panel with the source topic needs `topic:`")
        if self.source != "topic" and self.topic is not None:
            raise ValueError(
                f"the source {self.source} takes no `topic`; write `source: topic` for figures of a topic"
            )
        if self.field is not None and (self.source, self.metric) != ("topic", "value"):
            raise ValueError("`field` goes with `source: topic` and `metric: value` only")
        if self.shown()["kind"] == "gauge" and self.shown()["max"] is None:
            raise ValueError(f"a gauge of {self.metric} needs `max:`, for its scale has no natural end")
        return self

    def shown(self) -> dict[str, Any]:
        """The panel with the metric's own in the place of what was left out."""
        metric = METRICS[self.source][self.metric]
        shown: dict[str, Any] = {
            "title": self.title or metric.title,
            "source": self.source,
            "metric": self.metric,
            "kind": self.kind or metric.kind,
            "unit": metric.unit if self.unit is None else self.unit,
            "max": metric.max if self.max is None else self.max,
        }
        if self.topic is not None:
            shown["topic"] = self.topic
        return shown


class Dashboard(BaseModel):
    """Panels under one title."""

    model_config = _STRICT

    title: str = Field("", description="What stands above the panels; unset: the dashboard's name.")
    panels: Annotated[dict[Name, Panel], AfterValidator(_some)] = Field(
        description="The panels by name, in the order in which they stand."
    )

    def shown(self, name: str) -> dict[str, Any]:
        """The dashboard as clients get it; its panels are a list, so that their order is sure."""
        panels = [{"id": panel_id, **panel.shown()} for panel_id, panel in self.panels.items()]
        return {"name": name, "title": self.title or name, "topic": topic_of(name), "panels": panels}


class DashboardFile(BaseModel):
    """A file of dashboards."""

    model_config = _STRICT

    dashboards: Annotated[dict[Name, Dashboard], AfterValidator(_some)] = Field(
        description="The dashboards by name."
    )


def topic_of(name: str) -> str:
    """The topic of a dashboard."""
    return f"dashboards:{name}"
