"""The figures that panels can show, by source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Kind: TypeAlias = Literal["number", "line", "bar", "gauge"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that panels can show, and how it is shown unless the panel says otherwise."""

    title: str
    unit: str = ""
    kind: Kind = "number"
    max: float | None = None


METRICS: Final[Mapping[str, Mapping[str, Metric]]] = {
    "system": {
        "cpu": Metric("CPU", "%", "line", 100),
        "load": Metric("Load, 1 minute", kind="line"),
        "memory": Metric("Memory", "%", "gauge", 100),
        "memory_used": Metric("Memory used", "B", "line"),
        "disk": Metric("Disk", "%", "bar", 100),
        "disk_read": Metric("Disk read", "B/s", "line"),
        "disk_write": Metric("Disk written", "B/s", "line"),
        "net_in": Metric("Network in", "B/s", "line"),
        "net_out": Metric("Network out", "B/s", "line"),
        "process_cpu": Metric("CPU of the hub", "%", "line"),
        "process_memory": Metric("Memory of the hub", "B", "line"),
    },
    "hub": {
        "clients": Metric("Clients"),
        "users": Metric("Users"),
        "subscriptions": Metric("Subscriptions"),
        "topics": Metric("Topics"),
        "uptime": Metric("Uptime", "s"),
        "requests": Metric("Requests"),
        "requests_rate": Metric("Requests", "/s", "line"),
        "publications": Metric("Publications"),
        "publications_rate": Metric("Publications", "/s", "line"),
        "deliveries": Metric("Deliveries"),
        "deliveries_rate": Metric("Deliveries", "/s", "line"),
    },
    "topic": {
        "value": Metric("Value", kind="line"),
        "publications": Metric("Publications"),
        "rate": Metric("Publications", "/s", "line"),
        "clients": Metric("Clients"),
        "users": Metric("Users"),
        "subscribers": Metric("Subscribers"),
    },
}
"""Every metric by source; those of `hub` are this node's."""

NAMES: Final = sorted({metric for metrics in METRICS.values() for metric in metrics})
"""The metrics of all sources."""
